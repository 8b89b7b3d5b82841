"""The processes of a sweep: one per run, forked from a server that has torch imported already."""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from types import FrameType
from typing import cast

from nnexp.experiment.signals import INTERRUPTIONS, SIGNAL_EXIT
from nnexp.rundir import FINAL, write_results_view
from nnexp.settings import ConfigError
from nnexp.sweeps.jobs import (
    FAILED,
    INTERRUPTED,
    RUNNING,
    Job,
    News,
    read_status_of,
    record_failure,
    record_signal,
)
from nnexp.sweeps.observer import SweepObserver
from nnexp.sweeps.worker import BUSY, settings_of_slot, start_without_main, work

BEAT = 0.25  # seconds between two looks at the clock
GRACE = 20.0  # seconds that a run which took too long has to save its state
VIEW_SHARE = 20  # of the time at most one part is spent on `results.csv`
LOOK_AGAIN = 2.0  # seconds between two looks at a run that another process trains


@dataclass(kw_only=True, slots=True)
class Worker:
    """A run that is being trained."""

    job: Job
    process: ForkServerProcess
    news: Connection
    slot: str | None
    begun: float
    ended_by: str = ""  # why the pool itself has ended it
    asked_at: float | None = None  # when it was asked to stop
    killed: bool = False  # by a second signal to the sweep


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolSettings:
    """How many runs at a time, on what, for how long."""

    slots: Sequence[str | None]  # a device each; None for the one that the settings name
    threads: int | None  # each; None for what the process was given
    timeout: float | None = None
    fail_fast: bool = False


class Pool:
    """Trains runs, as many at a time as there are slots; a run that dies takes no other with it."""

    def __init__(
        self,
        context: ForkServerContext,
        settings: PoolSettings,
        observer: SweepObserver,
        command: Callable[[Job], list[str]],
    ) -> None:
        self._context = context
        self._settings = settings
        self._observer = observer
        self._command = command
        self._free = deque(settings.slots)
        self._live: list[Worker] = []
        self._waiting: dict[Path, tuple[Job, float]] = {}  # folder → job, when to look again
        self._outdated: set[Path] = set()  # folders whose `results.csv` lacks a run
        self._rebuild_at = 0.0
        self._stopping = False
        self._signals: list[int] = []

    def train(self, jobs: Sequence[Job]) -> int | None:
        """Train every job; return the signal that ended it early, if one did.

        Each job's status and reason say afterwards what became of it.
        """
        todo = deque(jobs)
        with self._listening():
            while todo or self._live or self._waiting:
                self._heed_signals()
                if self._stopping and not self._live:
                    break
                if not self._stopping:
                    self._look_at_waiting(todo)
                    self._start(todo)
                self._listen()
                self._end_overdue()
                if self._outdated and time.monotonic() >= self._rebuild_at:
                    self._rebuild_views()
                self._observer.tick([worker.job for worker in self._live])
        return self._signals[0] if self._signals else None

    def _start(self, todo: deque[Job]) -> None:
        while todo and self._free:
            job = todo.popleft()
            before = job.status
            job.look()
            if job.status in FINAL or (job.status == FAILED and before != FAILED):
                self._observer.ended(job, 0.0)  # another sweep was faster
                continue
            if job.status == RUNNING:
                self._wait_for(job)
                continue
            self._begin(job, self._free.popleft())

    def _begin(self, job: Job, slot: str | None) -> None:
        job.news = News()
        placed = replace(job, config=settings_of_slot(job.config, slot, self._settings.threads))
        news, told = self._context.Pipe(duplex=False)
        process = self._context.Process(target=work, args=(placed, self._command(job), told))
        start_without_main(process)
        told.close()
        job.status = RUNNING
        pipe = cast("Connection", news)  # the stubs know Windows' pipes too
        self._live.append(
            Worker(job=job, process=process, news=pipe, slot=slot, begun=time.monotonic())
        )
        self._observer.started(job)

    def _wait_for(self, job: Job) -> None:
        if job.run.path not in self._waiting:
            self._observer.waits(job)
        self._waiting[job.run.path] = (job, time.monotonic() + LOOK_AGAIN)

    def _look_at_waiting(self, todo: deque[Job]) -> None:
        for folder, (job, look_at) in list(self._waiting.items()):
            if time.monotonic() < look_at:
                continue
            if read_status_of(job.run)[0] == RUNNING:
                self._wait_for(job)
                continue
            del self._waiting[folder]
            todo.append(job)

    def _listen(self) -> None:
        ready = wait(
            [one for worker in self._live for one in (worker.news, worker.process.sentinel)],
            timeout=BEAT,
        )
        for worker in list(self._live):
            _take_news(worker)
            if worker.process.sentinel in ready:
                self._end(worker)

    def _end(self, worker: Worker) -> None:
        worker.process.join()
        _take_news(worker)
        worker.news.close()
        self._live.remove(worker)
        self._free.append(worker.slot)
        self._outdated.add(worker.job.run.path.parent)
        job = worker.job
        job.look()
        # A run goes on without its process here when the fork server has died.
        if worker.process.exitcode == BUSY or job.status == RUNNING:
            job.status = RUNNING
            self._wait_for(job)
            return
        if job.status not in FINAL:
            _settle(worker)
            if worker.asked_at and self._signals:
                record_signal(job, self._signals[0])
        self._observer.ended(job, time.monotonic() - worker.begun)
        if job.status == FAILED and self._settings.fail_fast and not self._stopping:
            self._stop(f"{job.name} failed")

    def _end_overdue(self) -> None:
        """End what has taken too long: asked first, so that its state is saved, then by force."""
        limit, now = self._settings.timeout, time.monotonic()
        for worker in self._live:
            if limit and worker.asked_at is None and now - worker.begun > limit:
                worker.ended_by = f"timed out after {limit:g} s"
                self._ask(worker)
            elif worker.ended_by and worker.asked_at and now - worker.asked_at > GRACE:
                _send(worker, signal.SIGKILL)

    def _stop(self, reason: str) -> None:
        self._stopping = True
        self._observer.stopping(reason, len(self._live))
        for worker in self._live:
            if worker.asked_at is None:  # a second signal would end it before its state is saved
                self._ask(worker)

    def _ask(self, worker: Worker) -> None:
        worker.asked_at = time.monotonic()
        _send(worker, signal.SIGTERM)

    def _heed_signals(self) -> None:
        if self._signals and not self._stopping:
            self._stop(signal.Signals(self._signals[0]).name)
        if len(self._signals) > 1:
            for worker in self._live:
                worker.killed = True
                _send(worker, signal.SIGKILL)

    def _rebuild_views(self) -> None:
        """Bring `results.csv` up to date, and leave it the longer the more runs it has."""
        begun = time.monotonic()
        for folder in self._outdated:
            with suppress(OSError, ConfigError):  # the end of the sweep tries again, and says so
                write_results_view(folder)
        self._outdated.clear()
        self._rebuild_at = time.monotonic() + VIEW_SHARE * (time.monotonic() - begun)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as wishes to stop; leave no process behind, whatever happens."""

        def note(signum: int, frame: FrameType | None) -> None:
            self._signals.append(signum)

        before = {one: signal.signal(one, note) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for worker in self._live:
                _send(worker, signal.SIGKILL)
                worker.process.join()
            self._rebuild_views()
            for signum, handler in before.items():
                signal.signal(signum, handler)


def _take_news(worker: Worker) -> None:
    with suppress(EOFError, OSError):
        while worker.news.poll():
            worker.job.news = worker.news.recv()


def _settle(worker: Worker) -> None:
    """Give a run without a result its status and its reason; a failure is also written down."""
    job, code = worker.job, worker.process.exitcode
    assert code is not None
    signum = -code if code < 0 else code - SIGNAL_EXIT
    reason = worker.ended_by or job.news.reason
    if not reason and (signum in INTERRUPTIONS or (worker.killed and signum == signal.SIGKILL)):
        if job.status == FAILED:  # an earlier try; this one was stopped before it began
            job.status, job.reason = INTERRUPTED, ""
        return
    reason = reason or _reason_of_exit(code)
    known = (job.status, job.reason) == (FAILED, reason)  # the run itself has written it
    job.status, job.reason = FAILED, reason
    if not known:
        record_failure(job, reason)


def _send(worker: Worker, signum: int) -> None:
    """Send a signal to a run; by force, also to the processes that it has started."""
    assert worker.process.pid is not None
    with suppress(ProcessLookupError):
        if signum == signal.SIGKILL and os.getpgid(worker.process.pid) == worker.process.pid:
            os.killpg(worker.process.pid, signum)
        else:
            os.kill(worker.process.pid, signum)


def _reason_of_exit(code: int) -> str:
    """Return why a process ended that could not say so itself."""
    if code >= 0:
        return f"the process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal has no name
        name = f"signal {-code}"
    return f"killed by {name}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
