"""Overrides → jobs → Hydra's launcher → what became of each."""

import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from nnexp.rundir import FINAL, BusyError, RunDir, empty_folder, read_config, write_results_view
from nnexp.settings import ConfigError
from nnexp.settings.compose import compose_jobs, launch_jobs
from nnexp.settings.overrides import split_words, value_of
from nnexp.settings.plugins import refuse_session_code
from nnexp.settings.values import as_list, check_words
from nnexp.sweeps.cluster_task import SweepTask
from nnexp.sweeps.jobs import RUNNING, Job, make_jobs
from nnexp.sweeps.launcher import check_limits, register_launcher
from nnexp.sweeps.observer import SweepObserver
from nnexp.sweeps.worker import open_fork_server

LAUNCHER, SWEEPER = "hydra/launcher=", "hydra/sweeper="
OWN = "process"  # nnexp's launcher
BUSY_REMEDY = "wait until that process has ended, or stop it: --rerun deletes the run's folder"


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepOptions:
    """What `nnexp sweep` takes beside settings.

    Raises:
        ConfigError: `jobs` or `timeout` cannot be.
    """

    jobs: int | None = None
    devices: Sequence[str] = ()
    timeout: float | None = None
    fail_fast: bool = False
    retry_failed: bool = False
    rerun: bool = False

    def __post_init__(self) -> None:
        check_limits(self.jobs, self.timeout)

    def as_overrides(self) -> list[str]:
        """Return the options as settings of nnexp's launcher."""
        devices = f"[{','.join(self.devices)}]" if self.devices else None
        values = {**asdict(self), "devices": devices}
        del values["rerun"]  # which is done before the launcher begins
        return [
            f"hydra.launcher.{name}={value}"
            for name, value in values.items()
            if value is not None and value is not False
        ]


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class SweepOutcome:
    """What became of a sweep: its jobs, each with where it stands, and what ended it early."""

    jobs: Sequence[Job]
    signum: int | None = None  # the signal that stopped it

    @property
    def complete(self) -> bool:
        """Whether every run has a result; one that diverged has."""
        return all(job.status in FINAL for job in self.jobs)

    def __repr__(self) -> str:
        """Return what a notebook shows: how many runs stand where."""
        counts = Counter(job.status for job in self.jobs)
        return f"SweepOutcome({', '.join(f'{count} {status}' for status, count in counts.items())})"


def sweep(  # noqa: PLR0913  one keyword an option of the command
    *overrides: str,
    jobs: int | None = None,
    devices: Sequence[str] = (),
    timeout: float | None = None,
    fail_fast: bool = False,
    retry_failed: bool = False,
    rerun: bool = False,
    config_dir: str | None = None,
    observer: SweepObserver | None = None,
) -> SweepOutcome:
    """Train what is missing of every combination of the overrides, several runs at a time.

    Args:
        overrides: Settings as on the command line: `"norm=batch,none"`, `"seed=0,1,2"`.
        jobs: Runs at a time; unset: as many as cores and free memory allow.
        devices: One slot for each: `["cuda:0", "cuda:1"]`.
        timeout: Seconds after which a run is stopped and counts as failed.
        fail_fast: Stop all runs when one fails.
        retry_failed: Also train what failed before.
        rerun: Delete these runs and train them anew, finished ones too.
        config_dir: One more folder of configs.
        observer: Who is told how the sweep goes.

    Raises:
        ConfigError: A word names nothing, a value cannot be, no run can have its images, or this is
            not the main thread.
    """
    check_words("sweep", overrides)
    options = SweepOptions(
        jobs=jobs,
        devices=as_list(devices),
        timeout=timeout,
        fail_fast=fail_fast,
        retry_failed=retry_failed,
        rerun=rerun,
    )
    flags = ["--config-dir", config_dir] if config_dir else []
    return run_sweep([*flags, *overrides], options, observer or SweepObserver())


def run_sweep(words: Sequence[str], options: SweepOptions, observer: SweepObserver) -> SweepOutcome:
    """Train what is missing of a sweep whose words may hold flags of Hydra.

    Raises:
        ConfigError: A word names nothing, a value cannot be, no run can have its images, or this is
            not the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError(
            "a sweep takes Ctrl-C and SIGTERM, which only the main thread of a process can",
            "call nnexp.sweep there; it trains several runs at a time",
        )
    register_launcher()
    launcher, searching = launcher_of(words), is_search(words)
    _check_options(launcher, options)
    planned = plan_jobs(words, observer)
    if options.rerun:
        _empty(planned)
    if launcher == OWN:
        words = [*words, *options.as_overrides()]
        if any(job.is_wanted(options.retry_failed) for job in planned):
            open_fork_server()  # imports torch while Hydra composes
    task = SweepTask(observer=observer, planned={tuple(job.words): job.config for job in planned})
    with _ledger(planned, searching) as task.ledger:
        _launch(words, launcher, task)
        jobs = task.jobs or (_jobs_of(task.ledger, planned) if searching else planned)
    for job in jobs:
        job.look()
    for folder in {job.run.path.parent for job in jobs}:
        with suppress(OSError):  # a run that was killed at its very end has no row yet
            write_results_view(folder)
    return SweepOutcome(jobs=jobs, signum=task.signum)


def _launch(words: Sequence[str], launcher: str, task: SweepTask) -> None:
    """Hand the words to Hydra; a signal that ended the sweep is in the task afterwards."""
    try:
        launch_jobs(words, task)
    except SystemExit as end:
        task.signum = int(end.code or 0) - 128
    except KeyboardInterrupt:
        task.signum = signal.SIGINT
    except ConfigError:
        raise
    except Exception as error:
        if launcher == OWN:
            raise
        first = str(error).strip().partition("\n")[0]
        task.observer.note(f"the launcher {launcher} stopped: {type(error).__name__}: {first}")


def plan_jobs(words: Sequence[str], observer: SweepObserver) -> list[Job]:
    """Return the jobs that the words make, each with where it stands.

    Raises:
        ConfigError: A word names nothing, or a value cannot be.
    """
    flags, overrides = split_words(words)
    planned = compose_jobs(overrides, value_of("--config-dir", flags), observer.planning)
    refuse_session_code(config for _, config in planned)
    return make_jobs(planned)


def launcher_of(words: Sequence[str]) -> str:
    """Return the launcher that the words choose; OWN is nnexp's."""
    chosen = (word.removeprefix(LAUNCHER) for word in words if word.startswith(LAUNCHER))
    return next(chosen, OWN)


def is_search(words: Sequence[str]) -> bool:
    """Return whether a sweeper chooses the values as it goes."""
    return any(word.startswith(SWEEPER) and word != f"{SWEEPER}basic" for word in words)


def _check_options(launcher: str, options: SweepOptions) -> None:
    """Refuse options of nnexp's own launcher where another one is at work."""
    given = options.as_overrides()
    if launcher != OWN and given:
        option = given[0].partition("=")[0].removeprefix("hydra.launcher.").replace("_", "-")
        raise ConfigError(
            f"--{option} belongs to nnexp's own launcher, not to {LAUNCHER}{launcher}",
            "leave it out, or see docs/clusters.md for that launcher's own settings",
        )


@contextmanager
def _ledger(planned: Sequence[Job], searching: bool) -> Iterator[str]:
    """Give a folder in which each run of a search is named: nobody knows them beforehand."""
    if not searching:
        yield ""
        return
    runs_dir = planned[0].run.path.parent.absolute()
    runs_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".sweep-", dir=runs_dir) as folder:
        yield folder


def _jobs_of(ledger: str, planned: Sequence[Job]) -> list[Job]:
    """Return the runs that a search has chosen, by the names in its ledger."""
    runs_dir, jobs = planned[0].run.path.parent, []
    for name in sorted(path.name for path in Path(ledger).iterdir()):
        with suppress(OSError, ConfigError):
            if config := read_config(RunDir(runs_dir / name)):
                jobs.append(Job(words=[], config=config))
    return jobs


def _empty(jobs: Sequence[Job]) -> None:
    """Empty every folder, or none where one of them is in use."""
    for job in jobs:
        if job.status == RUNNING:
            raise ConfigError(
                f"{job.run.path} is being trained by {job.reason}",
                BUSY_REMEDY,
            )
    for job in jobs:
        try:
            empty_folder(job.run)
        except BusyError as error:
            raise ConfigError(str(error), BUSY_REMEDY) from None
    for folder in {job.run.path.parent for job in jobs}:
        write_results_view(folder)
