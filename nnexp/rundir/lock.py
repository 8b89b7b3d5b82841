"""Who may write into a run folder: one process at a time, as long as it lives."""

import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from nnexp.rundir.files import NO_ROOM, make_folder, open_own_file, read_json, remove_scratch_files
from nnexp.rundir.folder import RunDir, RunError
from nnexp.settings import ConfigError

LOCK_TRIES, LOCK_PAUSE = 5, 0.02  # seconds; whoever looks whether a run is held holds it meanwhile


class BusyError(RunError):
    """A run that another process is training."""


@contextmanager
def locked(run: RunDir) -> Iterator[None]:
    """Make the run folder and hold it for this process alone, as long as the process lives.

    A folder that is empty at the end is removed again.

    Raises:
        BusyError: Another process holds it.
        ConfigError: The system does not let this process make or lock the folder.
    """
    handle = None
    with explaining_refusals(run):
        while handle is None:
            make_folder(run.path)
            with suppress(FileNotFoundError):  # the process before us has removed the folder
                handle = _lock_in_place(run)
    for folder in (run.path, run.checkpoint):
        remove_scratch_files(folder)
    try:
        yield
    finally:
        with suppress(OSError):
            if {path.name for path in run.path.iterdir()} <= {".lock"}:
                (run.path / ".lock").unlink(missing_ok=True)
                run.path.rmdir()
        os.ftruncate(handle, 0)  # a folder that is shared names no host
        os.close(handle)


def _lock_in_place(run: RunDir) -> int | None:
    """Return the locked file; None where it is no longer the one in the folder."""
    path = run.path / ".lock"
    with ExitStack() as closing:
        handle = open_own_file(path, os.O_RDWR)
        closing.callback(os.close, handle)
        if not _try_lock(handle, LOCK_TRIES):
            raise BusyError(f"{run.path} is being trained by {_holder(handle)}")
        if not os.path.samestat(path.stat(), os.fstat(handle)):
            return None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        closing.pop_all()
        return handle


@contextmanager
def explaining_refusals(run: RunDir) -> Iterator[None]:
    """Turn a refusal of the operating system into two lines for the user."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        first = "make room on the disk, or choose" if error.errno in NO_ROOM else "choose"
        raise ConfigError(
            f"{error.filename or run.path} cannot be written: {reason}",
            f"{first} a folder that you may write to: runs_dir=FOLDER",
        ) from error


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
        # For reading alone: it may be another user's. Without waiting: it may be a pipe.
        handle = os.open(run.path / ".lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
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
        ConfigError: The system does not let this process empty it.
    """
    with locked(run), explaining_refusals(run):
        run.result.unlink(missing_ok=True)  # first: a kill in between leaves no result without rows
        for path in run.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()
