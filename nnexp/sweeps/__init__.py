"""Sweeps: a grid → jobs → a pool of processes → outcomes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnexp.sweeps.observer import SweepObserver
    from nnexp.sweeps.runner import SweepOutcome, sweep

__all__ = ["SweepObserver", "SweepOutcome", "sweep"]


def __getattr__(name: str) -> Any:
    """Import Hydra, which takes a third of a second, when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nnexp.sweeps import observer, runner

    return getattr(observer, name, None) or getattr(runner, name)
