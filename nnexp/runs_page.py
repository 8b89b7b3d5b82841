"""What `nnexp runs` prints: every run, its state, how far it is and its newest figure."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from nnexp.compare.load import BrokenRun, Row, broken_in_words, read_runs
from nnexp.config import ConfigError
from nnexp.console import open_console, print_table, say, write
from nnexp.lock import is_locked, read_status
from nnexp.reading import UnreadableError
from nnexp.rundir import RunDir, read_table

COLOURS = {"done": "green", "running": "cyan", "interrupted": "yellow"}  # any other: red
NOTHING = "–"
LOG_PART = 2**20  # characters printed at once: a log may be larger than the memory
LOOK_AGAIN = 1.5  # seconds between two looks of --watch and --follow


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """Where a run stands."""

    run_id: str
    status: str
    epochs: str  # finished and all: 3/20
    val_accuracy: float | None  # after the newest finished epoch
    remark: str = ""  # why it failed, stopped or diverged


def list_runs(folder: str, say: Callable[[str], None]) -> list[RunState]:
    """Return where each run of a folder stands; `say` hears of what cannot be read.

    Raises:
        ConfigError: There is none.
    """
    rows, broken = read_runs([folder], say)
    states = []
    for row in rows:
        try:
            states.append(_state_of(row))
        except UnreadableError as error:
            broken.append(BrokenRun(name=row["folder"], reason=error.reason))
    if broken:
        say(broken_in_words(broken))
    return states + [_broken_state(one) for one in broken]


def _state_of(row: Row) -> RunState:
    """Return where a run stands; one that is not finished is looked up in its `metrics.csv`."""
    finished, accuracy = row.get("epochs_finished"), row.get("val_accuracy")
    if finished is None:
        finished, accuracy = _newest_epoch(RunDir(Path(row["folder"])))
    return RunState(
        run_id=row["run_id"],
        status=row["status"],
        epochs=f"{int(finished)}/{row['epochs']}",
        val_accuracy=accuracy,
        remark=_remark(row),
    )


def _broken_state(one: BrokenRun) -> RunState:
    name = Path(one.name).name if one.kind == "folder" else one.name
    return RunState(
        run_id=name, status="broken", epochs=NOTHING, val_accuracy=None, remark=one.reason
    )


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


def _newest_epoch(run: RunDir) -> tuple[int, float | None]:
    """Return the last whole row of `metrics.csv`: its epoch and validation accuracy."""
    epochs = read_table(run.metrics, needs=("epoch", "val_accuracy"))
    return (epochs[-1]["epoch"], epochs[-1]["val_accuracy"]) if epochs else (0, None)


def _remark(row: Row) -> str:
    if row.get("diverged_at_step") is not None:
        return f"at step {row['diverged_at_step']}"
    if row["status"] == "running":
        return is_locked(RunDir(Path(row["folder"])))
    return str(row.get("reason") or "").partition("\n")[0]
