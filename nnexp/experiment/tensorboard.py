"""`listeners=[tensorboard]`: the metrics of every epoch as scalars for TensorBoard."""

from functools import partial
from pathlib import Path
from typing import Any

from nnexp.experiment.listeners import Listener, RunInfo
from nnexp.settings import ConfigError

NOT_SCALARS = ("epoch", "step", "images")


class TensorBoardListener(Listener):
    """Writes into `tensorboard/` of the run's folder: every column of `metrics.csv`, by step.

    A resume overwrites the epochs after the state that it goes on from.

    Raises:
        ConfigError: The package tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "listeners=[tensorboard] needs the package tensorboard",
                "install it with: pip install 'nnexp[tensorboard]'",
            ) from error
        self._make_writer = partial(SummaryWriter, str(folder / "tensorboard"))
        self._writer = None

    def started(self, info: RunInfo) -> None:
        """Open the file; what an earlier try wrote of later steps is hidden."""
        self._writer = self._make_writer(purge_step=info.step + 1 if info.step else None)

    def epoch(self, row: dict[str, Any], images_per_second: float) -> None:
        """Write the epoch's row."""
        assert self._writer is not None
        for name, value in row.items():
            if name not in NOT_SCALARS:
                self._writer.add_scalar(name, value, row["step"])
        self._writer.add_scalar("images_per_second", images_per_second, row["step"])
        self._writer.flush()

    def interrupted(self, run: Path, epoch: int, step: int) -> None:
        """Close the file."""
        self._close()

    def failed(self, run: Path, reason: str) -> None:
        """Close the file."""
        self._close()

    def finished(self, run: Path, result: dict[str, Any]) -> None:
        """Write what the test images gave, and close the file."""
        assert self._writer is not None
        for name in ("test_accuracy", "test_loss"):
            if result[name] is not None:
                self._writer.add_scalar(name, result[name], result["steps"])
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
