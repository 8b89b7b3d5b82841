"""The run folder: the only place that knows which file of a run holds what."""

from dataclasses import dataclass
from pathlib import Path


class RunError(Exception):
    """A run that cannot go on for a reason outside its settings; the message is for the user."""


class DiskFullError(RunError):
    """A run that cannot go on because nothing more can be written."""


@dataclass(frozen=True, slots=True)
class RunDir:
    """One run on disk."""

    path: Path

    @property
    def config(self) -> Path:
        """Every setting, resolved."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions, device, threads, commit, command line."""
        return self.path / "environment.json"

    @property
    def images(self) -> Path:
        """Of the images: class names, size, counts, digest, what normalizes them."""
        return self.path / "images.json"

    @property
    def metrics(self) -> Path:
        """One row per epoch."""
        return self.path / "metrics.csv"

    @property
    def timing(self) -> Path:
        """One row per epoch, of what no two machines share."""
        return self.path / "timing.csv"

    @property
    def traces(self) -> Path:
        """One row per layer and quantity at each traced step."""
        return self.path / "traces.csv"

    @property
    def channels(self) -> Path:
        """One row per single channel at each traced step."""
        return self.path / "channels.csv"

    @property
    def probes(self) -> Path:
        """One row per layer and quantity at each probed step."""
        return self.path / "probes.csv"

    @property
    def result(self) -> Path:
        """The run's one row."""
        return self.path / "result.json"

    @property
    def status(self) -> Path:
        """What the run is doing, and who does it."""
        return self.path / "status.json"

    @property
    def checkpoint(self) -> Path:
        """The folder of saved states, the newest and the one before it."""
        return self.path / "checkpoint"

    @property
    def has_saved_state(self) -> bool:
        """Whether there is a state from which the run can go on."""
        return any(self.checkpoint.glob("*.safetensors"))

    @property
    def log(self) -> Path:
        """What the run said."""
        return self.path / "log.txt"

    @property
    def tables(self) -> dict[str, Path]:
        """The CSV files that grow while the run goes on, by the name a checkpoint knows."""
        grown = (self.metrics, self.timing, self.traces, self.channels, self.probes)
        return {path.stem: path for path in grown}
