"""Runs in processes of their own that are killed, stopped or held at chosen time points.

Nothing of pytest is imported here: each of the processes imports this module.
"""

import multiprocessing
import os
import signal
import time
from pathlib import Path

from nnexp import experiment
from nnexp.experiment import Listener, Progress, checkpoint, clock, resume, runner
from nnexp.rundir import RunDir
from nnexp.settings import ExperimentConfig, run_id
from nnexp.sweeps.worker import PRELOAD

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([*PRELOAD, "nnexp.compare"])  # what a run imports on its way


class KilledAtStep(Listener):
    """Sends its own process a signal when the run has taken a number of steps."""

    def __init__(self, step: int, signum: int) -> None:
        self.step, self.signum = step, signum

    def progress(self, progress: Progress) -> None:
        if progress.step == self.step:
            os.kill(os.getpid(), self.signum)


class StoppedTwiceAtStep(KilledAtStep):
    """Sends its own process a signal, and another before the step is over."""

    def progress(self, progress: Progress) -> None:
        super().progress(progress)
        super().progress(progress)


class HeldAtStep(Listener):
    """Waits at a step until a file is there."""

    def __init__(self, step: int, file: Path) -> None:
        self.step, self.file = step, file

    def progress(self, progress: Progress) -> None:
        while progress.step == self.step and not self.file.exists():
            time.sleep(0.01)


def release_of(config: ExperimentConfig) -> Path:
    """Return the file that lets a held run go on."""
    return Path(config.runs_dir).parent / "released"


def run_until(config: ExperimentConfig, time_point: str, at: int) -> None:
    """Run in a child process, and die at a time_point."""
    if time_point == "killed in the middle of saving":
        _break(checkpoint, "_write", at, _write_half)
    elif time_point == "killed before the saved state takes its place":
        _break(checkpoint, "sync_folder", at, lambda *args: None)
    elif time_point == "killed between rows and state":
        _break(runner, "save_state", at, lambda *args: None)
    elif time_point.startswith("killed at the end, in "):
        _break(runner, time_point.rpartition(" ")[2], at, lambda *args: None)
    elif time_point == "restores all but the momentum":
        _forget_momentum()
    outcome = experiment.run(config, [listener_for(time_point, at, release_of(config))])
    raise SystemExit(0 if outcome.status == "done" else 3)


def listener_for(time_point: str, at: int, released: Path) -> Listener:
    """Return who sends the signal of a time_point."""
    if time_point == "killed after step, saving all the time":
        clock.SAVE_EVERY = 0.0
        return KilledAtStep(at, signal.SIGKILL)
    if time_point == "killed after step":
        return KilledAtStep(at, signal.SIGKILL)
    if time_point == "asked to stop after step":
        return KilledAtStep(at, signal.SIGTERM)
    if time_point.startswith("stopped twice in step by "):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return StoppedTwiceAtStep(at, signal.Signals[time_point.rpartition(" ")[2]])
    return HeldAtStep(at, released) if time_point == "held at step" else Listener()


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
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    checkpoint.save_file(whole, path, metadata)
    os.truncate(path, path.stat().st_size // 2)


def _forget_momentum() -> None:
    real = resume.restore_state

    def restore(state, saved):
        real(state, saved)
        state.optimizer.state.clear()

    resume.restore_state = restore


def start(config: ExperimentConfig, time_point: str = "", at: int = 0):
    process = SERVER.Process(target=run_until, args=(config, time_point, at))
    process.start()
    return process


def run_in_child(config: ExperimentConfig, time_point: str = "", at: int = 0) -> int:
    process = start(config, time_point, at)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def bytes_of(config: ExperimentConfig) -> dict[str, bytes]:
    run = RunDir(Path(config.runs_dir) / run_id(config))
    weights = run.checkpoint / "weights.safetensors"
    return {p.name: p.read_bytes() for p in (run.metrics, run.traces, run.channels, weights)}
