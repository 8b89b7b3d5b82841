"""Keeps the record of one try: rows go to the tables, sentences to the log, both to listeners."""

from dataclasses import asdict
from typing import Any

from nnexp.experiment.clock import Clock, TimingRow
from nnexp.experiment.listeners import Listener, Listeners, Progress, RunInfo
from nnexp.probes import Observers
from nnexp.rundir import RunDir, append_log, append_rows
from nnexp.training import EpochRow, TrainState, peak_memory_mb

LONG_RUN = 1800.0  # seconds from which a run says beforehand how long it will take
SMALLER_SCALE = {"full": "laptop", "overnight": "laptop", "laptop": "smoke"}


class RunLogger:
    """Keeps the record of one try at a run, and tells the listeners."""

    def __init__(self, run: RunDir, listeners: Listeners) -> None:
        self.run = run
        self.listeners = listeners
        self.clock = Clock()
        self._estimated = False

    def started(self, state: TrainState, info: RunInfo) -> None:
        """Say where the run begins, and start the clock."""
        self.info = info
        self.listeners.tell(Listener.started, info)
        self.clock.start(state.step)
        verb = "resumed" if state.step else "started"
        append_log(self.run, f"{verb} at epoch {state.epoch}, step {state.step} on {info.device}")

    def progress(self, state: TrainState) -> None:
        """Note that a batch has passed."""
        if state.model.training:  # the last such call follows the wait for the device
            self.clock.note_step()
        rate = self.clock.seconds_per_step(state.step)
        left = rate and rate * (self.info.total_steps - state.step)
        images_per_step = self.info.num_images[0] / self.info.steps_per_epoch

        def totals() -> tuple[float, float]:
            finished = state.epoch * self.info.steps_per_epoch
            seen = max(1.0, (state.step - finished) * images_per_step)
            return state.totals.loss.item() / seen, state.totals.correct.item() / seen

        self.listeners.tell(
            Listener.progress,
            Progress(
                epoch=state.epoch,
                step=state.step,
                total_steps=self.info.total_steps,
                images_per_second=rate and images_per_step / rate,
                seconds_left=left,
                totals=totals,
            ),
        )
        if left is not None and not self._estimated and self.clock.is_settled(state.step):
            self._estimated = True
            if left > LONG_RUN:
                by_scale = self.info.config.max_steps is None
                smaller = SMALLER_SCALE.get(self.info.config.scale) if by_scale else None
                remedy = f"; scale={smaller} is smaller" if smaller else ""
                self.note(f"this run will take about {left / 3600:.1f} hours here{remedy}")

    def keep_rows(self, observers: Observers) -> None:
        """Bring what was measured at the steps so far to disk."""
        for table, rows in observers.drain().items():
            append_rows(self.run.tables[table], rows)

    def epoch(self, row: EpochRow, observers: Observers, state: TrainState) -> None:
        """Bring a finished epoch to disk and tell of it."""
        self.keep_rows(observers)
        append_rows(self.run.metrics, [row])
        spent = self.clock.spent()
        num_images = row.images - (row.epoch - 1) * self.info.num_images[0]
        speed = num_images / max(spent["train_seconds"], 1e-9)
        timing = TimingRow(row.epoch, spent["seconds"], speed, peak_memory_mb(state.device))
        append_rows(self.run.timing, [timing])
        self.clock.start_epoch()
        self.listeners.tell(Listener.epoch, asdict(row), speed)
        append_log(
            self.run,
            f"epoch {row.epoch}: train loss {row.train_loss:.4f}, "
            f"val accuracy {row.val_accuracy:.4f}, {speed:.0f} images/s",
        )

    def note(self, text: str) -> None:
        """Say one line to the user and the log."""
        self.listeners.tell(Listener.note, text)
        append_log(self.run, text)

    def interrupted(self, state: TrainState) -> None:
        """Say where the run stopped."""
        append_log(self.run, f"interrupted at epoch {state.epoch}, step {state.step}; state saved")
        self.listeners.tell(Listener.interrupted, self.run.path, state.epoch, state.step)

    def finished(self, result: dict[str, Any]) -> None:
        """Say how the run ended."""
        append_log(
            self.run,
            f"{result['status']} after {result['steps']} steps, "
            f"test accuracy {result['test_accuracy']}",
        )
        self.listeners.tell(Listener.finished, self.run.path, result)
