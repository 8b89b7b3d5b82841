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
    """Import what needs torch, or scipy, when it is asked for: a run has no use for scipy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("TrainedModel", "load_model"):
        from nnexp.experiment import trained_model as module
    else:
        from nnexp.experiment import runner as module
    return getattr(module, name)
