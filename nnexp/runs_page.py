"""What `nnexp runs` prints: every run, its state, how far it is and its newest figure."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from nnexp.compare.load import Row, read_rows
from nnexp.config import ConfigError
from nnexp.console import open_console, print_table, say
from nnexp.rundir import RunDir, read_status

COLOURS = {"done": "green", "running": "cyan", "interrupted": "yellow"}  # any other: red
NOTHING = "–"
LOOK_AGAIN = 1.5  # seconds between two looks of --watch and --follow


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """Where a run stands."""

    run_id: str
    status: str
    epochs_finished: int
    epochs: int
    val_accuracy: float | None  # after the newest finished epoch
    remark: str = ""  # why it failed, stopped or diverged


def list_runs(rows: Sequence[Row]) -> Iterator[RunState]:
    """Yield where each run stands; one that is not finished is looked up in its `metrics.csv`."""
    for row in rows:
        finished, accuracy = row.get("epochs_finished"), row.get("val_accuracy")
        if finished is None:
            finished, accuracy = _newest_epoch(RunDir(Path(row["folder"])))
        yield RunState(
            run_id=row["run_id"],
            status=row["status"],
            epochs_finished=int(finished),
            epochs=row["epochs"],
            val_accuracy=accuracy,
            remark=_remark(row),
        )


def runs_page(folder: str, *, watch: bool = False) -> None:
    """Print every run of a folder; with `watch`, anew every few seconds until Ctrl-C.

    Raises:
        ConfigError: There is none.
    """
    console = open_console()
    if not (watch and console.is_terminal):
        print_table(console, _table(list(list_runs(read_rows([folder], say)))))
        return
    with (
        Live(console=console, auto_refresh=False, screen=True) as live,
        suppress(KeyboardInterrupt),
    ):
        while True:
            states = list(list_runs(read_rows([folder], lambda _: None)))
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
            typer.echo(log.read(), nl=False)
            if not running:
                return
            time.sleep(LOOK_AGAIN)


def _table(states: Iterable[RunState]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("run", overflow="fold")
    table.add_column("state")
    for heading in ("epochs", "val_accuracy %"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for state in states:
        accuracy = NOTHING if state.val_accuracy is None else f"{100 * state.val_accuracy:.2f}"
        colour = COLOURS.get(state.status, "red")
        table.add_row(
            escape(state.run_id),
            f"[{colour}]{escape(state.status)}[/]",
            f"{state.epochs_finished}/{state.epochs}",
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


def _newest_epoch(run: RunDir) -> tuple[int, float | None]:
    """Return the last whole row of `metrics.csv`: its epoch and validation accuracy."""
    try:
        head, *lines = run.metrics.read_text("utf-8").splitlines(keepends=True)
    except (OSError, ValueError):
        return 0, None
    whole = [line for line in lines if line.endswith("\n")]  # the last may be on its way to disk
    if not whole:
        return 0, None
    newest: dict[str, Any] = dict(
        zip(head.strip().split(","), whole[-1].strip().split(","), strict=False)
    )
    return int(newest["epoch"]), float(newest["val_accuracy"])


def _remark(row: Row) -> str:
    if row.get("diverged_at_step") is not None:
        return f"at step {row['diverged_at_step']}"
    if row["status"] == "running":
        status = read_status(RunDir(Path(row["folder"])))
        return f"process {status.get('pid', '?')} on {status.get('host', '?')}"
    return str(row.get("reason") or "").partition("\n")[0]
