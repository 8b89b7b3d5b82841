"""Reads files that others may have written: regular files of limited size, their content checked.

Nothing here waits, runs code or fills the memory, whatever lies at a path."""

import codecs
import csv
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

from nnexp.settings import ConfigError

MB = 2**20
LARGEST_TEXT, LARGEST_OBJECT, LARGEST_TABLE = MB // 4, 16 * MB, 256 * MB  # bytes
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
        if "\\u" in text:  # what else is written for half a character
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise UnreadableError(path, "it is nested too deeply") from None
    except ValueError:
        raise UnreadableError(path, "it is not JSON") from None
    if not isinstance(content, dict):
        raise UnreadableError(path, "it is not a JSON object")
    return content


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
