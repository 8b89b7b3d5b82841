"""nnexp: what a normalization layer does to the training of a convolutional network.

The names below are the Python API. Each is imported when it is first used, so that `import nnexp`
takes a tenth of a second at most; nothing prints, nothing exits.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nnexp.settings.version import __version__

if TYPE_CHECKING:
    from nnexp.compare import (
        compare_runs,
        find_run,
        load_channels,
        load_epochs,
        load_probes,
        load_runs,
        load_traces,
    )
    from nnexp.data import SOURCES
    from nnexp.experiment import (
        LISTENERS,
        Listener,
        Outcome,
        Progress,
        RunInfo,
        TrainedModel,
        load_model,
        run,
    )
    from nnexp.figures import draw
    from nnexp.models import MODELS
    from nnexp.norms import NORMS, NormKind, replace_norms
    from nnexp.report import write_report
    from nnexp.rundir import RunError
    from nnexp.settings import ConfigError, ExperimentConfig
    from nnexp.settings.compose import compose
    from nnexp.sweeps import SweepObserver, SweepOutcome, sweep
    from nnexp.training import OPTIMIZERS, SCHEDULES


_PLACES = {
    "compare": "compare_runs find_run load_channels load_epochs load_probes load_runs load_traces",
    "data": "SOURCES",
    "experiment": "LISTENERS Listener Outcome Progress RunInfo TrainedModel load_model run",
    "figures": "draw",
    "models": "MODELS",
    "norms": "NORMS NormKind replace_norms",
    "report": "write_report",
    "rundir": "RunError",
    "settings": "ConfigError ExperimentConfig",
    "settings.compose": "compose",
    "sweeps": "SweepObserver SweepOutcome sweep",
    "training": "OPTIMIZERS SCHEDULES",
}
_MODULES = {name: f"nnexp.{room}" for room, names in _PLACES.items() for name in names.split()}

__all__ = [
    "LISTENERS",
    "MODELS",
    "NORMS",
    "OPTIMIZERS",
    "SCHEDULES",
    "SOURCES",
    "ConfigError",
    "ExperimentConfig",
    "Listener",
    "NormKind",
    "Outcome",
    "Progress",
    "RunError",
    "RunInfo",
    "SweepObserver",
    "SweepOutcome",
    "TrainedModel",
    "__version__",
    "compare_runs",
    "compose",
    "draw",
    "find_run",
    "load_channels",
    "load_epochs",
    "load_model",
    "load_probes",
    "load_runs",
    "load_traces",
    "replace_norms",
    "run",
    "sweep",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a name of the Python API when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
