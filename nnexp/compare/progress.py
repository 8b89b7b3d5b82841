"""Where every run stands: its status, its epochs, its newest validation accuracy."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nnexp.compare.load import BrokenRun, Row, broken_in_words, read_runs
from nnexp.compare.metrics import NOTHING
from nnexp.rundir import RunDir, UnreadableError, is_locked, read_table


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
        # With max_steps, the settings do not say how many epochs there will be.
        epochs=f"{int(finished)}/{row['epochs']}" if row["epochs"] else f"{int(finished)}",
        val_accuracy=accuracy,
        remark=_remark(row),
    )


def _broken_state(one: BrokenRun) -> RunState:
    name = Path(one.name).name if one.kind == "folder" else one.name
    return RunState(
        run_id=name, status="broken", epochs=NOTHING, val_accuracy=None, remark=one.reason
    )


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
