"""Choices of a best value → the table of what each cell had to choose from, and its legend."""

from collections.abc import Iterator, Sequence
from typing import Any

from nnexp.compare.best import JUDGE, TRAINS, Choice
from nnexp.compare.comparison import Comparison
from nnexp.compare.grid import BEST, NEAR, Cell, Chosen
from nnexp.compare.selection import in_order
from nnexp.compare.tables import (
    BEST_SIGN,
    EDGE_SIGNS,
    NEAR_SIGN,
    NOTHING,
    TextCell,
    TextTable,
    cell_text,
    chosen_text,
    heading,
)


def choices_table(answer: Comparison) -> TextTable:
    """Return what each cell had to choose from, a row per cell and a column per value."""
    labels = _labels(answer)
    values = [
        value for (value,) in in_order((value,) for one in answer.choices for value in one.tried)
    ]
    key = answer.choices[0].chosen.key
    return TextTable(
        title=f"{heading(JUDGE)}: how each cell chose its {key}",
        headings=[*labels, *values, "chosen", "ties", "largest that trains"],
        labels=len(labels),
        rows=[_row(one, labels, values) for one in answer.choices],
    )


def choices_legend(answer: Comparison) -> list[str]:
    """Return how the values were chosen, and what the choice does to the figures."""
    key = answer.choices[0].chosen.key
    cells = [cell for one in answer.choices for cell in one.tried.values()]
    lines = [
        f"{BEST_SIGN} and bold: chosen, the highest mean {JUDGE} among the values of {key} at "
        "which every seed of the cell is done; of equal ones the smallest; no test image took part",
        *_edges(answer.choices),
    ]
    if any(cell.mark == NEAR for cell in cells):
        lines.append(f"{NEAR_SIGN} within noise of the chosen: other seeds might choose it instead")
    if any(one.chosen.value is None for one in answer.choices):
        lines.append("no choice: at no value are all seeds of the cell done")
    if any(one.chosen.largest for one in answer.choices):
        lines.append(
            f"largest that trains: every seed is done and has {100 * TRAINS:.0f} % of the chosen "
            "mean or more; ≥ where no larger value is known to fail"
        )
    lines.append("the runs that chose are the runs shown: some of their seeds' luck remains")
    if answer.metric.startswith("val_"):
        lines.append(f"{answer.metric} is of the images that chose: it flatters; see test_accuracy")
    if answer.comparisons:
        lines.append(
            "differences are between cells each at its own choice, as if it had been known before: "
            "intervals and p hold nothing of how uncertain it is"
        )
    return lines


def choice_records(answer: Comparison) -> list[dict[str, Any]]:
    """Return one record per cell: its settings, what it chose, and each value tried."""
    return [
        {
            **{label: one.settings[label] for label in _labels(answer)},
            **chosen_columns(answer, one.chosen),
            "tried": {value: _tried(cell) for value, cell in one.tried.items()},
        }
        for one in answer.choices
    ]


def chosen_columns(answer: Comparison, chosen: Chosen | None, before: str = "") -> dict[str, Any]:
    """Return what was chosen as columns of a record; no columns where no cell had to choose."""
    if not answer.choices:
        return {}
    key = answer.choices[0].chosen.key
    chosen = chosen or Chosen(key=key, value=None)
    return {
        f"{before}chosen_setting": key,
        f"{before}chosen_by": JUDGE,
        f"{before}chosen_value": chosen.value,
        f"{before}chosen_edge": chosen.edge,
        f"{before}chosen_ties": ",".join(chosen.ties),
        f"{before}largest_that_trains": chosen.largest,
    }


def _labels(answer: Comparison) -> list[str]:
    layout = answer.layout
    return [*layout.layers, *layout.rows, *layout.columns]


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


def _tried(cell: Cell) -> dict[str, Any]:
    return {
        "mean": cell.mean,
        "standard_deviation": cell.deviation,
        "seeds": cell.values,
        "states": dict(cell.states),
        "mark": {BEST: "chosen", NEAR: "within noise of the chosen"}.get(cell.mark, ""),
    }
