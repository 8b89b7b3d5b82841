"""One run, from settings to a finished folder, and its network read back."""

from typing import TYPE_CHECKING, Any

from nnexp.experiment.listeners import LISTENERS, Listener, Progress, RunInfo

if TYPE_CHECKING:
    from nnexp.experiment.runner import Outcome, run
    from nnexp.experiment.trained_model import TrainedModel, load_model

__all__ = [
    "LISTENERS",
    "Listener",
    "Outcome",
    "Progress",
    "RunInfo",
    "TrainedModel",
    "load_model",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch, which takes seconds, when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nnexp.experiment import runner, trained_model

    return getattr(runner, name, None) or getattr(trained_model, name)
