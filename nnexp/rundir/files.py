"""How files of a run are written: whole or not at all, on disk before they are relied on."""

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nnexp.rundir.folder import DiskFullError, RunDir
from nnexp.rundir.reading import UnreadableError, read_object
from nnexp.settings import ConfigError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a full disk answers
SCRATCH = re.compile(r"\..+\.\d+\.tmp")  # what a process killed in `replacing` leaves


def open_own_file(path: Path, flags: int = os.O_WRONLY | os.O_APPEND) -> int:
    """Open a file that nnexp appends to or empties; make it where there is none.

    Raises:
        ConfigError: It is a symbolic link, so another file would be changed.
    """
    try:
        return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        if not path.is_symlink():
            raise
        raise ConfigError(
            f"{path} is a symbolic link", "remove it: nnexp writes only into files of its own"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a scratch path to write; when the block succeeds it takes the place of `path`.

    The old file stays whole until the new one is on disk: a kill or a full disk in between
    leaves the old one.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    scratch.unlink(missing_ok=True)  # a symbolic link of this name would be written through
    try:
        yield scratch
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
        sync_folder(path.parent)
    finally:
        scratch.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, each of their names on disk."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as JSON, replacing the old file in one step."""
    with replacing(path) as scratch:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        scratch.write_text(text + "\n", "utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`, or an empty one where there is none to read."""
    with suppress(UnreadableError):
        return read_object(path) or {}
    return {}


@contextmanager
def naming_full_disk(run: RunDir) -> Iterator[None]:
    """Turn a full disk into one line for the user."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        intact = "the last saved state is intact: " if run.has_saved_state else ""
        raise DiskFullError(
            f"the disk is full: {error.filename or run.path} could not be written; {intact}"
            "make room and give the same command again"
        ) from error


def remove_scratch_files(folder: Path, name: str = "*") -> None:
    """Remove what processes that were killed while replacing `name` have left.

    The caller holds the lock under which the file is written, so none of them is in use.
    """
    for path in folder.glob(f".{name}.*.tmp"):
        if SCRATCH.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()
