"""How long a run takes: seconds of its epochs, speed of its steps, time since its last save."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

SAVE_EVERY = 300.0  # seconds between two saves inside a long epoch
LOOK_AFTER = 3.0  # seconds of steps that an estimate needs


@dataclass(frozen=True, slots=True)
class TimingRow:
    """What one epoch cost; the fields are the columns of `timing.csv`."""

    epoch: int
    seconds: float  # steps, validation and saving
    images_per_second: float  # in the steps alone
    peak_memory_mb: float


class Clock:
    """Times one try at a run; what earlier tries spent on its unfinished epoch is added."""

    def __init__(self) -> None:
        self._earlier = {"seconds": 0.0, "train_seconds": 0.0}
        self.start(step=0)

    def start(self, step: int) -> None:
        """Begin, after `step` steps of earlier tries."""
        self._first_step = step
        self._begun = self._epoch_begun = self._last_step_at = self._saved_at = time.perf_counter()

    def note_step(self) -> None:
        """Note that a step was taken."""
        self._last_step_at = time.perf_counter()

    def note_save(self) -> None:
        """Note that the state is being saved."""
        self._saved_at = time.perf_counter()

    def start_epoch(self) -> None:
        """Count the seconds of the next epoch."""
        self._earlier = {"seconds": 0.0, "train_seconds": 0.0}
        self._epoch_begun = self._last_step_at = time.perf_counter()

    def recall(self, spent: Mapping[str, float]) -> None:
        """Take up the seconds that a saved state remembers."""
        self._earlier = dict(spent)

    def spent(self) -> dict[str, float]:
        """Return the seconds of the unfinished epoch, earlier tries included."""
        now = time.perf_counter()
        return {
            "seconds": self._earlier["seconds"] + now - self._epoch_begun,
            "train_seconds": self._earlier["train_seconds"]
            + self._last_step_at
            - self._epoch_begun,
        }

    def seconds_per_step(self, step: int) -> float | None:
        """Return what a step took in this try, on average; None before its first."""
        num_done = step - self._first_step
        return (time.perf_counter() - self._begun) / num_done if num_done else None

    def is_settled(self, step: int) -> bool:
        """Return whether the steps so far tell how long the rest will take."""
        return step - self._first_step >= 3 and time.perf_counter() - self._begun > LOOK_AFTER

    def save_is_due(self) -> bool:
        """Return whether the last save is so long ago that a kill would cost too much."""
        return time.perf_counter() - self._saved_at > SAVE_EVERY
