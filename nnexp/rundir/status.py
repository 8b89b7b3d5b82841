"""What a run is doing, and what it has said: `status.json` and `log.txt`."""

import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime

from nnexp.rundir.files import open_own_file, write_json
from nnexp.rundir.folder import RunDir


@dataclass(frozen=True, slots=True)
class Status:
    """One of the things that can be said of a run."""

    name: str
    final: bool  # whether the same command does not run it again
    colour: str  # on a terminal


STATUSES = {
    status.name: status
    for status in (
        Status("done", True, "green"),
        Status("diverged", True, "magenta"),
        Status("failed", False, "red"),
        Status("interrupted", False, "yellow"),
        Status("running", False, "cyan"),
        Status("new", False, "default"),  # of a job alone: nothing is on disk yet
    )
}
FINAL = frozenset(status.name for status in STATUSES.values() if status.final)


def write_status(run: RunDir, status: str, **more: object) -> None:
    """Say what the run is doing; while it runs, which process on which host does it."""
    if status == "running":
        more = {"pid": os.getpid(), "host": socket.gethostname(), **more}
    write_json(run.status, {"status": status, **more})


def append_log(run: RunDir, text: str) -> None:
    """Add a line, with the time, to what the run said."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with os.fdopen(open_own_file(run.log), "a", encoding="utf-8") as file:
        file.write(f"{now} {text}\n")
