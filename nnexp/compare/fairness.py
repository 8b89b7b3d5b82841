"""Grids' rows → what makes comparing them unfair, in words."""

from collections.abc import Iterator, Sequence
from typing import Any

from nnexp.compare.columns import Row, shown
from nnexp.compare.grid import Layout
from nnexp.compare.selection import grouped
from nnexp.rundir import ENVIRONMENT

# What a fair comparison holds equal, unless the table is about it.
HELD_EQUAL = (
    "data.name",
    "data.train_images",
    "data.val_images",
    "data.test_images",
    "data.augment",
    "epochs",
    "precision",
    *(f"environment.{name}" for name in ENVIRONMENT),
)


def find_unfair(rows: Sequence[Row], layout: Layout, asked: Sequence[str]) -> list[str]:
    """Return a line for each thing that differs among runs of which a table names the best.

    What the user `asked` for as an axis is what the table is about, and not named. Runs of
    unknown environment count as equal to any.
    """
    lines: dict[str, None] = {}
    for _, members in grouped(rows, [*layout.layers, *layout.columns]):
        for key in HELD_EQUAL:
            if key not in asked:
                lines |= dict.fromkeys(_difference(members, key))
        if "steps" not in asked:
            lines |= dict.fromkeys(_unequal_steps(members))
    return list(lines)


def _difference(rows: Sequence[Row], key: str) -> Iterator[str]:
    """Yield one line where `key` has several values."""
    known = [row for row in rows if row.get(key) is not None or not key.startswith("environment.")]
    groups = {group[0]: len(members) for group, members in grouped(known, [key])}
    if len(groups) > 1:
        values = ", ".join(f"{_short(value)} in {_runs(n)}" for value, n in groups.items())
        yield f"not a fair comparison: {key} differs: {values}"


def _unequal_steps(rows: Sequence[Row]) -> Iterator[str]:
    """Yield one line for each batch size whose finished runs took unequal numbers of steps."""
    done = [row for row in rows if row["status"] == "done" and row.get("steps") is not None]
    for (batch_size, *_), members in grouped(done, ["batch_size", "epochs", "data.train_images"]):
        steps = sorted({row["steps"] for row in members})
        if len(steps) > 1:
            listed = ", ".join(map(shown, steps))
            yield f"not a fair comparison: steps differ at batch_size={batch_size}: {listed}"


def _short(value: Any) -> str:
    return f"{value[:12]}…" if len(value) == 64 else value


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
