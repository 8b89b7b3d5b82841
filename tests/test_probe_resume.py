"""Probed runs, killed at chosen moments in real processes, and the bytes of their probes."""

import csv
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from killed_runs import bytes_of, run_in_child

from nnexp.rundir import RunDir, read_json
from nnexp.settings import ExperimentConfig, NormConfig, ProbeConfig, run_id


def folder_of(config: ExperimentConfig) -> RunDir:
    return RunDir(Path(config.runs_dir) / run_id(config))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Return the run folder of an uninterrupted run of each norm, made once."""
    made: dict[str, ExperimentConfig] = {}

    def make(config: ExperimentConfig) -> ExperimentConfig:
        if config.norm.name not in made:
            folder = str(tmp_path_factory.mktemp("straight"))
            made[config.norm.name] = replace(config, runs_dir=folder)
            assert run_in_child(made[config.norm.name]) == 0
        return made[config.norm.name]

    return make


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(
    ("moment", "at", "code"),
    [
        ("killed after step", 1, -signal.SIGKILL),
        ("killed after step", 11, -signal.SIGKILL),
        ("asked to stop after step", 13, 3),  # saved in the middle of an epoch
        ("killed between rows and state", 2, -signal.SIGKILL),
        ("killed in the middle of saving", 2, -signal.SIGKILL),
    ],
)
def test_killed_run_ends_with_the_folder_of_an_uninterrupted_one(
    tiny, straight, norm, moment, at, code
):
    probed = replace(tiny, norm=NormConfig(name=norm), probe=ProbeConfig(points=6, images=8))
    assert run_in_child(probed, moment, at) == code
    assert run_in_child(probed) == 0
    whole = straight(probed)
    assert folder_of(probed).probes.read_bytes() == folder_of(whole).probes.read_bytes()
    assert bytes_of(probed) == bytes_of(whole)
    ours, theirs = (read_json(folder_of(config).result) for config in (probed, whole))
    differing = {key for key in ours if ours[key] != theirs[key]}
    assert differing == {"seconds", "runs_dir"}


def test_resumed_run_keeps_the_probes_it_began_with(tiny, straight):
    probed = replace(tiny, probe=ProbeConfig(points=6, images=8))
    assert run_in_child(probed, "asked to stop after step", 9) == 3
    assert run_in_child(replace(probed, probe=ProbeConfig(points=0))) == 0
    with folder_of(probed).probes.open() as file:
        assert max(int(row["step"]) for row in csv.DictReader(file)) == 23
    assert folder_of(probed).probes.read_bytes() == folder_of(straight(probed)).probes.read_bytes()
