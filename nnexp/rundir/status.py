"""What a run is doing, and what it has said."""

import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
from nnexp.rundir.files import open_own_file, write_json
from nnexp.rundir.folder import RunDir


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
