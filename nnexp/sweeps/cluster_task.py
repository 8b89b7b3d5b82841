"""One run of a sweep on whichever machine its launcher chose: what joblib, submitit and Ray run."""

import math
import multiprocessing
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from nnexp.console import forgiving_output, say
from nnexp.rundir import finished_result
from nnexp.settings import ConfigError, ExperimentConfig
from nnexp.settings.compose import to_config
from nnexp.settings.plugins import load_plugins, plugins_of_environment
from nnexp.sweeps.jobs import Job
from nnexp.sweeps.observer import SweepObserver
from nnexp.sweeps.pool import Pool, PoolSettings
from nnexp.sweeps.worker import PRELOAD


@dataclass(kw_only=True)
class SweepTask:
    """What Hydra's sweeper hands to its launcher: the function that trains one composed job.

    nnexp's own launcher reads from it what is planned, and leaves the jobs and the signal that
    ended them. Other launchers may pickle it; then it is only the function.
    """

    observer: SweepObserver = field(default_factory=SweepObserver)
    planned: dict[tuple[str, ...], ExperimentConfig] = field(default_factory=dict)  # by overrides
    ledger: str = ""  # a folder that takes the names of runs that nobody knows beforehand
    jobs: list[Job] = field(default_factory=list)
    signum: int | None = None

    def __call__(self, composed: DictConfig) -> float:
        """Train the run that Hydra composed, in a process of its own; return what a search goes by.

        What becomes of the run is in its folder and never an exception: that would end the sweep.

        Raises:
            ConfigError: This node lacks the folder that the sweep was begun in.
        """
        hydra = HydraConfig.get()
        _enter(Path(hydra.runtime.cwd))
        load_plugins(composed.plugins or plugins_of_environment())  # the process may be a new one
        job = Job(words=list(hydra.overrides.task), config=to_config(composed))
        if self.ledger:
            Path(self.ledger).mkdir(parents=True, exist_ok=True)
            (Path(self.ledger) / job.name).touch()
        job.look()
        if job.is_wanted(retry_failed=True):
            with forgiving_output():
                signum = _train(job)
            if signum is not None:
                os.kill(os.getpid(), signum)  # it was meant for the launcher's process
        return objective(job)

    def __getstate__(self) -> dict[str, str]:
        """Return what a process on another machine needs."""
        return {"ledger": self.ledger}


def _enter(folder: Path) -> None:
    """Work where the sweep was begun, which relative folders count from; Ray begins elsewhere."""
    if not folder.is_dir():
        raise ConfigError(
            f"{folder} is not on {socket.gethostname()}",
            "begin the sweep in a folder that every node has",
        )
    os.chdir(folder)


def _train(job: Job) -> int | None:
    multiprocessing.set_start_method("forkserver", force=True)  # joblib's own no child knows
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    sources = HydraConfig.get().runtime.config_sources
    given = [one.path for one in sources if one.provider == "command-line"]
    command = ["nnexp", "train", *(["--config-dir", given[0]] if given else []), *job.words]
    one_at_a_time = PoolSettings(slots=[None], threads=None)  # threads: as the launcher decided
    return Pool(context, one_at_a_time, LineObserver(), lambda _: command).train([job])


def objective(job: Job) -> float:
    """Return the validation accuracy that a run came to: 0 where it diverged, else not a number."""
    result = finished_result(job.run)
    if result.get("status") == "diverged":
        return 0.0
    return result["val_accuracy"] if result else math.nan


class LineObserver(SweepObserver):
    """Says in a line how the run ended; the launcher knows where such lines go."""

    def waits(self, job: Job) -> None:
        """Say that another process trains the run."""
        say(f"{job.name} is being trained by {job.reason}")

    def ended(self, job: Job, seconds: float) -> None:
        """Say how the run ended."""
        say(f"{job.name} {job.status} after {seconds:.0f} s {job.reason}".rstrip())

    def stopping(self, reason: str, running: int) -> None:
        """Say that a signal has come."""
        say(f"{reason}: the run saves its state and stops")
