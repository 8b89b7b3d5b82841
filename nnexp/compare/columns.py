"""The columns of a row: what every run has, and how a value is written."""

import json
from typing import Any

from nnexp.settings import ExperimentConfig, result_head

Row = dict[str, Any]

HEAD = result_head(ExperimentConfig(), "")  # every column that leads a result, at its default
SETTINGS = {key: value for key, value in HEAD.items() if key not in ("run_id", "status")}
MEASURED = (
    "test_accuracy",
    "test_loss",
    "val_accuracy",
    "val_accuracy_median5",
    "mean_val_accuracy",
    "val_loss",
    "train_accuracy",
    "train_loss",
    "clean_train_accuracy",
    "generalization_gap",
    "diverged_at_step",
    "epochs_finished",
    "parameters",
    "steps",
    "seconds",
)  # columns that hold a number or nothing, whatever else stands in other rows
ENVIRONMENT = ("nnexp", "torch", "device", "images_sha256")  # columns environment.<name>


def shown(value: Any) -> str:
    """Return a setting's value as it is typed after its `=`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


def as_typed(value: Any) -> Any:
    """Return a list or mapping as it is typed on the command line, any other value as it is."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {one}' for key, one in sorted(value.items()))}}}"
    return json.dumps(value) if isinstance(value, list) else value


def blocks(text: str) -> dict[str, str]:
    """Return the mapping that `{conv1: layer}` is written for."""
    pairs = (pair.partition(":") for pair in text.strip("{} ").split(",") if pair.strip())
    return {key.strip(): value.strip() for key, _, value in pairs}
