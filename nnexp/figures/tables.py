"""Rows → those whose run folders have tables that can be read, and the others by name."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nnexp.compare.columns import Row
from nnexp.compare.load import TEXT_COLUMNS, BrokenRun
from nnexp.rundir import RunDir, UnreadableError, read_table_columns

NEEDS = {
    "metrics": ("epoch", "train_loss", "val_loss", "train_accuracy", "val_accuracy"),
    "traces": ("step", "layer", "quantity", "mean"),
    "channels": ("step", "layer", "quantity", "channel", "value"),
    "probes": ("step", "layer", "quantity", "value"),
}  # table → the columns that figures draw


def read_drawn(run: RunDir, name: str) -> dict[str, list[Any]]:
    """Return the columns of a run's table; none where it is not there or holds no row.

    Raises:
        UnreadableError: It cannot be read, or lacks a column that figures draw.
    """
    columns = read_table_columns(run.tables[name], TEXT_COLUMNS, NEEDS[name])
    return columns if any(columns.values()) else {}


def set_aside(rows: Sequence[Row], tables: Iterable[str]) -> tuple[list[Row], list[BrokenRun]]:
    """Return the rows of runs whose tables can be read or are not there, and the other runs."""
    kept, broken = [], []
    for row in rows:
        if problem := _problem(RunDir(Path(row["folder"])), tables):
            broken.append(BrokenRun(name=row["folder"], reason=problem))
        else:
            kept.append(row)
    return kept, broken


def _problem(run: RunDir, tables: Iterable[str]) -> str:
    try:
        for name in tables:
            read_drawn(run, name)
    except UnreadableError as error:
        return error.reason
    return ""
