"""The CSV tables of a run: appended row by row, read back, restored on resume."""

import csv
import io
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnexp.console import printable
from nnexp.rundir.files import open_own_file, replacing, sync_folder
from nnexp.rundir.folder import RunDir
from nnexp.rundir.reading import (
    LARGEST_TABLE,
    UnreadableError,
    parse_cells,
    read_bytes,
    read_text,
)
from nnexp.settings.values import quoted

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LARGEST_WHOLE = 2**53  # every whole number up to it is a float64
WHOLE = ("epoch", "step", "images", "channels", "channel")  # columns of whole numbers


def append_rows(path: Path, rows: Sequence["DataclassInstance"]) -> None:
    """Append rows of one dataclass as CSV lines on disk, the header first when the file is new."""
    if not rows:
        return
    columns = [column.name for column in fields(rows[0])]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    is_new = not path.exists() or path.stat().st_size == 0
    if is_new:
        writer.writerow(columns)
    for row in rows:
        writer.writerow([_written(getattr(row, column)) for column in columns])
    with os.fdopen(open_own_file(path), "a", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        sync_folder(path.parent)


def read_table(
    path: Path, words: Container[str] = (), needs: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """Return the rows of a table of numbers, text in the columns `words`; none without a table.

    Raises:
        UnreadableError: It is no such table, or lacks a column of `needs`.
    """
    columns = read_table_columns(path, words, needs)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def read_table_columns(
    path: Path, words: Container[str] = (), needs: Iterable[str] = ()
) -> dict[str, list[Any]]:
    """Return the columns of a table of numbers; see `read_table`."""
    rows = read_table_cells(path)
    if not rows:
        return {}
    missing = [name for name in needs if name not in rows[0]]
    if missing:
        raise UnreadableError(path, f"it has no column {missing[0]}")
    cells = zip(*rows[1:], strict=True) if len(rows) > 1 else ((),) * len(rows[0])
    return {
        name: list(map(printable, column)) if name in words else _numbers(path, name, column)
        for name, column in zip(rows[0], cells, strict=True)
    }


def read_table_cells(path: Path) -> list[list[str]]:
    """Return the rows of a table as they were written, the header first; none without a table.

    Raises:
        UnreadableError: It is no table: empty, torn, or with rows of unequal length.
    """
    text = read_text(path, LARGEST_TABLE)
    if text is None:
        return []
    if not RunDir(path.parent).result.exists():  # the last row may be on its way to disk
        text = text[: text.rfind("\n") + 1]
        return parse_cells(path, text) if text else []
    if not text:
        raise UnreadableError(path, "it is empty")
    if not text.endswith("\n"):
        raise UnreadableError(path, "it ends in the middle of a row")
    return parse_cells(path, text)


def _numbers(path: Path, name: str, cells: Sequence[str]) -> list[Any]:
    kind = _whole if name in WHOLE else float
    numbers = []
    for row, cell in enumerate(cells, 2):
        try:
            numbers.append(kind(cell))
        except ValueError:
            raise UnreadableError(path, f"in row {row} {name} is {quoted(cell)}") from None
    return numbers


def _whole(cell: str) -> int:
    number = int(cell)
    if not 0 <= number <= LARGEST_WHOLE:
        raise ValueError(cell)
    return number


def _written(value: object) -> object:
    """Return a float as the shortest text that reads back as the same float32."""
    return str(np.float32(value)) if isinstance(value, float) else value


def read_tables(run: RunDir) -> dict[str, bytes]:
    """Return the contents of every table, for a saved state to hold."""
    contents = {name: read_bytes(path) for name, path in run.tables.items()}
    return {name: content for name, content in contents.items() if content is not None}


def restore_tables(run: RunDir, contents: Mapping[str, bytes]) -> list[Path]:
    """Bring every table to `contents`, so that a resume repeats no row and keeps no damage.

    Returns:
        The tables that did not begin with what they should, in a word those that were damaged.
    """
    damaged = []
    for name, path in run.tables.items():
        if name not in contents:
            path.unlink(missing_ok=True)
            continue
        held = path.read_bytes() if path.is_file() else b""
        if not held.startswith(contents[name]):
            damaged.append(path)
        if held != contents[name]:
            with replacing(path) as scratch:
                scratch.write_bytes(contents[name])
    return damaged
