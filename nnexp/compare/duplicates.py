"""Rows of several sources → one row per run: the finished one, with its gaps filled."""

from collections.abc import Callable, Iterable, Sequence

from nnexp.compare.columns import Row
from nnexp.rundir import FINAL

DECIDED = (
    "status",
    "test_accuracy",
    "test_loss",
    "val_accuracy",
    "val_loss",
    "train_loss",
    "steps",
)


def each_once(rows: Sequence[Row], say: Callable[[str], None]) -> list[Row]:
    """Return one row per run; `say` hears of runs whose rows contradict each other."""
    kept: dict[str, Row] = {}
    disagreeing: list[str] = []
    for row in rows:
        name = row["run_id"]
        if name in kept and _disagree(kept[name], row):
            disagreeing.append(f"{name} ({_places(kept[name], row)})")
        kept[name] = _merged(kept[name], row) if name in kept else row
    if disagreeing:
        more = f" and {len(disagreeing) - 1} more" if len(disagreeing) > 1 else ""
        say(f"the same run with different results, the first is taken: {disagreeing[0]}{more}")
    return list(kept.values())


def _merged(first: Row, second: Row) -> Row:
    """Return the row of a run that two sources hold: a finished one first, gaps filled."""
    if first["status"] not in FINAL and second["status"] in FINAL:
        first, second = second, first
    if _disagree(first, second):
        return first
    return {**first, **{k: v for k, v in second.items() if first.get(k) is None}}


def _disagree(first: Row, second: Row) -> bool:
    if not {first["status"], second["status"]} <= FINAL:
        return False
    return any(first.get(key) != second.get(key) for key in DECIDED)


def _places(first: Row, second: Row) -> str:
    key = next(key for key in DECIDED if first.get(key) != second.get(key))
    sides: Iterable[str] = (f"{key} {row.get(key)} in {row['folder']}" for row in (first, second))
    return ", ".join(sides)
