"""What a crash at any file event leaves of a run, though the power fails with it."""

import csv
import json
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from killed_runs import SERVER
from power_loss import Crashes, Disk
from safetensors.torch import load_file

from nnexp import experiment
from nnexp.experiment import Listener, Progress
from nnexp.experiment.checkpoint import NEWEST, PREVIOUS, WEIGHTS, SavedState, read_state
from nnexp.rundir import RunDir
from nnexp.settings import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    TraceConfig,
    from_yaml,
    run_id,
)

STOP_AT = 3  # a step in the middle of the second epoch


class Promises(Listener):
    """Notes each moment at which a run says, or implies, that something is on disk."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.stopped = False

    def progress(self, progress: Progress) -> None:
        self.disk.promise(f"state of epoch {progress.epoch}")
        if progress.step == STOP_AT and not self.stopped:
            self.stopped = True
            os.kill(os.getpid(), signal.SIGTERM)

    def epoch(self, row: dict[str, Any], images_per_second: float) -> None:
        self.disk.promise(f"rows of epoch {row['epoch']}")

    def interrupted(self, run: Path, epoch: int, step: int) -> None:
        self.disk.promise(f"state of step {step}")

    def finished(self, run: Path, result: dict[str, Any]) -> None:
        self.disk.promise("result")


def train_twice(config: ExperimentConfig, crashes: Crashes) -> None:
    """Train until a signal stops it, go on to the end, and keep what crashes would leave."""
    disk = Disk(Path(config.runs_dir).parent, crashes)
    promises = Promises(disk)
    with disk.watching():
        outcomes = [experiment.run(config, [promises]).status for _ in range(2)]
    crashes.close()
    raise SystemExit(0 if outcomes == ["interrupted", "done"] else 1)


@dataclass(frozen=True)
class Recorded:
    """A run that was watched, and the bytes of one that nobody stopped."""

    config: ExperimentConfig
    crashes: Crashes
    straight: dict[str, bytes]

    def run_in(self, tree: Path) -> RunDir:
        return RunDir(tree / "runs" / run_id(self.config))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("power")
    (folder / "disk").mkdir()
    (folder / "crashes").mkdir()
    config = ExperimentConfig(
        model=ModelConfig(name="baseline", width=0.25),
        data=DataConfig(name="synthetic", train_images=32, val_images=8, test_images=8),
        optimizer=OptimizerConfig(learning_rate_scaling="none"),
        trace=TraceConfig(points=4, channels=1),
        batch_size=16,
        epochs=3,
        threads=1,
        device="cpu",
        runs_dir=str(folder / "disk" / "runs"),
    )
    process = SERVER.Process(target=train_twice, args=(config, Crashes(folder / "crashes")))
    process.start()
    process.join()
    assert process.exitcode == 0
    straight = experiment.run(replace(config, runs_dir=str(folder / "straight"))).run
    return Recorded(config, Crashes.read(folder / "crashes"), bytes_of(straight))


def bytes_of(run: RunDir) -> dict[str, bytes]:
    paths = (run.metrics, run.traces, run.channels, run.checkpoint / WEIGHTS)
    return {path.name: path.read_bytes() for path in paths}


def newest_state(run: RunDir) -> SavedState | None:
    """Return the state that a resume takes up; every state has to be whole."""
    paths = (run.checkpoint / NEWEST, run.checkpoint / PREVIOUS)
    states = [read_state(path) for path in paths if path.exists()]
    return states[0] if states else None


def read_results(runs_dir: Path) -> list[dict[str, str]]:
    with (runs_dir / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_whole(run: RunDir) -> None:
    """Read every file that takes an older one's place in one step: old or new, it is whole."""
    newest_state(run)
    for path in (run.environment, run.status, run.result):
        if path.exists():
            assert json.loads(path.read_text()), path
    if run.config.exists():
        assert run_id(from_yaml(run.config.read_text())) == run.path.name
    if (run.path.parent / "results.csv").exists():
        assert [row["run_id"] for row in read_results(run.path.parent)] == [run.path.name]
    for path in run.tables.values():
        if path.exists():
            assert path.read_bytes()[-1:] in (b"", b"\n"), path
    if run.result.exists():
        assert load_file(run.checkpoint / WEIGHTS)


def test_every_file_is_whole_whenever_a_crash_comes(recorded):
    trees = recorded.crashes.trees()
    assert len(trees) > 50  # before and after each write, fsync and rename
    for tree in trees:
        assert_whole(recorded.run_in(tree))


def test_what_a_run_says_is_on_disk_survives_a_power_failure(recorded):
    said = set()
    for words, trees in recorded.crashes.promises:
        said.add(words)
        for tree in trees:
            run = recorded.run_in(recorded.crashes.folder / tree)
            assert_kept(words, run, recorded.straight)
    assert said == {
        *(f"state of epoch {epoch}" for epoch in range(4)),
        *(f"rows of epoch {epoch}" for epoch in (1, 2, 3)),
        f"state of step {STOP_AT}",
        "result",
    } - {"state of epoch 3"}  # no step comes after the last epoch


def assert_kept(words: str, run: RunDir, straight: dict[str, bytes]) -> None:
    what, _, number = words.rpartition(" ")
    if what == "rows of epoch":
        assert len(run.timing.read_text().splitlines()) == 1 + int(number)
        for name in ("metrics.csv", "traces.csv"):
            rows = csv.DictReader(straight[name].decode().splitlines())
            due = 1 + sum(int(row["epoch"]) <= int(number) for row in rows)
            lines = straight[name].splitlines(keepends=True)[:due]
            assert (run.path / name).read_bytes() == b"".join(lines)
    elif what == "state of epoch" and int(number):
        state = newest_state(run)
        assert state is not None
        assert state.epoch >= int(number), words
    elif what == "state of step":
        state = newest_state(run)
        assert state is not None
        assert state.step == int(number)
    elif words == "result":
        assert json.loads(run.result.read_text())["status"] == "done"
        assert json.loads(run.status.read_text()) == {"status": "done"}
        assert [row["status"] for row in read_results(run.path.parent)] == ["done"]


def test_run_goes_on_from_whatever_a_crash_leaves_and_ends_with_the_same_bytes(recorded):
    for tree in recorded.crashes.trees():
        config = replace(recorded.config, runs_dir=str(tree / "runs"))
        outcome = experiment.run(config)
        assert outcome.status == "done", tree
        assert bytes_of(outcome.run) == recorded.straight, tree
        assert_whole(outcome.run)
        assert [row["status"] for row in read_results(tree / "runs")] == ["done"]
