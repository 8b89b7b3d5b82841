"""A `results.csv`, of nnexp or saved by another program → rows."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from nnexp.compare.columns import DEFAULTS, BrokenRun, Row, blocks, clean, with_defaults
from nnexp.rundir import (
    LARGEST_TABLE,
    SAVE_AS_UTF8,
    UnreadableError,
    parse_cells,
    read_text,
    wrong_value,
)
from nnexp.settings import ConfigError, column_types, fits

WORDS = {"reason", "folder"} | {
    key for key, hint in column_types().items() if fits("", hint)
}  # columns that are text even where they look like a number
REQUIRED = ("run_id", "status", "norm", "batch_size", "seed")  # columns of a results.csv


def read_results(path: Path) -> Iterator[Row | BrokenRun]:
    """Yield the rows of a `results.csv`, in UTF-8 or UTF-16, with commas, semicolons or tabs.

    Raises:
        ConfigError: It is another kind of table, or cannot be read.
    """
    try:
        header, *lines = _cells_of_results(path)
    except UnreadableError as error:
        raise ConfigError(error.problem, SAVE_AS_UTF8) from error
    problems: dict[int, str] = {}
    columns = []
    for key, cells in zip(header, zip(*lines, strict=True), strict=False):
        read = {cell: _read_cell(key, cell) for cell in set(cells)}  # most are alike
        columns.append([read[cell][0] for cell in cells])
        wrong = {n: problem for n, cell in enumerate(cells, 2) if (problem := read[cell][1])}
        problems = wrong | problems  # the first column's problem first
    for number, values in enumerate(zip(*columns, strict=True), 2):
        if problem := problems.get(number):
            yield BrokenRun(name=f"row {number} of {path}", reason=problem, kind="row")
        else:
            row = dict(zip(header, values, strict=True))
            yield with_defaults({**row, "folder": str(path)})


def _cells_of_results(path: Path) -> list[list[str]]:
    text = read_text(path, LARGEST_TABLE) or ""
    head = text.partition("\n")[0]
    for delimiter in (",", ";", "\t"):
        if set(REQUIRED) <= {name.strip('\r" ') for name in head.split(delimiter)}:
            return parse_cells(path, text, delimiter)
    raise ConfigError(f"{path} is no results.csv", "nnexp writes one beside its runs")


def _read_cell(key: str, cell: str) -> tuple[Any, str]:
    """Return the value of a cell, and what is wrong with it."""
    value = _value(key, cell)
    if value is None and not _is_kept(key):
        return DEFAULTS[key], ""
    return clean(key, value), wrong_value(key, value)


@cache
def _is_kept(key: str) -> bool:
    """Return whether an empty cell says something; else the run was made without the setting."""
    return key in REQUIRED or key not in column_types() or fits(None, column_types()[key])


def _value(key: str, cell: str) -> Any:
    """Return what a cell of `results.csv` was before it was written."""
    if cell == "":
        return None
    if key in WORDS:
        return cell
    if cell in ("True", "False"):
        return cell == "True"
    if key.startswith("environment."):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return blocks(cell) if key == "norm.at" else cell  # as load_runs gives it
