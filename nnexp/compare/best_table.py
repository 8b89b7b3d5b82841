"""Choices of a best value → the table of what each cell had to choose from, and its legend."""

from collections.abc import Iterator, Sequence

from nnexp.compare.best import JUDGE, TRAINS, Choice
from nnexp.compare.comparison import Comparison
from nnexp.compare.grid import NEAR, Cell
from nnexp.compare.metrics import NOTHING, metric_of
from nnexp.compare.records import label_keys
from nnexp.compare.selection import in_order
from nnexp.compare.tables import (
    BEST_SIGN,
    EDGE_SIGNS,
    NEAR_SIGN,
    TextCell,
    TextTable,
    cell_text,
    chosen_text,
)


def choices_table(comparison: Comparison) -> TextTable:
    """Return what each cell had to choose from, a row per cell and a column per value."""
    labels = label_keys(comparison.layout)
    values = [
        value
        for (value,) in in_order((value,) for one in comparison.choices for value in one.tried)
    ]
    key = comparison.choices[0].chosen.key
    return TextTable(
        title=f"{metric_of(JUDGE).heading}: how each cell chose its {key}",
        headings=[*labels, *values, "chosen", "ties", "largest that trains"],
        labels=len(labels),
        rows=[_row(one, labels, values) for one in comparison.choices],
    )


def choices_legend(comparison: Comparison) -> list[str]:
    """Return how the values were chosen, and what the choice does to the numbers."""
    key = comparison.choices[0].chosen.key
    cells = [cell for one in comparison.choices for cell in one.tried.values()]
    lines = [
        f"{BEST_SIGN} and bold: chosen, the highest mean {JUDGE} among the values of {key} at "
        "which every seed of the cell is done; of equal ones the smallest; no test image took part",
        *_edges(comparison.choices),
    ]
    if any(cell.mark == NEAR for cell in cells):
        lines.append(
            f"{NEAR_SIGN} not shown to differ from the chosen: other seeds might choose it instead"
        )
    if any(one.chosen.value is None for one in comparison.choices):
        lines.append("no choice: at no value are all seeds of the cell done")
    if any(one.chosen.largest for one in comparison.choices):
        lines.append(
            f"largest that trains: every seed is done and has {100 * TRAINS:.0f} % of the chosen "
            "mean or more; ≥ where no larger value is known to fail"
        )
    lines.append("the runs that chose are the runs shown: some of their seeds' luck remains")
    if comparison.metric.startswith("val_"):
        lines.append(
            f"{comparison.metric} is of the images that chose: it flatters; see test_accuracy"
        )
    if comparison.against:
        lines.append(
            "differences are between cells each at its own choice, as if it had been known before: "
            "intervals and p hold nothing of how uncertain it is"
        )
    return lines


def _row(choice: Choice, labels: Sequence[str], values: Sequence[str]) -> list[TextCell]:
    chosen = choice.chosen
    return [
        *(TextCell(text=choice.settings[label]) for label in labels),
        *(cell_text(choice.tried.get(value, Cell()), JUDGE) for value in values),
        TextCell(text=chosen_text(chosen) or "no choice"),
        TextCell(text=", ".join(chosen.ties) or NOTHING),
        TextCell(text=chosen.largest or NOTHING),
    ]


def _edges(choices: Sequence[Choice]) -> Iterator[str]:
    edges = {one.chosen.edge for one in choices}
    for edge in ("largest", "smallest"):
        if edge in edges:
            yield (
                f"{EDGE_SIGNS[edge]} the {edge} value with an outcome was chosen: "
                "the optimum may lie beyond"
            )
    if "only" in edges:
        yield f"{EDGE_SIGNS['only']} the only value with an outcome: nothing was chosen"
