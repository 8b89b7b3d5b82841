"""Settings: every default, its meaning and its limits; words → checked settings."""

from nnexp.settings.configs import LAYOUT, config_home, find_folder, names_in
from nnexp.settings.errors import no_such_option
from nnexp.settings.identity import (
    NOT_IDENTITY,
    column_types,
    fits,
    flatten,
    from_yaml,
    result_head,
    run_id,
    shareable,
    signature,
    to_yaml,
)
from nnexp.settings.schema import (
    ConfigError,
    DataConfig,
    EvaluationConfig,
    ExperimentConfig,
    ModelConfig,
    NormConfig,
    OptimizerConfig,
    ProbeConfig,
    ScheduleConfig,
    TraceConfig,
    list_settings,
)
from nnexp.settings.suggestions import nearest, nearest_keys
from nnexp.settings.tables import TABLES, Table

__all__ = [
    "LAYOUT",
    "NOT_IDENTITY",
    "TABLES",
    "ConfigError",
    "DataConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "ModelConfig",
    "NormConfig",
    "OptimizerConfig",
    "ProbeConfig",
    "ScheduleConfig",
    "Table",
    "TraceConfig",
    "column_types",
    "config_home",
    "find_folder",
    "fits",
    "flatten",
    "from_yaml",
    "list_settings",
    "names_in",
    "nearest",
    "nearest_keys",
    "no_such_option",
    "result_head",
    "run_id",
    "shareable",
    "signature",
    "to_yaml",
]
