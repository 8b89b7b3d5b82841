"""Trains one run of a sweep in a process of its own and reports its progress over a pipe."""

import atexit
import faulthandler
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing import forkserver, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

from nnexp.experiment import Listener, Progress, RunInfo
from nnexp.experiment.signals import SIGNAL_EXIT
from nnexp.rundir import (
    BusyError,
    RunError,
    explaining_refusals,
    make_folder,
    open_own_file,
    write_results_view,
)
from nnexp.settings import ConfigError, DataConfig, ExperimentConfig
from nnexp.settings.plugins import load_plugins, load_plugins_of
from nnexp.sweeps.jobs import Job, News, record_failure

PRELOAD = ["nnexp.experiment.runner", "nnexp.sweeps.worker", "yaml"]
BUSY = os.EX_TEMPFAIL  # exit code: another process trains the run
PAUSE = 0.5  # seconds between two news of one epoch


class PipeListener(Listener):
    """Tells the sweep how far the run has come; whether anybody listens changes nothing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._news = News()
        self._told_at = 0.0

    def loading(self, what: str, done: int, total: int) -> None:
        """Write what happens to the images into the run's log, to which the process prints."""
        if total == 0:
            sys.stderr.write(f"{what}\n")

    def started(self, info: RunInfo) -> None:
        """Tell where the run begins."""
        length = {"epochs": info.epochs, "total_steps": info.total_steps}
        self._tell(epoch=info.epoch, step=info.step, **length)

    def progress(self, progress: Progress) -> None:
        """Tell of the step, now and then."""
        if time.monotonic() - self._told_at > PAUSE:
            self._tell(step=progress.step, seconds_left=progress.seconds_left)

    def epoch(self, row: dict[str, Any], images_per_second: float) -> None:
        """Tell of the epoch."""
        self._tell(epoch=row["epoch"], step=row["step"], val_accuracy=row["val_accuracy"])

    def failed(self, run: Path, reason: str) -> None:
        """Tell why the run cannot go on."""
        self._tell(reason=reason)

    def _tell(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self._news, name, value)
        self._told_at = time.monotonic()
        with suppress(OSError):  # the sweep is gone
            self._connection.send(self._news)


def work(job: Job, command: Sequence[str], connection: Connection) -> None:
    """Train one run to its end; what libraries print goes to the run's log.

    Exits with 0 when the run has a result, 1 when it failed, BUSY when another process has it, and
    with SIGNAL_EXIT + the signal's number when one stopped it.
    """
    from nnexp.experiment import run

    gc.freeze()  # else the first collection copies all memory that is shared with the server
    os.setsid()  # Ctrl-C reaches the sweep alone, which then stops its runs
    _stop_with_the_sweep()
    listener = PipeListener(connection)
    try:
        with explaining_refusals(job.run):
            _print_into(job.run.log)
        load_plugins_of(job.config)
        outcome = run(job.config, [listener], command, rebuild_view=False)
    except BusyError:
        sys.exit(BUSY)
    except KeyboardInterrupt:
        sys.exit(SIGNAL_EXIT + signal.SIGINT)
    except (ConfigError, RunError) as error:
        reason = _in_one_line(error)
        record_failure(job, reason)
        listener.failed(job.run.path, reason)
        sys.exit(1)
    finally:
        if (sweep := parent_process()) and not sweep.is_alive():  # else the sweep does it
            with suppress(OSError, ConfigError):
                write_results_view(job.run.path.parent)
    if outcome.signum is not None:
        sys.exit(SIGNAL_EXIT + outcome.signum)
    sys.exit(1 if outcome.status == "failed" else 0)


def look_ahead(
    configs: Iterable[DataConfig], plugins: Iterable[str], connection: Connection
) -> None:
    """Fetch and decode images, telling of it; then the number of CUDA devices, and each problem."""
    import torch

    from nnexp.data import load_images

    _stop_with_the_sweep()
    load_plugins(plugins)
    problems: list[ConfigError | None] = []
    said: set[str] = set()

    def loading(what: str, done: int, total: int) -> None:
        if what not in said:
            said.add(what)
            connection.send(what)

    for config in configs:
        try:
            load_images(config, loading)
            problems.append(None)
        except ConfigError as error:
            problems.append(error)
    connection.send((torch.cuda.device_count(), problems))


def open_fork_server() -> ForkServerContext:
    """Return the server that forks runs, which imports torch meanwhile; Ctrl-C is not for it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # its processes inherit this
    forkserver.ensure_running()
    signal.signal(signal.SIGINT, before)
    atexit.unregister(_end_fork_server)
    atexit.register(_end_fork_server)
    return context


def start_without_main(process: BaseProcess) -> None:
    """Start a process that does not import the file that the user runs, as it otherwise would.

    That may be a script that sweeps and does not ask for `__name__`, or the whole command line.
    """
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        process.start()
    finally:
        sys.modules["__main__"] = main


def heard_from(target: Callable[..., None], *args: Any) -> Iterator[Any]:
    """Call a function in a process of its own, and yield what it sends through its last argument.

    The process ends when nobody listens any more: after Ctrl-C it may have much to do still.
    """
    context = open_fork_server()
    answer, told = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(*args, told))
    start_without_main(process)
    told.close()
    try:
        with suppress(EOFError):
            while True:
                yield answer.recv()
    finally:
        process.terminate()
        process.join()


def settings_of_slot(
    config: ExperimentConfig, device: str | None, threads: int | None
) -> ExperimentConfig:
    """Return the settings with what the slot decides, where the user has not."""
    device = device if device and config.device == "auto" else config.device
    return replace(config, device=device, threads=config.threads or threads)


def _end_fork_server() -> None:
    """End the server at once; by itself it would first import torch, and then take it down."""
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _stop_with_the_sweep() -> None:
    """Ask this process to stop, its state saved, when the sweep's process has died."""
    sweep = parent_process()
    assert sweep is not None

    def watch() -> None:
        wait([sweep.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _print_into(log: Path) -> None:
    make_folder(log.parent)
    handle = open_own_file(log)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    faulthandler.enable()


def _in_one_line(error: ConfigError | RunError) -> str:
    if isinstance(error, ConfigError):
        return f"{error.problem}; {error.remedy}" if error.remedy else error.problem
    return str(error)
