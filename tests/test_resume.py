"""Real processes, killed at chosen time points, and the bytes of what they leave."""

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from full_disk import room_for
from killed_runs import bytes_of, release_of, run_in_child, start
from safetensors import safe_open
from safetensors.torch import save_file
from sweeping import wait_until

from nnexp import experiment
from nnexp.experiment import Listener, checkpoint
from nnexp.experiment.checkpoint import NEWEST, PREVIOUS, WEIGHTS
from nnexp.rundir import RunDir, RunError, read_status, read_table, write_status
from nnexp.settings import (
    ExperimentConfig,
    NormConfig,
    OptimizerConfig,
    TraceConfig,
    from_yaml,
    run_id,
    to_yaml,
)


class Notes(Listener):
    """Keeps what the run said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Return the bytes of uninterrupted runs, each made once."""
    made: dict[str, dict[str, bytes]] = {}

    def make(config: ExperimentConfig) -> dict[str, bytes]:
        name = run_id(config)
        if name not in made:
            folder = tmp_path_factory.mktemp("straight")
            config = replace(config, runs_dir=str(folder))
            assert run_in_child(config) == 0
            made[name] = bytes_of(config)
        return made[name]

    return make


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Return a function that lays a run down as it is after a stop in its third epoch."""
    made: dict[str, Path] = {}

    def lay_down(config: ExperimentConfig) -> RunDir:
        name = run_id(config)
        if name not in made:
            made[name] = tmp_path_factory.mktemp("stopped")
            moved = replace(config, runs_dir=str(made[name]))
            assert run_in_child(moved, "asked to stop after step", 19) == 3
        return RunDir(shutil.copytree(made[name] / name, Path(config.runs_dir) / name))

    return lay_down


@pytest.mark.parametrize(
    ("time_point", "at"),
    [
        ("killed after step", 1),
        ("killed after step", 13),
        ("killed after step", 24),
        ("killed in the middle of saving", 1),
        ("killed in the middle of saving", 2),
        ("killed before the saved state takes its place", 2),
        ("killed between rows and state", 1),
        ("killed between rows and state", 3),
        ("killed at the end, in keep_weights", 1),
        ("killed at the end, in write_json", 1),
        ("killed at the end, in write_results_view", 1),
    ],
)
def test_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(tiny, straight, time_point, at):
    assert run_in_child(tiny, time_point, at) == -signal.SIGKILL
    assert run_in_child(tiny) == 0
    assert bytes_of(tiny) == straight(tiny)
    assert [path.name for path in Path(tiny.runs_dir).glob("*/checkpoint/*")] == [WEIGHTS]


def test_run_killed_at_every_turn_still_ends_with_the_same_bytes(tiny, straight):
    for time_point, at in [
        ("killed after step", 5),
        ("killed in the middle of saving", 1),
        ("killed after step", 11),
        ("asked to stop after step", 14),
        ("killed between rows and state", 1),
        ("asked to stop after step", 19),
        ("killed in the middle of saving", 1),
    ]:
        assert run_in_child(tiny, time_point, at) in (-signal.SIGKILL, 3)
    assert run_in_child(tiny) == 0
    assert bytes_of(tiny) == straight(tiny)


@pytest.mark.parametrize(
    ("norm", "optimizer"),
    [
        *[(norm, optimizer) for norm in ("batch", "none") for optimizer in ("sgd", "adamw")],
        ("batch_renorm", "sgd"),  # its limits move with the steps
        ("evonorm_b0", "sgd"),  # stores no mean
    ],
)
def test_stopped_in_the_middle_of_an_epoch_it_goes_on_with_the_next_step(
    tiny, straight, norm, optimizer
):
    config = replace(
        tiny,
        norm=NormConfig(name=norm, renorm_steps=3),
        optimizer=OptimizerConfig(name=optimizer, learning_rate=0.01),
    )
    run = RunDir(Path(config.runs_dir) / run_id(config))
    assert run_in_child(config, "asked to stop after step", 13) == 3
    assert read_status(run) == {"status": "interrupted", "reason": "SIGTERM"}
    assert checkpoint.read_state(run.checkpoint / NEWEST).step == 13
    assert run_in_child(config) == 0
    assert bytes_of(config) == straight(config)


def test_long_epoch_is_saved_on_the_way(tiny, straight):
    """As it is every five minutes: a kill costs what came after the newest save."""
    assert run_in_child(tiny, "killed after step, saving all the time", 13) == -signal.SIGKILL
    run = RunDir(Path(tiny.runs_dir) / run_id(tiny))
    assert checkpoint.read_state(run.checkpoint / NEWEST).step == 12
    assert run_in_child(tiny) == 0
    assert bytes_of(tiny) == straight(tiny)


@pytest.mark.parametrize(("signum", "code"), [("SIGINT", 1), ("SIGTERM", -signal.SIGTERM)])
def test_second_signal_ends_a_run_at_once_without_a_save(tiny, straight, signum, code):
    assert run_in_child(tiny, f"stopped twice in step by {signum}", 13) == code
    run = RunDir(Path(tiny.runs_dir) / run_id(tiny))
    assert checkpoint.read_state(run.checkpoint / NEWEST).step == 8
    assert read_status(run)["status"] == "interrupted"
    assert run_in_child(tiny) == 0
    assert bytes_of(tiny) == straight(tiny)


def test_control_a_restore_without_momentum_does_not_give_the_same_bytes(tiny, straight):
    assert run_in_child(tiny, "asked to stop after step", 13) == 3
    assert run_in_child(tiny, "restores all but the momentum") == 0
    broken, whole = bytes_of(tiny), straight(tiny)
    assert broken["metrics.csv"] != whole["metrics.csv"]
    assert broken["weights.safetensors"] != whole["weights.safetensors"]


def wait_until_held(config: ExperimentConfig, step: int) -> RunDir:
    """Wait until a run that is held at a step has brought the epochs before it to disk."""
    run = RunDir(Path(config.runs_dir) / run_id(config))
    wait_until(lambda: read_status(run).get("status") == "running")
    wait_until(lambda: len(read_table(run.metrics)) == step // 8)
    return run


@pytest.mark.parametrize("step", [3, 11, 19])
def test_run_that_is_killed_from_outside_is_interrupted_and_goes_on(tiny, straight, step):
    process = start(tiny, "held at step", step)
    run = wait_until_held(tiny, step)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert read_status(run)["status"] == "interrupted"
    assert run_in_child(tiny) == 0
    assert bytes_of(tiny) == straight(tiny)


def resume_after(config: ExperimentConfig, damage) -> list[str]:
    """Stop in epoch 3, damage the run folder, go on in this process; return what was said."""
    assert run_in_child(config, "asked to stop after step", 19) == 3
    damage(RunDir(Path(config.runs_dir) / run_id(config)))
    notes = Notes()
    assert experiment.run(config, [notes]).status == "done"
    return notes.lines


def test_torn_state_is_named_and_the_one_before_is_used(tiny, straight):
    def damage(run: RunDir) -> None:
        newest = run.checkpoint / NEWEST
        newest.write_bytes(newest.read_bytes()[:1000])

    (line,) = resume_after(tiny, damage)
    assert NEWEST in line
    assert "trying the state before it" in line
    assert bytes_of(tiny) == straight(tiny)


def sign_again(path: Path, change) -> None:
    """Change what a state holds, and give it the checksum of its new content."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["nnexp"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    text = json.dumps(header, sort_keys=True)
    digest = checkpoint._digest(tensors, text)
    save_file(tensors, path, {"nnexp": text, "sha256": digest})


def lose_slot(header: dict, tensors: dict) -> None:
    """Take a part of the momentum away, as a state that lists no tensors could lack it."""
    del header["tensors"]
    name = next(name for name in tensors if name.endswith(".momentum_buffer"))
    tensors[name.replace("momentum_buffer", "momentum")] = tensors.pop(name)


WRONG_CONTENTS = {
    "no epoch": lambda header, tensors: header.pop("epoch"),
    "no step": lambda header, tensors: header.pop("step"),
    "a step that is no number": lambda header, tensors: header.update(step="19"),
    "no notes": lambda header, tensors: header.pop("notes"),
    "empty notes": lambda header, tensors: header.update(notes={}),
    "notes that are no numbers": lambda header, tensors: header["notes"].update(spent=[1]),
    "no totals": lambda header, tensors: tensors.pop("totals.loss"),
    "no table": lambda header, tensors: tensors.pop("files.metrics"),
    "no momentum": lambda header, tensors: tensors.pop(
        next(name for name in tensors if name.endswith(".momentum_buffer"))
    ),
    "another optimizer's momentum": lose_slot,
    "an unknown layer": lambda header, tensors: (
        header.pop("tensors"),
        tensors.update({"optimizer.conv9.weight.momentum_buffer": torch.zeros(1)}),
    ),
    "a name without a layer": lambda header, tensors: (
        header.pop("tensors"),
        tensors.update({"optimizer.momentum_buffer": torch.zeros(1)}),
    ),
    "totals of another type": lambda header, tensors: tensors.update(
        {"totals.loss": tensors["totals.loss"].float()}
    ),
}


@pytest.mark.parametrize("change", WRONG_CONTENTS.values(), ids=WRONG_CONTENTS)
def test_state_with_wrong_content_and_a_valid_checksum_is_named_and_the_one_before_is_used(
    tiny, straight, stopped, change
):
    run = stopped(tiny)
    sign_again(run.checkpoint / NEWEST, change)
    notes = Notes()
    assert experiment.run(tiny, [notes]).status == "done"
    (line,) = notes.lines
    assert NEWEST in line
    assert "trying the state before it" in line
    assert bytes_of(tiny) == straight(tiny)


def test_state_of_before_the_tensors_were_listed_is_taken_up(tiny, straight, stopped):
    run = stopped(tiny)
    sign_again(run.checkpoint / NEWEST, lambda header, tensors: header.pop("tensors"))
    notes = Notes()
    assert experiment.run(tiny, [notes]).status == "done"
    assert notes.lines == []
    assert bytes_of(tiny) == straight(tiny)


def test_when_no_state_is_whole_it_starts_again_and_says_so(tiny, straight):
    def damage(run: RunDir) -> None:
        for name in (NEWEST, PREVIOUS):
            (run.checkpoint / name).write_bytes(b"not a state")

    lines = resume_after(tiny, damage)
    assert "starting again from step 0" in lines[-1]
    assert bytes_of(tiny) == straight(tiny)


@pytest.mark.parametrize("damage", [lambda text: text[:-20], lambda text: text.upper()])
def test_table_that_was_changed_is_named_and_put_back(tiny, straight, damage):
    (line,) = resume_after(
        tiny, lambda run: run.metrics.write_bytes(damage(run.metrics.read_bytes()))
    )
    assert "metrics.csv was changed after it was written; it is restored" in line
    assert bytes_of(tiny) == straight(tiny)


def test_damaged_state_never_takes_the_place_of_the_whole_one_before_it(tiny, straight):
    def damage(run: RunDir) -> None:
        newest = run.checkpoint / NEWEST
        newest.write_bytes(newest.read_bytes()[:1000])

    assert run_in_child(tiny, "asked to stop after step", 19) == 3
    run = RunDir(Path(tiny.runs_dir) / run_id(tiny))
    damage(run)
    assert run_in_child(tiny, "killed before the saved state takes its place", 1) == 0
    assert bytes_of(tiny) == straight(tiny)


def test_result_stands_when_the_status_is_lost(tiny):
    assert run_in_child(tiny) == 0
    run = RunDir(Path(tiny.runs_dir) / run_id(tiny))
    before = bytes_of(tiny)
    write_status(run, "interrupted")
    assert experiment.run(tiny).status == "done"
    assert read_status(run) == {"status": "done"}
    assert bytes_of(tiny) == before


def test_save_that_meets_a_full_disk_ends_in_one_line_with_the_old_state_intact(tiny, straight):
    assert run_in_child(tiny, "asked to stop after step", 9) == 3
    run = RunDir(Path(tiny.runs_dir) / run_id(tiny))
    before = (run.checkpoint / NEWEST).read_bytes()
    with room_for(len(before) // 2), pytest.raises(RunError, match="the disk is full"):
        experiment.run(tiny)
    assert (run.checkpoint / NEWEST).read_bytes() == before
    assert run_in_child(tiny) == 0
    assert bytes_of(tiny) == straight(tiny)


def test_resumed_run_keeps_the_traces_it_began_with(tiny, straight):
    assert run_in_child(tiny, "asked to stop after step", 13) == 3
    notes = Notes()
    experiment.run(replace(tiny, trace=TraceConfig(points=3)), [notes])
    assert "began with trace.points=10 trace.channels=2 and keeps them" in notes.lines[0]
    assert bytes_of(tiny) == straight(tiny)


def test_run_that_has_saved_nothing_begins_with_what_is_asked_now(tiny, straight):
    other = replace(tiny, trace=TraceConfig(points=3), tags=["first"])
    assert run_in_child(other, "killed after step", 3) == -signal.SIGKILL
    assert run_in_child(tiny) == 0
    assert bytes_of(tiny) == straight(tiny)
    run = RunDir(Path(tiny.runs_dir) / run_id(tiny))
    assert from_yaml(run.config.read_text()) == tiny


def test_settings_that_no_version_can_run_are_forgotten_where_nothing_was_saved(tiny, straight):
    run = RunDir(Path(tiny.runs_dir) / run_id(tiny))
    run.path.mkdir(parents=True)
    run.config.write_text(to_yaml(tiny).replace("points: 10", "points: 1000000000000"))
    assert run_in_child(tiny) == 0
    assert bytes_of(tiny) == straight(tiny)
    assert from_yaml(run.config.read_text()) == tiny


def test_two_processes_at_once_train_one_run_once(tiny, straight):
    first = start(tiny, "held at step", 5)
    wait_until_held(tiny, 5)
    assert run_in_child(tiny) == 1
    release_of(tiny).touch()
    first.join()
    assert first.exitcode == 0
    assert bytes_of(tiny) == straight(tiny)
