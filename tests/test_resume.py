"""Real processes, killed at chosen moments, and the bytes of what they leave."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

import nnexp.experiment as experiment_module
import nnexp.resume as resume_module
import nnexp.state as state_module
from nnexp.config import (
    ExperimentConfig,
    NormConfig,
    OptimizerConfig,
    TraceConfig,
    from_yaml,
    run_id,
    to_yaml,
)
from nnexp.experiment import run_experiment
from nnexp.reporter import Progress, Silent
from nnexp.rundir import RunDir, read_status, write_status
from nnexp.state import NEWEST, PREVIOUS, WEIGHTS

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["nnexp.experiment", "torch._dynamo"])  # the optimizer imports it


class KilledAtStep(Silent):
    """Sends its own process a signal when the run has taken a number of steps."""

    def __init__(self, step: int, signum: int) -> None:
        self.step, self.signum = step, signum

    def progress(self, progress: Progress) -> None:
        if progress.step == self.step:
            os.kill(os.getpid(), self.signum)


class Slow(Silent):
    """Gives the test time to send a signal of its own."""

    def progress(self, progress: Progress) -> None:
        time.sleep(0.02)


class Notes(Silent):
    """Keeps what the run said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def run_until(config: ExperimentConfig, moment: str, at: int) -> None:
    """Run in a child process, and die at a moment."""
    reporter = Silent()
    if moment == "killed after step":
        reporter = KilledAtStep(at, signal.SIGKILL)
    elif moment == "asked to stop after step":
        reporter = KilledAtStep(at, signal.SIGTERM)
    elif moment == "slow":
        reporter = Slow()
    elif moment == "killed in the middle of saving":
        _break(state_module, "_write", at, _write_half)
    elif moment == "killed before the saved state takes its place":
        _break(state_module, "sync_folder", at, lambda *args: None)
    elif moment == "killed between rows and state":
        _break(experiment_module, "save_state", at, lambda *args: None)
    elif moment.startswith("killed at the end, in "):
        _break(experiment_module, moment.rpartition(" ")[2], at, lambda *args: None)
    elif moment == "restores all but the momentum":
        _forget_momentum()
    outcome = run_experiment(config, reporter)
    raise SystemExit(0 if outcome.status == "done" else 3)


def _break(module, name, at, instead) -> None:
    """Replace a function so that its call number `at` does `instead`, then kills the process."""
    real, calls = getattr(module, name), []

    def counted(*args):
        calls.append(args)
        if len(calls) == at:
            instead(*args)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)

    setattr(module, name, counted)


def _write_half(tensors, path, metadata) -> None:
    state_module.save_file(tensors, path, metadata)
    os.truncate(path, path.stat().st_size // 2)


def _forget_momentum() -> None:
    real = resume_module.restore_state

    def restore(state, saved):
        real(state, saved)
        state.optimizer.state.clear()

    resume_module.restore_state = restore


def start(config: ExperimentConfig, moment: str = "", at: int = 0):
    process = SERVER.Process(target=run_until, args=(config, moment, at))
    process.start()
    return process


def run_in_child(config: ExperimentConfig, moment: str = "", at: int = 0) -> int:
    process = start(config, moment, at)
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def bytes_of(config: ExperimentConfig) -> dict[str, bytes]:
    run = RunDir(Path(config.runs_dir) / run_id(config))
    weights = run.checkpoint / "weights.safetensors"
    return {p.name: p.read_bytes() for p in (run.metrics, run.traces, run.channels, weights)}


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


@pytest.mark.parametrize(
    ("moment", "at"),
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
def test_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(tiny, straight, moment, at):
    assert run_in_child(tiny, moment, at) == -signal.SIGKILL
    assert run_in_child(tiny) == 0
    assert bytes_of(tiny) == straight(tiny)
    assert [path.name for path in Path(tiny.runs_dir).glob("*/checkpoint/*")] == [WEIGHTS]


def test_run_killed_at_every_turn_still_ends_with_the_same_bytes(tiny, straight):
    for moment, at in [
        ("killed after step", 5),
        ("killed in the middle of saving", 1),
        ("killed after step", 11),
        ("asked to stop after step", 14),
        ("killed between rows and state", 1),
        ("asked to stop after step", 19),
        ("killed in the middle of saving", 1),
    ]:
        assert run_in_child(tiny, moment, at) in (-signal.SIGKILL, 3)
    assert run_in_child(tiny) == 0
    assert bytes_of(tiny) == straight(tiny)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_stopped_in_the_middle_of_an_epoch_it_goes_on_with_the_next_step(
    tiny, straight, norm, optimizer
):
    config = replace(
        tiny,
        norm=NormConfig(name=norm),
        optimizer=OptimizerConfig(name=optimizer, learning_rate=0.01),
    )
    run = RunDir(Path(config.runs_dir) / run_id(config))
    assert run_in_child(config, "asked to stop after step", 13) == 3
    assert read_status(run) == {"status": "interrupted", "reason": "SIGTERM"}
    assert state_module.read_state(run.checkpoint / NEWEST).step == 13
    assert run_in_child(config) == 0
    assert bytes_of(config) == straight(config)


def test_control_a_restore_without_momentum_does_not_give_the_same_bytes(tiny, straight):
    assert run_in_child(tiny, "asked to stop after step", 13) == 3
    assert run_in_child(tiny, "restores all but the momentum") == 0
    broken, whole = bytes_of(tiny), straight(tiny)
    assert broken["metrics.csv"] != whole["metrics.csv"]
    assert broken["weights.safetensors"] != whole["weights.safetensors"]


@pytest.mark.parametrize("delay", [0.15, 0.3, 0.45])
def test_sigkill_from_outside_at_no_chosen_moment(tiny, straight, delay):
    process = start(tiny, "slow")
    run = RunDir(Path(tiny.runs_dir) / run_id(tiny))
    while read_status(run).get("status") != "running":
        time.sleep(0.01)
    time.sleep(delay)
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
    assert run_experiment(config, notes).status == "done"
    return notes.lines


def test_torn_state_is_named_and_the_one_before_is_used(tiny, straight):
    def damage(run: RunDir) -> None:
        newest = run.checkpoint / NEWEST
        newest.write_bytes(newest.read_bytes()[:1000])

    (line,) = resume_after(tiny, damage)
    assert NEWEST in line
    assert "trying the state before it" in line
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
    assert "metrics.csv was changed after it was written; it is put back" in line
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
    assert run_experiment(tiny).status == "done"
    assert read_status(run) == {"status": "done"}
    assert bytes_of(tiny) == before


def test_save_that_meets_a_full_disk_ends_in_one_line_with_the_old_state_intact(tiny, straight):
    import resource

    from nnexp.rundir import RunError

    assert run_in_child(tiny, "asked to stop after step", 9) == 3
    run = RunDir(Path(tiny.runs_dir) / run_id(tiny))
    before = (run.checkpoint / NEWEST).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit fails, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(RunError, match="the disk is full"):
            run_experiment(tiny)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    assert (run.checkpoint / NEWEST).read_bytes() == before
    assert run_in_child(tiny) == 0
    assert bytes_of(tiny) == straight(tiny)


def test_resumed_run_keeps_the_traces_it_began_with(tiny, straight):
    assert run_in_child(tiny, "asked to stop after step", 13) == 3
    notes = Notes()
    run_experiment(replace(tiny, trace=TraceConfig(points=3)), notes)
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
    first, second = start(tiny, "slow"), start(tiny, "slow")
    first.join()
    second.join()
    assert sorted([first.exitcode, second.exitcode]) == [0, 1]
    assert bytes_of(tiny) == straight(tiny)
