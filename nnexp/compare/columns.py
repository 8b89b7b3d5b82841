"""The columns of a row: what every run has, and how a value is written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from nnexp.rundir import ENVIRONMENT, printable
from nnexp.settings import ExperimentConfig, result_head, shareable

Row = dict[str, Any]

HEAD = result_head(ExperimentConfig(), "")  # every column that leads a result, at its default
MADE_WITH = {f"environment.{name}": name for name in ENVIRONMENT}
NUMBERS = frozenset((int, float, bool, type(None)))  # types of values that need no cleaning
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
    """Return the row of a run folder with every column, as `clean` and `with_defaults` make it."""
    known = {key: row.get(key, environment.get(name)) for key, name in MADE_WITH.items()}
    cleaned = {key: clean(key, value) for key, value in {**row, **known}.items()}
    return with_defaults({**cleaned, "folder": row["folder"]})


def clean(column: str, value: Any) -> Any:
    """Return a value as rows hold it: a text without control characters, or a number."""
    if type(value) in NUMBERS:
        return shown(value) if column in MADE_WITH and value is not None else value
    typed = value if isinstance(value, str) else as_typed(value)
    return _printable(typed) if isinstance(typed, str) else typed


_printable = lru_cache(1 << 14)(printable)  # most texts of a column are alike
DEFAULTS = {key: clean(key, value) for key, value in HEAD.items()}


def with_defaults(row: Row) -> Row:
    """Return the row with every column; a setting it was made without is at its default.

    No text has the user's home folder; the folder alone stays as it is.
    """
    empty = {**DEFAULTS, "run_id": Path(row["folder"]).name, "reason": None}
    row = {**empty, **row, **{key: row.get(key) for key in MADE_WITH}}
    return {**row, **shareable(row)}
