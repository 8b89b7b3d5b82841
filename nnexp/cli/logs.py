"""`nnexp logs`: prints what a run has said."""

import time
from contextlib import suppress
from typing import Annotated

import typer

from nnexp.cli import options as arguments

EXAMPLE = "nnexp logs vgg16-none-bs128-s0-0d1cf2a5 --follow"
PART = 2**20  # characters printed at once: a log may be larger than the memory
PAUSE = 1.5  # seconds between two looks of --follow


def logs(
    run: arguments.OneRun,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines until the run ends.")
    ] = False,
) -> None:
    """Print the log of a run: its epochs, its warnings, the traceback of a failure."""
    from nnexp.compare import find_run
    from nnexp.console import write
    from nnexp.rundir import read_status
    from nnexp.settings import ConfigError

    folder = find_run(run)
    if not folder.log.is_file():
        raise ConfigError(
            f"{folder.path} has no log.txt", "the run has not begun; nnexp runs lists all"
        )
    with folder.log.open(encoding="utf-8", errors="replace") as log, suppress(KeyboardInterrupt):
        running = True
        while running:
            running = follow and read_status(folder).get("status") == "running"
            while part := log.read(PART):  # after the status: nothing is said when it has ended
                write(part, end="")
            time.sleep(PAUSE if running else 0)
