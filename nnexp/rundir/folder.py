"""The run folder: the only place that knows which file of a run holds what."""

from dataclasses import dataclass
from pathlib import Path


class RunError(Exception):
    """A run that cannot go on for a reason outside its settings; the message is for the user."""


class DiskFullError(RunError):
    """A run that cannot go on because nothing more can be written."""


class Inside:
    """A path inside a run's folder."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: "RunDir", owner: type) -> Path:
        return run.path / self.name


@dataclass(frozen=True, slots=True)
class RunDir:
    """One run on disk."""

    path: Path

    config = Inside("config.yaml")  # every setting, resolved
    environment = Inside("environment.json")  # versions, device, threads, commit, command line
    images = Inside("images.json")  # class names, size, counts, digest, what normalizes them
    metrics = Inside("metrics.csv")  # one row per epoch
    timing = Inside("timing.csv")  # one row per epoch, of what no two machines share
    traces = Inside("traces.csv")  # one row per layer and quantity at each traced step
    channels = Inside("channels.csv")  # one row per single channel at each traced step
    probes = Inside("probes.csv")  # one row per layer and quantity at each probed step
    result = Inside("result.json")  # the run's one row
    status = Inside("status.json")  # what the run is doing, and who does it
    checkpoint = Inside("checkpoint")  # the folder of saved states, the newest and the one before
    log = Inside("log.txt")  # what the run said

    @property
    def has_saved_state(self) -> bool:
        """Whether there is a state from which the run can go on."""
        return any(self.checkpoint.glob("*.safetensors"))

    @property
    def tables(self) -> dict[str, Path]:
        """The CSV files that grow while the run goes on, by the name a checkpoint knows."""
        grown = (self.metrics, self.timing, self.traces, self.channels, self.probes)
        return {path.stem: path for path in grown}
