"""Rows → the question that is asked of them where nothing else is said."""

from collections.abc import Sequence
from dataclasses import replace

from nnexp.compare.best import JUDGE, UNCHOSEN, UNCONFIRMED, choose
from nnexp.compare.columns import Row, shown
from nnexp.compare.comparison import Question
from nnexp.compare.load import is_metric
from nnexp.compare.selection import filter_rows, find_setting, goes_with, varying

RATE = "optimizer.learning_rate"
COLUMNS = ("batch_size", "model", RATE)  # what makes the columns, the first that is free
BASELINES = (("norm", "batch"), ("norm", "none"), ("norm.at", "{}"))


def at_best(rows: Sequence[Row], best: str | None, *, confirm: bool = False) -> list[Row]:
    """Return the rows at each cell's best value of a setting; all of them where none is named.

    A cell without a choice has none: over several values of the setting there is no mean. With
    `confirm`, a cell has only the rows of seeds that took no part in choosing.
    """
    if best is None:
        return list(rows)
    kept, _ = choose(rows, find_setting(best), confirm=confirm)
    return [row for row in kept if row["status"] not in (UNCHOSEN, UNCONFIRMED)]


def complete(question: Question, rows: Sequence[Row], *, choose_best: bool = True) -> Question:
    """Return the question with what it leaves open: rows, columns, baseline, how to choose.

    Norms and their settings make the rows, batch sizes the columns. Where learning rates vary
    and make neither, each cell is shown at its best, if `choose_best`. All is compared with
    BatchNorm if it is there.
    """
    rows = filter_rows(rows, question.where)
    free = [key for key in varying(rows) if not (key != "norm" and goes_with(rows, key, ["norm"]))]
    taken = {find_setting(key) for key in (*question.rows, *question.columns)}
    best = question.best
    if choose_best and best is None and RATE in free and RATE not in taken:
        best = RATE if is_metric(JUDGE, rows) else None
    chosen = replace(question, best=best, against=question.against or _baseline(rows, free))
    if taken:
        return chosen
    free = [key for key in free if best is None or key != find_setting(best)]
    row_keys = [key for key in free if key.startswith("norm")] or ["norm"]
    columns = [key for key in COLUMNS if key in free][:1]
    return replace(chosen, rows=row_keys, columns=columns)


def _baseline(rows: Sequence[Row], free: Sequence[str]) -> str | None:
    """Return what all else is compared with; nothing where no run is a usual baseline."""
    for key, value in BASELINES:
        if key in free and any(shown(row[key]) == value for row in rows):
            return f"{key}={value}"
    return None
