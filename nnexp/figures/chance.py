"""Rows → what guessing would give, and which values are no better."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nnexp.compare.chance import chance_accuracy
from nnexp.compare.columns import Row
from nnexp.rundir import is_at_chance


@dataclass(frozen=True, slots=True)
class Chance:
    """What a classifier that looks at no image gets, measured on so many images."""

    accuracy: float
    images: int | None  # None: not known, so that no value is tested

    def explains(self, values: Iterable[float]) -> bool:
        """Return whether no value is above chance: one-sided binomial tests at 1 %."""
        classes = round(1 / self.accuracy)
        if self.images is None:
            return False
        return all(is_at_chance(value, self.images, classes) for value in values)


def chance_of(rows: Sequence[Row], metric: str) -> Chance | None:
    """Return the chance that all rows share; None where it differs, or the classes are unknown."""
    if not metric.endswith("accuracy"):
        return None
    known = {chance_accuracy(row) for row in rows}
    part = metric.partition("_")[0]
    counts = [row.get(f"{part}_images") or row.get(f"data.{part}_images") or 0 for row in rows]
    accuracy = known.pop() if len(known) == 1 else None
    return None if accuracy is None else Chance(accuracy, min(counts) or None)
