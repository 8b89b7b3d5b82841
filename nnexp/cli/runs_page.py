"""What `nnexp runs` prints: every run, its status, how far it is and its newest figure."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from nnexp.compare.progress import RunState, list_runs
from nnexp.console import open_console, print_table, say, write
from nnexp.rundir import STATUSES, RunDir, read_status
from nnexp.settings import ConfigError

NOTHING = "–"


LOG_PART = 2**20  # characters printed at once: a log may be larger than the memory


LOOK_AGAIN = 1.5  # seconds between two looks of --watch and --follow


def runs_page(folder: str, *, watch: bool = False) -> None:
    """Print every run of a folder; with `watch`, anew every few seconds until Ctrl-C.

    Raises:
        ConfigError: There is none.
    """
    console = open_console()
    if not (watch and console.is_terminal):
        print_table(console, _table(list_runs(folder, say)))
        return
    with (
        Live(console=console, auto_refresh=False, screen=True) as live,
        suppress(KeyboardInterrupt),
    ):
        while True:
            states = list_runs(folder, lambda _: None)
            room = max(1, console.height - 3)
            live.update(Group(_table(_newest(states, room)), _counted(states)), refresh=True)
            time.sleep(LOOK_AGAIN)


def logs_page(run: RunDir, *, follow: bool = False) -> None:
    """Print what a run has said; with `follow`, also what it goes on to say until it ends.

    Raises:
        ConfigError: It has said nothing.
    """
    if not run.log.is_file():
        raise ConfigError(
            f"{run.path} has no log.txt", "the run has not begun; nnexp runs lists all"
        )
    with run.log.open(encoding="utf-8", errors="replace") as log, suppress(KeyboardInterrupt):
        while True:
            running = follow and read_status(run).get("status") == "running"  # before the last read
            while part := log.read(LOG_PART):
                write(part, end="")
            if not running:
                return
            time.sleep(LOOK_AGAIN)


def _table(states: Iterable[RunState]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("run", overflow="fold")
    table.add_column("status")
    for heading in ("epochs", "val_accuracy %"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for state in states:
        accuracy = NOTHING if state.val_accuracy is None else f"{100 * state.val_accuracy:.2f}"
        colour = STATUSES[state.status].colour if state.status in STATUSES else "red"
        table.add_row(
            escape(state.run_id),
            f"[{colour}]{escape(state.status)}[/]",
            state.epochs,
            accuracy,
            escape(state.remark),
        )
    return table


def _newest(states: Sequence[RunState], room: int) -> list[RunState]:
    """Return as many runs as there is room for: those that run first, then those that failed."""
    ranks = {"running": 0, "failed": 1, "interrupted": 2, "diverged": 3}
    return sorted(states, key=lambda state: ranks.get(state.status, 4))[:room]


def _counted(states: Sequence[RunState]) -> str:
    counts = Counter(state.status for state in states)
    words = ", ".join(f"{n} {status}" for status, n in counts.most_common())
    return f"\n[dim]{len(states)} runs: {escape(words)} · Ctrl-C ends[/]"
