"""A row → what guessing would give on its images."""

from nnexp.compare.columns import Row

CLASSES = {"cifar10": 10, "cifar100": 100, "synthetic": 10}  # of runs that do not say it themselves


def chance_accuracy(row: Row) -> float | None:
    """Return 1 over the number of classes; None where this is not known."""
    classes = CLASSES.get(row["data.name"])
    return row.get("chance_accuracy") or (classes and 1 / classes)
