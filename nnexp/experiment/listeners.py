"""What a run tells whoever looks on; a terminal, a sweep or nobody at all."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnexp.settings import ExperimentConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What is known of a run before its first step."""

    run: Path
    config: ExperimentConfig
    parameters: int
    num_images: tuple[int, int, int]  # train, val, test
    device: str
    threads: int
    total_steps: int
    step: int  # steps that an earlier try has taken
    epoch: int
    peak_learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run has come."""

    epoch: int  # epochs finished
    step: int
    total_steps: int
    images_per_second: float | None  # None before the first step of this try
    seconds_left: float | None
    totals: Callable[[], tuple[float, float]]  # loss and accuracy so far this epoch; waits


class Listener:
    """Is told how a run goes; a subclass overrides what it wants to hear of."""

    def loading(self, what: str, done: int, total: int) -> None:
        """Images are being fetched or decoded."""

    def already_done(self, run: Path, result: dict[str, Any]) -> None:
        """There is nothing left to do."""

    def started(self, facts: RunInfo) -> None:
        """The first step is about to be taken."""

    def progress(self, progress: Progress) -> None:
        """A batch has passed; called often, so it must be cheap."""

    def epoch(self, row: dict[str, Any], images_per_second: float) -> None:
        """An epoch is finished and on disk."""

    def note(self, text: str) -> None:
        """Something the user should know, in one line."""

    def interrupted(self, run: Path, epoch: int, step: int) -> None:
        """A signal came; the state is saved."""

    def failed(self, run: Path, reason: str) -> None:
        """The run cannot go on."""

    def finished(self, run: Path, result: dict[str, Any]) -> None:
        """The run has its row."""
