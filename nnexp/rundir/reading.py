"""Reads files that others may have written: regular files of limited size, their content checked.

Nothing here waits, runs code or fills the memory, whatever lies at a path."""

import codecs
import csv
import io
import json
import os
import stat
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

from nnexp.console import printable
from nnexp.settings import ConfigError
from nnexp.settings.values import quoted

MB = 2**20
LARGEST_TEXT, LARGEST_OBJECT, LARGEST_TABLE = MB // 4, 16 * MB, 256 * MB  # bytes
LARGEST_WHOLE = 2**53  # every whole number up to it is a float64
WHOLE = ("epoch", "step", "images", "channels", "channel")  # columns of whole numbers
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # marks that a text begins with
SAVE_AS_UTF8 = "save it as UTF-8 text; if it is damaged, move its folder away"


class UnreadableError(ConfigError):
    """A file that is not what it should be; `reason` says why, without the folder."""

    def __init__(self, path: Path, reason: str, remedy: str = "") -> None:
        remedy = remedy or "repair the file, or move its folder away"
        super().__init__(f"{path} cannot be read: {reason}", remedy)
        self.reason = f"{path.name}: {reason}"


def read_bytes(path: Path, most: int = LARGEST_TABLE) -> bytes | None:
    """Return the content of a regular file; None where there is none.

    Raises:
        UnreadableError: It is something else, too large, or not to be read by this user.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UnreadableError(path, (error.strerror or str(error)).lower()) from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableError(path, "it is not a regular file")
        if found.st_size > most:
            raise UnreadableError(path, f"it is larger than {most / MB:g} MB")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(most)
    except OSError as error:
        raise UnreadableError(path, (error.strerror or str(error)).lower()) from None
    finally:
        os.close(handle)


def read_text(path: Path, most: int = LARGEST_TEXT) -> str | None:
    """Return the text of a file, UTF-8 or what its byte-order mark says; None where there is none.

    Raises:
        UnreadableError: It is no such file, or no text.
    """
    content = read_bytes(path, most)
    if content is None:
        return None
    encoding = "utf-16" if content.startswith(UTF16) else "utf-8"
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise UnreadableError(path, f"it is not {encoding.upper()} text", SAVE_AS_UTF8) from None
    if "\0" in text:
        raise UnreadableError(path, "it holds NUL bytes", SAVE_AS_UTF8)
    return text


def read_object(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None where there is no file.

    Raises:
        UnreadableError: It holds none, or one that cannot be written again as UTF-8.
    """
    text = read_text(path, LARGEST_OBJECT)
    if text is None:
        return None
    if not text.strip():
        raise UnreadableError(path, "it is empty")
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise UnreadableError(path, "it is nested too deeply") from None
    except ValueError:
        raise UnreadableError(path, "it is not JSON") from None
    if not isinstance(content, dict):
        raise UnreadableError(path, "it is not a JSON object")
    return content


def read_cells(path: Path, *, growing: bool = False) -> list[list[str]]:
    """Return the rows of a CSV file as text, the header first; none where there is no file.

    Args:
        path: The file.
        growing: Whether a run still appends rows, so that the last may be on its way to disk.

    Raises:
        UnreadableError: It is no table: empty, torn, or with rows of unequal length.
    """
    text = read_text(path, LARGEST_TABLE)
    if text is None:
        return []
    if growing:
        text = text[: text.rfind("\n") + 1]
        if not text:
            return []
    elif not text:
        raise UnreadableError(path, "it is empty")
    elif not text.endswith("\n"):
        raise UnreadableError(path, "it ends in the middle of a row")
    return parse_cells(path, text)


def parse_cells(path: Path, text: str, delimiter: str = ",") -> list[list[str]]:
    """Return the rows of CSV text, each as long as the header.

    Raises:
        UnreadableError: A row has another length, or a quote has no end.
    """
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UnreadableError(path, str(error)) from None
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(rows[0]):
            raise UnreadableError(
                path, f"row {number} has {len(row)} cells, the header has {len(rows[0])}"
            )
    return rows


def read_columns(
    path: Path, words: Container[str], needs: Iterable[str], *, growing: bool
) -> dict[str, list[Any]]:
    """Return the columns of a table of numbers, text in `words`; none where there is no file.

    Raises:
        UnreadableError: It is no such table, lacks a column of `needs`, or holds another type.
    """
    rows = read_cells(path, growing=growing)
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
