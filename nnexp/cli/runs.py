"""`nnexp runs`: lists every run."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from nnexp.compare.progress import RunState

EXAMPLE = "nnexp runs --watch"
PAUSE = 1.5  # seconds between two pictures of --watch


def runs(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A folder of runs.")] = "runs",
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show the list and update it until Ctrl-C.")
    ] = False,
) -> None:
    """List every run: its status, its epochs, its newest validation accuracy."""
    from rich.console import Group
    from rich.live import Live

    from nnexp.compare.progress import list_runs
    from nnexp.console import open_console, print_table, say

    console = open_console()
    if not (watch and console.is_terminal):
        print_table(console, _table(list_runs(folder, say)))
        return
    with (
        Live(console=console, auto_refresh=False, screen=True) as live,
        suppress(KeyboardInterrupt),
    ):
        while True:
            listed = list_runs(folder, lambda _: None)
            room = max(1, console.height - 3)
            live.update(Group(_table(_newest(listed, room)), _counted(listed)), refresh=True)
            time.sleep(PAUSE)


def _table(listed: "Iterable[RunState]") -> "Table":
    from rich.markup import escape

    from nnexp.console import plain_table
    from nnexp.rundir import STATUSES

    table = plain_table("run", "status", numbers=("epochs", "val_accuracy %"))
    table.add_column("")
    for one in listed:
        accuracy = "–" if one.val_accuracy is None else f"{100 * one.val_accuracy:.2f}"
        colour = STATUSES[one.status].colour if one.status in STATUSES else "red"
        status = f"[{colour}]{escape(one.status)}[/]"
        table.add_row(escape(one.run_id), status, one.epochs, accuracy, escape(one.remark))
    return table


def _newest(listed: "Sequence[RunState]", room: int) -> "list[RunState]":
    """Return as many runs as there is room for: those that run first, then those that failed."""
    ranks = {"running": 0, "failed": 1, "interrupted": 2, "diverged": 3}
    return sorted(listed, key=lambda one: ranks.get(one.status, 4))[:room]


def _counted(listed: "Sequence[RunState]") -> str:
    from rich.markup import escape

    counts = Counter(one.status for one in listed)
    words = ", ".join(f"{n} {status}" for status, n in counts.most_common())
    return f"\n[dim]{len(listed)} runs: {escape(words)} · Ctrl-C ends[/]"
