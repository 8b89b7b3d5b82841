"""The CSV tables of a run: appended row by row, read back, restored on resume."""

import csv
import io
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnexp.rundir.files import open_own_file, replacing, sync_folder
from nnexp.rundir.folder import RunDir
from nnexp.rundir.reading import read_bytes, read_cells, read_columns

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


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
    return read_columns(path, words, needs, growing=_grows(path))


def read_table_cells(path: Path) -> list[list[str]]:
    """Return the rows of a table as they were written, the header first; none without a table.

    Raises:
        UnreadableError: It is no table.
    """
    return read_cells(path, growing=_grows(path))


def _grows(table: Path) -> bool:
    """Return whether the table's run may still append rows to it."""
    return not RunDir(table.parent).result.exists()


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
