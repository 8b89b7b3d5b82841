"""Who is told how a run goes: a terminal, a sweep, a user's own code, or nobody."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from nnexp.console import say_error
from nnexp.rundir import RunDir, append_log
from nnexp.settings import ExperimentConfig, Table

Event = ParamSpec("Event")  # what a method of `Listener` is called with


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
    steps_per_epoch: int
    epochs: int  # the last one is cut where max_steps ends inside it
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

    def started(self, info: RunInfo) -> None:
        """The first step is about to be taken."""

    def progress(self, progress: Progress) -> None:
        """A batch has passed; called often, so it must be cheap."""

    def epoch(self, row: dict[str, Any], images_per_second: float) -> None:
        """An epoch is finished and on disk; `row` is that of `metrics.csv`."""

    def note(self, text: str) -> None:
        """Something the user should know, in one line."""

    def interrupted(self, run: Path, epoch: int, step: int) -> None:
        """A signal came; the state is saved."""

    def failed(self, run: Path, reason: str) -> None:
        """The run cannot go on."""

    def finished(self, run: Path, result: dict[str, Any]) -> None:
        """The run has its row."""


class Listeners:
    """All listeners of a run; one that raises is not told of anything more."""

    def __init__(self, run: RunDir, listeners: Sequence[Listener]) -> None:
        self.run = run
        self._listeners = list(listeners)

    def tell(
        self,
        event: Callable[Concatenate[Listener, Event], None],
        *args: Event.args,
        **kwargs: Event.kwargs,
    ) -> None:
        """Call the method that `event` is, such as `Listener.epoch`, of every listener."""
        for listener in list(self._listeners):
            try:
                getattr(listener, event.__name__)(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  a run does not depend on who looks on
                self._listeners.remove(listener)
                name = type(listener).__name__
                say_error(
                    f"{name} raised {type(error).__name__}: {error}",
                    f"the run goes on without it; the traceback is in {self.run.log}",
                )
                if self.run.path.is_dir():
                    lines = "".join(traceback.format_exception(error))
                    append_log(self.run, f"{name} is dropped: {lines}")


def _tensorboard(config: ExperimentConfig, folder: Path) -> Listener:
    from nnexp.experiment.tensorboard import TensorBoardListener  # imports torch

    return TensorBoardListener(folder)


# The setting `listeners` names them; each raises a ConfigError where a package is missing.
LISTENERS: Table[Callable[[ExperimentConfig, Path], Listener]] = Table(
    "listeners", {"tensorboard": _tensorboard}
)
