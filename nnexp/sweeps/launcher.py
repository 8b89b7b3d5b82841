"""Hydra's launcher of nnexp: every run a process of its own, as many at a time as fit."""

import importlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from itertools import cycle, islice
from pathlib import Path

from hydra._internal.core_plugins import basic_sweeper
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from nnexp.settings import ConfigError, ExperimentConfig
from nnexp.settings.compose import to_config
from nnexp.sweeps.cluster_task import SweepTask, objective
from nnexp.sweeps.jobs import Job, make_jobs
from nnexp.sweeps.observer import SweepObserver
from nnexp.sweeps.pool import Pool, PoolSettings
from nnexp.sweeps.worker import heard_from, look_ahead, open_fork_server

MEMORY_OF_A_RUN = 2 * 2**30  # bytes; what resnet18 at batch size 128 was seen to need on a CPU


class ProcessLauncher(Launcher):
    """Trains the runs of a sweep on this machine.

    Args:
        jobs: Runs at a time; None for as many as cores and free memory allow.
        devices: One slot per entry; none for every CUDA device, else the CPU.
        timeout: Seconds after which a run is stopped and counts as failed.
        fail_fast: Whether the first failure stops the others, their states saved.
        retry_failed: Whether runs that failed before are tried again.
    """

    def __init__(
        self,
        jobs: int | None = None,
        devices: Sequence[str] = (),
        timeout: float | None = None,
        fail_fast: bool = False,
        retry_failed: bool = False,
    ) -> None:
        self._limit = jobs
        self._devices = list(devices)
        self._timeout = timeout
        self._fail_fast = fail_fast
        self._retry_failed = retry_failed
        check_limits(jobs, timeout)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what composing a run needs."""
        self._context = hydra_context
        self._config = config
        self._task = task_function if isinstance(task_function, SweepTask) else SweepTask()

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Train what is missing of these runs; what became of each is in its folder.

        Raises:
            ConfigError: None of them can have its images.
            SystemExit: A signal stopped the sweep.
        """
        setup_globals()
        composed = [(filter_overrides(one), self._compose(one)) for one in job_overrides]
        jobs = make_jobs([(list(words), config) for words, config in composed])
        todo = [job for job in jobs if job.is_wanted(self._retry_failed)]
        self._task.jobs += jobs
        self._task.observer.planned(jobs, todo)
        try:
            self._task.signum = self._train(jobs, todo) if todo else None
        finally:
            self._task.observer.closed()
        if self._task.signum is not None:
            raise SystemExit(128 + self._task.signum)
        returned = []
        for overrides, (_, config) in zip(job_overrides, composed, strict=True):
            one = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
            one.return_value = objective(Job(words=[], config=config))
            returned.append(one)
        return returned

    def _compose(self, overrides: Sequence[str]) -> ExperimentConfig:
        if known := self._task.planned.get(tuple(overrides)):
            return known
        loader = self._context.config_loader
        return to_config(loader.load_sweep_config(self._config, list(overrides)))

    def _train(self, jobs: Sequence[Job], todo: Sequence[Job]) -> int | None:
        observer = self._task.observer
        num_cuda = _look_ahead(todo, observer)
        slots = choose_slots(jobs, self._limit, self._devices, num_cuda)
        threads = max(1, count_cpus() // len(slots))  # the same for what is left of a sweep
        settings = PoolSettings(
            slots=slots, threads=threads, timeout=self._timeout, fail_fast=self._fail_fast
        )
        observer.begun(slots, sorted({job.config.threads or threads for job in todo}))
        command = ["nnexp", "train", *own_folder(sys.argv)]
        pool = Pool(open_fork_server(), settings, observer, lambda job: [*command, *job.words])
        return pool.train(todo)


PLUGIN = "hydra_plugins.nnexp"  # the name by which Hydra looks the launcher's module up
ProcessLauncher.__module__ = PLUGIN


def register_launcher() -> None:
    """Tell Hydra of the launcher; `hydra/launcher=process` names it.

    Hydra 1.3 takes launchers from below `hydra_plugins` alone, so this module is known there too.
    Its sweeper would compose every job once more, to find what the plan of the sweep has found.
    """
    Plugins.instance().register(ProcessLauncher)  # the first call loads the sweeper's module anew
    basic_sweeper.BasicSweeper.validate_batch_is_legal = lambda self, batch: None
    try:
        plugins = importlib.import_module("hydra_plugins")
    except ImportError:  # no plugin is installed
        spec = ModuleSpec("hydra_plugins", loader=None, is_package=True)
        plugins = sys.modules["hydra_plugins"] = module_from_spec(spec)
    sys.modules[PLUGIN] = plugins.__dict__["nnexp"] = sys.modules[__name__]


def check_limits(jobs: int | None, timeout: float | None) -> None:
    """Refuse a number of runs at a time, or of seconds for each, that no sweep can keep.

    Raises:
        ConfigError: It is no such number.
    """
    if jobs is not None and not (isinstance(jobs, int) and jobs >= 1):
        raise ConfigError(f"--jobs cannot be {jobs}", "it needs a whole number of at least 1")
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        raise ConfigError(f"--timeout cannot be {timeout}", "it needs more than 0 seconds")


def choose_slots(
    jobs: Sequence[Job], limit: int | None, devices: Sequence[str], num_cuda: int
) -> list[str | None]:
    """Return the device of each slot: those named, every CUDA device, or places on the CPU."""
    if not devices and num_cuda and any(job.config.device == "auto" for job in jobs):
        devices = [f"cuda:{index}" for index in range(num_cuda)]
    places: list[str | None] = [*devices] or [None] * most_jobs()
    return list(islice(cycle(places), max(1, min(limit or len(places), len(jobs)))))


def most_jobs() -> int:
    """Return the number of runs at a time that this machine's processors and free memory allow."""
    memory = _available_memory()
    return max(1, min(count_cpus(), memory // MEMORY_OF_A_RUN if memory else count_cpus()))


def count_cpus() -> int:
    """Return the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _available_memory() -> int | None:
    """Return the bytes that may be used without swapping; None where the system does not say."""
    with suppress(OSError):
        if found := re.search(r"MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text()):
            return 1024 * int(found[1])
    return None


def _look_ahead(todo: Sequence[Job], observer: SweepObserver) -> int:
    """Fetch and decode the images once, before many runs need them; return the CUDA devices.

    Raises:
        ConfigError: No run can have its images.
    """
    sources = {str(job.config.data): job.config.data for job in todo}
    plugins = list(dict.fromkeys(name for job in todo for name in job.config.plugins))
    for heard in heard_from(look_ahead, list(sources.values()), plugins):
        if isinstance(heard, str):
            observer.note(heard)
            continue
        num_cuda, problems = heard
        if all(problems):
            raise problems[0]
        return num_cuda
    return 0  # the process died; the runs will say why


def own_folder(argv: Iterable[str]) -> list[str]:
    """Return the `--config-dir FOLDER` of a command line; a run's command needs it too."""
    words = list(argv)
    at = next((n for n, word in enumerate(words) if word in ("--config-dir", "-cd")), None)
    return [] if at is None else words[at : at + 2]
