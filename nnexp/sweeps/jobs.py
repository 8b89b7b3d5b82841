"""The runs of a sweep: what each is, and where it stands on disk."""

import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from nnexp.rundir import (
    FINAL,
    RunDir,
    RunError,
    append_log,
    finished_result,
    is_locked,
    locked,
    read_status,
    replacing,
    write_status,
)
from nnexp.settings import ConfigError, ExperimentConfig, run_id, to_yaml

NEW, RUNNING, FAILED, INTERRUPTED = "new", "running", "failed", "interrupted"


@dataclass(kw_only=True, slots=True)
class News:
    """How far a run has come; what its process tells the sweep."""

    epoch: int = 0  # epochs finished
    step: int = 0
    total_steps: int = 0
    epochs: int = 0  # all of the run; 0 until it begins
    val_accuracy: float | None = None  # after the newest epoch
    seconds_left: float | None = None
    reason: str = ""  # why it cannot go on


@dataclass(kw_only=True, slots=True)
class Job:
    """One run of a sweep."""

    words: list[str]  # the overrides that make it
    config: ExperimentConfig
    status: str = NEW
    reason: str = ""
    news: News = field(default_factory=News)
    run: RunDir = field(init=False)  # its folder

    def __post_init__(self) -> None:
        self.run = RunDir(Path(self.config.runs_dir) / run_id(self.config))

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.path.name

    def look(self) -> None:
        """Read from disk where the run stands."""
        self.status, self.reason = read_status_of(self.run)

    def is_wanted(self, retry_failed: bool) -> bool:
        """Whether a sweep trains it: not what is done, and what failed only when asked to."""
        return self.status not in FINAL and (retry_failed or self.status != FAILED)


def make_jobs(composed: Sequence[tuple[list[str], ExperimentConfig]]) -> list[Job]:
    """Return one job per run, where each stands; settings that meet in one folder are one run."""
    jobs: dict[str, Job] = {}
    for words, config in composed:
        job = Job(words=words, config=config)
        jobs.setdefault(str(job.run.path), job)
    for job in jobs.values():
        job.look()
    return list(jobs.values())


def read_status_of(run: RunDir) -> tuple[str, str]:
    """Return where a run stands, and why: its result is the truth, then its lock, its status."""
    holder = is_locked(run)  # looked at first: a run that ends meanwhile has its result by now
    if result := finished_result(run):
        step = result.get("diverged_at_step")
        return result["status"], "" if step is None else f"at step {step}"
    if holder:
        return RUNNING, holder
    status = read_status(run)
    name = str(status.get("status", NEW))
    if name in FINAL or name == RUNNING:  # without a result, and nobody at work
        name = INTERRUPTED
    return name, str(status.get("reason") or "")


def record_failure(job: Job, reason: str) -> None:
    """Leave settings, `failed` and the reason behind for a run whose process could not."""
    try:
        with locked(job.run):
            if finished_result(job.run):
                return
            if not job.run.config.exists():
                with replacing(job.run.config) as scratch:
                    scratch.write_text(to_yaml(job.config), "utf-8")
            write_status(job.run, FAILED, reason=reason)
            append_log(job.run, f"failed: {reason}")
    except (OSError, ConfigError, RunError):
        return  # nothing can be written there; or another sweep has taken it up already


def record_signal(job: Job, signum: int) -> None:
    """Name the signal that stopped the sweep, which ends each run by SIGTERM, in a run's status."""
    name = signal.Signals(signum).name
    if (job.status, job.reason) == (INTERRUPTED, "SIGTERM") and name != job.reason:
        with suppress(OSError, ConfigError, RunError), locked(job.run):
            write_status(job.run, INTERRUPTED, reason=name)
            job.reason = name
