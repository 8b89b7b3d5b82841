"""Choices of a best value → the table of what each cell had to choose from, and its legend."""

from collections.abc import Iterator, Sequence

from nnexp.compare.best import JUDGE, Choice
from nnexp.compare.commands import extending_commands
from nnexp.compare.comparison import Comparison
from nnexp.compare.grid import NEAR, Cell
from nnexp.compare.metrics import NOTHING, metric_of
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
from nnexp.rundir import CHANCE_LEVEL

TRAINS = "largest that trains"
MOST_COMMANDS = 4  # that one line has


def choices_table(comparison: Comparison) -> TextTable:
    """Return what each cell had to choose from, a row per cell and a column per value."""
    labels = comparison.layout.keys
    values = [
        value
        for (value,) in in_order((value,) for one in comparison.choices for value in one.tried)
    ]
    key = comparison.choices[0].chosen.key
    trains = any(one.chosen.largest for one in comparison.choices)
    return TextTable(
        title=f"{metric_of(JUDGE).heading}: how each cell chose its {key}",
        headings=[*labels, *values, "chosen", "ties", *([TRAINS] if trains else []), "budget"],
        labels=len(labels),
        rows=[_row(one, labels, values, trains=trains) for one in comparison.choices],
    )


def choices_legend(comparison: Comparison) -> list[str]:
    """Return how the values were chosen, and what the choice does to the numbers."""
    choices = comparison.choices
    cells = [cell for one in choices for cell in one.tried.values()]
    lines = [
        f"{BEST_SIGN} and bold: chosen, the highest mean {JUDGE} over the seeds that all values of "
        f"{choices[0].chosen.key} in its row share; of equal ones the smallest; no test image took "
        "part",
        *_edges(choices),
        *_not_chosen(choices),
    ]
    if any(cell.mark == NEAR for cell in cells):
        lines.append(
            f"{NEAR_SIGN} not shown to differ from the chosen: other seeds might choose it instead"
        )
    if any(one.chosen.largest for one in choices):
        lines.append(
            f"{TRAINS}: of all seeds trained there, also those that did not choose, none diverged, "
            f"and of none does guessing explain {JUDGE} (binomial test, {100 * CHANCE_LEVEL:g} %); "
            "≥ where no larger value is known to fail"
        )
    return [*lines, *_what_it_does(comparison)]


def _not_chosen(choices: Sequence[Choice]) -> Iterator[str]:
    """Say which values could not be chosen, and why."""
    if any(cell.statuses["diverged"] for one in choices for cell in one.tried.values()):
        yield "a value with a diverged run cannot be chosen"
    if few := list(dict.fromkeys(value for one in choices for value in one.left_out)):
        yield f"too few seeds in common with the other values to be chosen: {', '.join(few)}"
    if any(one.chosen.value is None for one in choices):
        yield "no choice: at no value are runs done on seeds that values share, none diverged"


def _what_it_does(comparison: Comparison) -> Iterator[str]:
    """Say what the choice does to the numbers that are shown."""
    if comparison.confirm:
        yield "confirmed: every run shown is of a seed that took no part in choosing"
    else:
        yield "the runs that chose are the runs shown: some of their luck remains (see --confirm)"
        if comparison.metric.startswith("val_"):
            yield f"{comparison.metric} is of the images that chose: it flatters; see test_accuracy"
    if comparison.against:
        yield (
            "differences are between cells each at its own choice, as if it had been known before: "
            "intervals and p hold nothing of how uncertain it is"
        )


def _row(
    choice: Choice, labels: Sequence[str], values: Sequence[str], *, trains: bool
) -> list[TextCell]:
    chosen = choice.chosen
    return [
        *(TextCell(text=choice.settings[label]) for label in labels),
        *(cell_text(choice.tried.get(value, Cell()), JUDGE) for value in values),
        TextCell(text=chosen_text(chosen) or "no choice"),
        TextCell(text=", ".join(chosen.ties) or NOTHING),
        *([TextCell(text=chosen.largest or NOTHING)] if trains else []),
        TextCell(text=choice.budget),
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
    if commands := extending_commands(choices):
        yield f"the next values: {' && '.join(commands[:MOST_COMMANDS])}"
