"""Hydra's launcher of nnexp: every run a process of its own, as many at a time as there is room."""

import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from itertools import cycle, islice
from multiprocessing.context import ForkServerContext
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from nnexp.settings import ConfigError, DataConfig, ExperimentConfig
from nnexp.settings.compose import to_config
from nnexp.sweeps.cluster_task import SweepTask, objective
from nnexp.sweeps.jobs import Job, make_jobs
from nnexp.sweeps.observer import SweepObserver
from nnexp.sweeps.pool import Pool, PoolSettings
from nnexp.sweeps.worker import look_ahead, open_fork_server

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
        self._check()

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
        runs = [Job(words=list(words), config=config) for words, config in composed]
        return [_returned(job, one) for job, one in zip(runs, job_overrides, strict=True)]

    def _compose(self, overrides: Sequence[str]) -> ExperimentConfig:
        if known := self._task.planned.get(tuple(overrides)):
            return known
        loader = self._context.config_loader
        return to_config(loader.load_sweep_config(self._config, list(overrides)))

    def _train(self, jobs: Sequence[Job], todo: Sequence[Job]) -> int | None:
        observer = self._task.observer
        context = open_fork_server()
        num_cuda = _look_ahead(context, todo, observer)
        slots = choose_slots(jobs, self._limit, self._devices, num_cuda)
        threads = max(1, count_cpus() // len(slots))  # the same for what is left of a sweep
        settings = PoolSettings(
            slots=slots, threads=threads, timeout=self._timeout, fail_fast=self._fail_fast
        )
        observer.begun(slots, sorted({job.config.threads or threads for job in todo}))
        return Pool(context, settings, observer, _command).train(todo)

    def _check(self) -> None:
        limit, timeout = self._limit, self._timeout
        if limit is not None and not (isinstance(limit, int) and limit >= 1):
            raise ConfigError(f"--jobs cannot be {limit}", "it needs a whole number of at least 1")
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
            raise ConfigError(f"--timeout cannot be {timeout}", "it needs seconds above 0")


PLUGIN = "hydra_plugins.nnexp"  # the name by which Hydra looks the launcher's module up
ProcessLauncher.__module__ = PLUGIN


def register_launcher() -> None:
    """Tell Hydra of the launcher; `hydra/launcher=process` names it.

    Hydra 1.3 takes launchers from below `hydra_plugins` alone, so this module is known there too.
    """
    Plugins.instance().register(ProcessLauncher)
    try:
        plugins = importlib.import_module("hydra_plugins")
    except ImportError:  # no plugin is installed
        spec = ModuleSpec("hydra_plugins", loader=None, is_package=True)
        plugins = sys.modules["hydra_plugins"] = module_from_spec(spec)
    sys.modules[PLUGIN] = plugins.__dict__["nnexp"] = sys.modules[__name__]


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
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return (
            int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
        )
    except (OSError, StopIteration):
        return None


def _look_ahead(context: ForkServerContext, todo: Sequence[Job], observer: SweepObserver) -> int:
    """Fetch and decode the images once, before many runs need them; return the CUDA devices.

    Raises:
        ConfigError: No run can have its images.
    """
    sources: dict[str, DataConfig] = {str(job.config.data): job.config.data for job in todo}
    plugins = list(dict.fromkeys(name for job in todo for name in job.config.plugins))
    answer, told = context.Pipe(duplex=False)
    process = context.Process(target=look_ahead, args=(list(sources.values()), plugins, told))
    process.start()
    told.close()
    try:
        while isinstance(heard := answer.recv(), str):
            observer.note(heard)
    except EOFError:  # it died; the runs will say why
        return 0
    finally:
        process.terminate()  # after Ctrl-C it may have much to fetch still
        process.join()
    num_cuda, problems = heard
    if all(problems):
        raise problems[0]
    return num_cuda


def _command(job: Job) -> list[str]:
    return ["nnexp", "train", *own_folder(sys.argv), *job.words]


def own_folder(argv: Iterable[str]) -> list[str]:
    """Return the `--config-dir FOLDER` of a command line; a run's command needs it too."""
    words = list(argv)
    at = next((n for n, word in enumerate(words) if word in ("--config-dir", "-cd")), None)
    return [] if at is None else words[at : at + 2]


def _returned(job: Job, overrides: Sequence[str]) -> JobReturn:
    returned = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
    returned.return_value = objective(job)
    return returned
