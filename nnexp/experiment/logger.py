"""A run's record while it goes on: rows into the tables, words into the log, time into both."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from nnexp.experiment.checkpoint import SavedState, StateError
from nnexp.experiment.environment import differences
from nnexp.experiment.listeners import Listener, Progress, RunInfo
from nnexp.probes import Observers
from nnexp.rundir import RunDir, append_log, append_rows, read_json, read_table
from nnexp.training import EpochRow, TrainState, peak_memory_mb

SAVE_EVERY = 300.0  # seconds between two saves inside a long epoch
LONG_RUN = 1800.0  # seconds from which a run says beforehand how long it will take
LOOK_AFTER = 3.0  # seconds of steps that an estimate needs
SMALLER_SCALE = {"full": "laptop", "laptop": "smoke"}


@dataclass(frozen=True, slots=True)
class TimingRow:
    """What one epoch cost; the fields are the columns of `timing.csv`."""

    epoch: int
    seconds: float  # steps, validation and saving
    images_per_second: float  # in the steps alone
    peak_memory_mb: float


class RunLogger:
    """Keeps the record of one try at a run, and tells the listener."""

    def __init__(self, run: RunDir, listener: Listener) -> None:
        self.run = run
        self.listener = listener
        self._spent = {"seconds": 0.0, "train_seconds": 0.0}  # in the unfinished epoch
        self._warned = False
        self._run_info: RunInfo | None = None
        self._begun = self._epoch_begun = self._last_step_at = self._saved_at = time.perf_counter()
        self._first_step = self._step = 0

    def begin(self, state: TrainState, facts: RunInfo) -> None:
        """Start the clocks."""
        self._run_info = facts
        self._first_step = self._step = state.step
        self._begun = self._epoch_begun = self._last_step_at = self._saved_at = time.perf_counter()
        verb = "resumed" if state.step else "started"
        self.write_log(f"{verb} at epoch {state.epoch}, step {state.step} on {facts.device}")

    def tick(self, state: TrainState) -> None:
        """Note that a batch has passed."""
        now = time.perf_counter()
        self._step = state.step
        if state.model.training:  # the last such tick follows the wait for the device
            self._last_step_at = now
        assert self._run_info is not None
        num_done = self._step - self._first_step
        rate = (now - self._begun) / num_done if num_done else None
        left = rate * (self._run_info.total_steps - self._step) if rate else None
        images_per_step = self._run_info.num_images[0] * self._run_info.config.epochs
        images_per_step /= self._run_info.total_steps
        self.listener.progress(
            Progress(
                epoch=state.epoch,
                step=state.step,
                total_steps=self._run_info.total_steps,
                images_per_second=images_per_step / rate if rate else None,
                seconds_left=left,
                totals=lambda: _means(state, images_per_step, self._run_info),
            )
        )
        if left is not None and num_done >= 3 and now - self._begun > LOOK_AFTER:
            self._warn_of_long_run(left)

    def save_is_due(self) -> bool:
        """Whether the last save is so long ago that a kill would cost too much."""
        return time.perf_counter() - self._saved_at > SAVE_EVERY

    def keep_rows(self, observers: Observers) -> None:
        """Bring what was seen of the steps so far to disk."""
        for table, rows in observers.drain().items():
            append_rows(self.run.tables[table], rows)

    def keep_epoch(self, row: EpochRow, observers: Observers, device: torch.device) -> None:
        """Bring a finished epoch to disk and tell of it."""
        self.keep_rows(observers)
        append_rows(self.run.metrics, [row])
        spent = self._spend()
        assert self._run_info is not None
        images_per_second = self._run_info.num_images[0] / max(spent["train_seconds"], 1e-9)
        timing = TimingRow(row.epoch, spent["seconds"], images_per_second, peak_memory_mb(device))
        append_rows(self.run.timing, [timing])
        self._spent = {"seconds": 0.0, "train_seconds": 0.0}
        self._epoch_begun = self._last_step_at = time.perf_counter()
        self.listener.epoch(asdict(row), images_per_second)
        self.write_log(
            f"epoch {row.epoch}: train loss {row.train_loss:.4f}, "
            f"val accuracy {row.val_accuracy:.4f}, {images_per_second:.0f} images/s"
        )

    def notes(self) -> dict[str, Any]:
        """Return what a saved state must remember of this record."""
        self._saved_at = time.perf_counter()
        return {"spent": self._spend()}

    def recall(self, spent: Mapping[str, float]) -> None:
        """Take up the seconds that a saved state remembers."""
        self._spent = dict(spent)

    def note(self, text: str) -> None:
        """Say one line to the user and the log."""
        self.listener.note(text)
        self.write_log(text)

    def note_environment(self) -> None:
        """Say what differs from the first try, where it may change the last digits."""
        record = read_json(self.run.environment)
        if record.get("resumed"):
            for difference in differences(record, record["resumed"][-1]):
                self.note(f"resumed in another environment; last digits may differ ({difference})")

    def interrupted(self, state: TrainState) -> None:
        """Say where the run stopped."""
        self.write_log(f"interrupted at epoch {state.epoch}, step {state.step}; state saved")
        self.listener.interrupted(self.run.path, state.epoch, state.step)

    def finished(self, result: dict[str, Any]) -> None:
        """Say how the run ended."""
        self.write_log(
            f"{result['status']} after {result['steps']} steps, "
            f"test accuracy {result['test_accuracy']}"
        )
        self.listener.finished(self.run.path, result)

    def summary(self) -> dict[str, Any]:
        """Return the columns of the result that the tables already hold."""
        epochs, times = read_table(self.run.metrics), read_table(self.run.timing)
        accuracies = [row["val_accuracy"] for row in epochs]
        last = epochs[-1] if epochs else {}
        return {
            "epochs_finished": len(epochs),
            "val_accuracy": last.get("val_accuracy"),
            "val_accuracy_median5": statistics.median(accuracies[-5:]) if epochs else None,
            "mean_val_accuracy": statistics.fmean(accuracies) if epochs else None,
            "val_loss": last.get("val_loss"),
            "train_accuracy": last.get("train_accuracy"),
            "train_loss": last.get("train_loss"),
            "seconds": sum(row["seconds"] for row in times) + self._spend()["seconds"],
        }

    def write_log(self, text: str) -> None:
        """Add a line, with the time, to the run's log."""
        append_log(self.run, text)

    def _spend(self) -> dict[str, float]:
        """Return the seconds of the unfinished epoch, earlier tries included."""
        now = time.perf_counter()
        return {
            "seconds": self._spent["seconds"] + now - self._epoch_begun,
            "train_seconds": self._spent["train_seconds"] + self._last_step_at - self._epoch_begun,
        }

    def _warn_of_long_run(self, seconds_left: float) -> None:
        if self._warned or self._run_info is None:
            return
        self._warned = True
        if seconds_left > LONG_RUN:
            smaller = SMALLER_SCALE.get(self._run_info.config.scale)
            remedy = f"; scale={smaller} is smaller" if smaller else ""
            self.note(f"this run will take about {seconds_left / 3600:.1f} hours here{remedy}")


def read_spent(saved: SavedState) -> dict[str, float]:
    """Return the seconds of the unfinished epoch that a saved state remembers.

    Raises:
        StateError: It remembers none.
    """
    try:
        spent = saved.notes["spent"]
        return {key: float(spent[key]) for key in ("seconds", "train_seconds")}
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"{saved.path} does not say how long its epoch took") from error


def _means(state: TrainState, images_per_step: float, facts: RunInfo | None) -> tuple[float, float]:
    """Return the mean loss and accuracy of the unfinished epoch; waits for the device."""
    assert facts is not None
    steps_per_epoch = facts.total_steps // facts.config.epochs
    seen = max(1.0, (state.step - state.epoch * steps_per_epoch) * images_per_step)
    return state.totals.loss.item() / seen, state.totals.correct.item() / seen
