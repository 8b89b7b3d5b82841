"""The run folder: the only place that knows which file of a run holds what."""

import csv
import errno
import fcntl
import io
import json
import os
import re
import socket
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from nnexp.config import (
    ConfigError,
    ExperimentConfig,
    column_types,
    fits,
    from_yaml,
    result_head,
    shareable,
)
from nnexp.reading import (
    UnreadableError,
    printable,
    quoted,
    read_bytes,
    read_cells,
    read_columns,
    read_object,
    read_text,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a full disk answers
FINAL = frozenset({"done", "diverged"})  # states that the same command does not run again
SCRATCH = re.compile(r"\..+\.\d+\.tmp")  # what a process killed in `replacing` leaves


class RunError(Exception):
    """A run that cannot go on for a reason outside its settings; the message is for the user."""


class DiskFullError(RunError):
    """A run that cannot go on because nothing more can be written."""


@dataclass(frozen=True, slots=True)
class RunDir:
    """One run on disk."""

    path: Path

    @property
    def config(self) -> Path:
        """Every setting, resolved."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions, device, threads, commit, command line."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """One row per epoch."""
        return self.path / "metrics.csv"

    @property
    def timing(self) -> Path:
        """One row per epoch, of what no two machines share."""
        return self.path / "timing.csv"

    @property
    def traces(self) -> Path:
        """One row per layer and quantity at each traced step."""
        return self.path / "traces.csv"

    @property
    def channels(self) -> Path:
        """One row per single channel at each traced step."""
        return self.path / "channels.csv"

    @property
    def probes(self) -> Path:
        """One row per layer and quantity at each probed step."""
        return self.path / "probes.csv"

    @property
    def result(self) -> Path:
        """The run's one row."""
        return self.path / "result.json"

    @property
    def status(self) -> Path:
        """What the run is doing, and who does it."""
        return self.path / "status.json"

    @property
    def checkpoint(self) -> Path:
        """The folder of saved states, the newest and the one before it."""
        return self.path / "checkpoint"

    @property
    def log(self) -> Path:
        """What the run said."""
        return self.path / "log.txt"

    @property
    def tables(self) -> dict[str, Path]:
        """The CSV files that grow while the run goes on, by the name a checkpoint knows."""
        grown = (self.metrics, self.timing, self.traces, self.channels, self.probes)
        return {path.stem: path for path in grown}


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
    try:
        return read_object(path) or {}
    except UnreadableError:
        return {}


def read_config(run: RunDir) -> ExperimentConfig | None:
    """Return the settings of a run; None where it has none.

    Raises:
        UnreadableError: The file is not the settings of a run of this version.
    """
    text = read_text(run.config)
    if text is None:
        return None
    try:
        return from_yaml(text)
    except ConfigError as error:
        reason = error.problem.removeprefix("config.yaml cannot be read: ")
        raise UnreadableError(run.config, printable(reason)) from error


def read_result(run: RunDir) -> dict[str, Any] | None:
    """Return the run's one row, its settings of the right type; None where it has none.

    Raises:
        UnreadableError: The file is no such row.
    """
    row = read_object(run.result)
    if row is not None and (problem := wrong_type({"status": None, **row})):
        raise UnreadableError(run.result, problem)
    return row


def finished_result(run: RunDir) -> dict[str, Any]:
    """Return the row of a run that is over; nothing of any other, or where it cannot be read."""
    with suppress(UnreadableError):
        row = read_result(run)
        if row and row["status"] in FINAL:
            return row
    return {}


def wrong_type(row: Mapping[str, Any]) -> str:
    """Return what is wrong with the first column that is not of its setting's type, or nothing."""
    for key, hint in column_types().items():
        if key in row and not fits(row[key], hint):
            return f"{key} is {'empty' if row[key] in (None, '') else quoted(row[key])}"
    return ""


def write_status(run: RunDir, state: str, **more: object) -> None:
    """Say what the run is doing; while it runs, which process on which host does it."""
    if state == "running":
        more = {"pid": os.getpid(), "host": socket.gethostname(), **more}
    write_json(run.status, {"status": state, **more})


def append_log(run: RunDir, text: str) -> None:
    """Add a line, with the time, to what the run said."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with os.fdopen(open_own_file(run.log), "a", encoding="utf-8") as file:
        file.write(f"{now} {text}\n")


@contextmanager
def naming_full_disk(run: RunDir) -> Iterator[None]:
    """Turn a full disk into one line for the user."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        intact = "the last saved state is intact: " if has_saved_state(run) else ""
        raise DiskFullError(
            f"the disk is full: {error.filename or run.path} could not be written; {intact}"
            "make room and give the same command again"
        ) from error


def has_saved_state(run: RunDir) -> bool:
    """Return whether there is a state from which the run can go on."""
    return any(run.checkpoint.glob("*.safetensors"))


def remove_scratch_files(folder: Path, name: str = "*") -> None:
    """Remove what processes that were killed while replacing `name` have left.

    The caller holds the lock under which the file is written, so none of them is in use.
    """
    for path in folder.glob(f".{name}.*.tmp"):
        if SCRATCH.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()


def write_results_view(runs_dir: Path) -> Path:
    """Rebuild `results.csv`, one row per run that has ended or failed, and return its path.

    The file is a view: it is replaced whole, under a lock, and nobody appends to it.
    """
    view = runs_dir / "results.csv"
    handle = open_own_file(runs_dir / ".results.lock", os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        remove_scratch_files(runs_dir, view.name)
        folders = sorted(
            {path.parent for path in runs_dir.glob("*/status.json")}
            | {path.parent for path in runs_dir.glob("*/result.json")}
        )
        rows = [row for folder in folders if (row := _row_of(RunDir(folder)))]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with replacing(view) as scratch, _open_view(scratch) as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    finally:
        os.close(handle)
    return view


def _open_view(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", errors="replace", newline="")


def _row_of(run: RunDir) -> dict[str, Any]:
    """Return the row of a run: its result, or where it failed its settings and the reason.

    A folder that cannot be read has none: a run must not fail because of another.
    """
    with suppress(UnreadableError):
        if result := read_result(run):
            return {**result, **shareable(result)}
        status = read_object(run.status) or {}
        if status.get("status") == "failed":
            return {**_settings_of(run), "reason": None, **shareable(status)}
    return {}


def _settings_of(run: RunDir) -> dict[str, Any]:
    with suppress(UnreadableError):
        if config := read_config(run):
            return result_head(config, "failed")
    return {"run_id": run.path.name, "status": "failed"}


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, (list, dict)) else value
