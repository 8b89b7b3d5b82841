"""The run folder: the only place that knows which file of a run holds what."""

import csv
import errno
import fcntl
import io
import json
import os
import socket
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnexp.config import ConfigError, from_yaml, result_head

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a full disk answers
FINAL = frozenset({"done", "diverged"})  # states that the same command does not run again


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


def read_table(path: Path, words: Container[str] = ()) -> list[dict[str, Any]]:
    """Return the rows of a table of numbers, text in the columns `words`; none without a table."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {key: cell if key in words else float(cell) for key, cell in row.items()}
            for row in csv.DictReader(file)
        ]


def _written(value: object) -> object:
    """Return a float as the shortest text that reads back as the same float32."""
    return str(np.float32(value)) if isinstance(value, float) else value


def read_tables(run: RunDir) -> dict[str, bytes]:
    """Return the contents of every table, for a saved state to hold."""
    return {name: path.read_bytes() for name, path in run.tables.items() if path.exists()}


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
        held = path.read_bytes() if path.exists() else b""
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
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


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


def read_status(run: RunDir) -> dict[str, Any]:
    """Return the run's status; `running` by a process that is gone reads `interrupted`."""
    status = read_json(run.status)
    if status.get("status") == "running" and status.get("host") == socket.gethostname():
        try:
            os.kill(int(status["pid"]), 0)
        except ProcessLookupError:
            return {**status, "status": "interrupted"}
        except PermissionError:
            pass
    return status


@contextmanager
def naming_full_disk(run: RunDir) -> Iterator[None]:
    """Turn a full disk into one line for the user."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise DiskFullError(
            f"the disk is full: {error.filename or run.path} could not be written; the last "
            "saved state is intact: make room and give the same command again"
        ) from error


def write_results_view(runs_dir: Path) -> Path:
    """Rebuild `results.csv`, one row per run that has ended or failed, and return its path.

    The file is a view: it is replaced whole, under a lock, and nobody appends to it.
    """
    view = runs_dir / "results.csv"
    handle = open_own_file(runs_dir / ".results.lock", os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        folders = sorted(
            {path.parent for path in runs_dir.glob("*/status.json")}
            | {path.parent for path in runs_dir.glob("*/result.json")}
        )
        rows = [row for folder in folders if (row := _row_of(RunDir(folder)))]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with replacing(view) as scratch, scratch.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    finally:
        os.close(handle)
    return view


def _row_of(run: RunDir) -> dict[str, Any]:
    """Return the row of a run: its result, or where it failed its settings and the reason."""
    if result := read_json(run.result):
        return result
    status = read_json(run.status)
    if status.get("status") != "failed":
        return {}
    try:
        head = result_head(from_yaml(run.config.read_text("utf-8")), "failed")
    except (OSError, UnicodeDecodeError, ConfigError):  # settings that nobody can read
        head = {"run_id": run.path.name, "status": "failed"}
    return {**head, "reason": status.get("reason")}


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, (list, dict)) else value
