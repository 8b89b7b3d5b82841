"""Who may write into a run folder: one process at a time, as long as it lives."""

import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from nnexp.rundir import RunDir, RunError, read_json, remove_scratch_files

LOCK_TRIES, LOCK_PAUSE = 5, 0.02  # seconds; whoever looks whether a run is held holds it meanwhile


class BusyError(RunError):
    """A run that another process is training."""


@contextmanager
def locked(run: RunDir) -> Iterator[None]:
    """Make the run folder and hold it for this process alone, as long as the process lives.

    A folder that is empty at the end is removed again.

    Raises:
        BusyError: Another process holds it.
    """
    handle = _lock(run)
    for folder in (run.path, run.checkpoint):
        remove_scratch_files(folder)
    try:
        yield
    finally:
        _remove_if_empty(run)
        os.ftruncate(handle, 0)  # a folder that is shared names no host
        os.close(handle)


def _lock(run: RunDir) -> int:
    path = run.path / ".lock"
    while True:
        run.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _try_lock(handle, LOCK_TRIES):
            holder = _holder(handle)
            os.close(handle)
            raise BusyError(f"{run.path} is being trained by {holder}")
        if path.exists() and path.stat().st_ino == os.fstat(handle).st_ino:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            return handle
        os.close(handle)  # the process before us removed the folder that we have locked


def _try_lock(handle: int, tries: int = 1, kind: int = fcntl.LOCK_EX) -> bool:
    for attempt in range(tries):
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE if attempt + 1 < tries else 0.0)
        else:
            return True
    return False


def is_locked(run: RunDir) -> str:
    """Return the process that holds the run, `process PID on HOST`; nothing where none does."""
    try:
        handle = os.open(run.path / ".lock", os.O_RDONLY | os.O_NONBLOCK)  # nothing to wait for
    except OSError:
        return ""
    try:
        free = _try_lock(handle, kind=fcntl.LOCK_SH)  # so that those who look pass each other
        return "" if free else _holder(handle)
    finally:
        os.close(handle)


def read_status(run: RunDir) -> dict[str, Any]:
    """Return the run's status; nothing where there is none to read. See `with_lock`."""
    return with_lock(run, read_json(run.status))


def with_lock(run: RunDir, status: dict[str, Any]) -> dict[str, Any]:
    """Return a run's status; `running` where no process holds the run is `interrupted`.

    The lock says it and not the process id, which may belong to another process by now.
    """
    if status.get("status") == "running" and not is_locked(run):
        return {**status, "status": "interrupted"}
    return status


def _holder(handle: int) -> str:
    return os.pread(handle, 200, 0).decode(errors="replace") or "another process"


def empty_folder(run: RunDir) -> None:
    """Remove everything that the run has, so that it starts anew.

    Raises:
        BusyError: It is being trained.
    """
    with locked(run):
        run.result.unlink(missing_ok=True)  # first: a kill in between leaves no result without rows
        for path in run.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()


def _remove_if_empty(run: RunDir) -> None:
    with suppress(OSError):
        if {path.name for path in run.path.iterdir()} <= {".lock"}:
            (run.path / ".lock").unlink(missing_ok=True)
            run.path.rmdir()
