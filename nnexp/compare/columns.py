"""The columns of a row: what every run has, and how a value is written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnexp.rundir import ENVIRONMENT, printable
from nnexp.settings import ExperimentConfig, result_head, shareable

Row = dict[str, Any]

HEAD = result_head(ExperimentConfig(), "")  # every column that leads a result, at its default
SETTINGS = {key: value for key, value in HEAD.items() if key not in ("run_id", "status")}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenRun:
    """A run folder, or a row of a `results.csv`, that cannot be read."""

    name: str
    reason: str
    kind: str = "folder"

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def complete_row(row: Row, environment: Mapping[str, Any]) -> Row:
    """Return the row with every column; a setting it was made without is at its default.

    Texts are as they can be printed and shared; the folder alone stays as it is.
    """
    folder = row["folder"]
    row = {**HEAD, "run_id": Path(folder).name, "reason": None, **row}
    for name in ENVIRONMENT:
        value = row.get(f"environment.{name}", environment.get(name))
        row[f"environment.{name}"] = None if value is None else shown(value)
    row = {key: as_typed(value) for key, value in (row | shareable(row)).items()}
    row = {k: printable(value) if isinstance(value, str) else value for k, value in row.items()}
    return {**row, "folder": folder}
