"""Cells and differences → tables of text, and these → Markdown and LaTeX."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnexp.compare.against import Against, Difference
from nnexp.compare.best import UNCONFIRMED
from nnexp.compare.grid import BEST, NEAR, Cell, Chosen, Grid
from nnexp.compare.method import method_lines
from nnexp.compare.metrics import NOTHING, metric_of
from nnexp.compare.multiplicity import LEVEL
from nnexp.compare.selection import in_words
from nnexp.console import counted

if TYPE_CHECKING:
    from nnexp.compare.comparison import Comparison

SIGNIFICANT = 3  # digits of a figure below 0.1
BEST_SIGN, NEAR_SIGN, EQUAL_SIGN = "*", "≈", "="
DIFFERENCE = "difference, 95 % CI"
MOST_NAMED = 6  # rows that a note names
EDGE_SIGNS = {"smallest": "↓", "largest": "↑", "only": "↕"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCell:
    """What stands in a cell."""

    text: str
    bold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """A table as it is read: the first `labels` columns say what a row is."""

    title: str
    headings: list[str]
    labels: int
    rows: list[list[TextCell]]


def grid_table(grid: Grid) -> TextTable:
    """Return a grid with each cell as mean ± standard deviation (n)."""
    heads = [
        ", ".join(f"{key}={value}" for key, value in zip(grid.column_keys, column, strict=True))
        for column in grid.columns
    ]
    name = metric_of(grid.metric).heading
    title = f"{name}, {in_words(grid.layer)}" if grid.layer else name
    return TextTable(
        title=title,
        headings=[*grid.row_keys, *(head or name for head in heads)],
        labels=len(grid.row_keys),
        rows=[
            [
                *(TextCell(text=value) for value in row),
                *(cell_text(grid.cell(row, column), grid.metric) for column in grid.columns),
            ]
            for row in grid.rows
        ],
    )


def side_by_side(grids: Sequence[Grid]) -> TextTable:
    """Return grids of several metrics as one table, a column for each; all have the same rows."""
    first = grids[0]
    return TextTable(
        title=", ".join(metric_of(grid.metric).heading for grid in grids),
        headings=[*first.row_keys, *(metric_of(grid.metric).heading for grid in grids)],
        labels=len(first.row_keys),
        rows=[
            [
                *(TextCell(text=value) for value in row),
                *(cell_text(grid.cell(row, ()), grid.metric) for grid in grids),
            ]
            for row in first.rows
        ],
    )


def differences_table(against: Against, metric: str, margin: float | None = None) -> TextTable:
    """Return the differences to the baseline with interval and p, a row per comparison."""
    differences = against.differences
    labels = [*differences[0].treatment, *differences[0].settings]
    varying = [
        key for key in labels if key in differences[0].treatment or _varies(differences, key)
    ]
    rows = [_difference_row(one, metric, varying, margin) for one in differences]
    return TextTable(
        title=_differences_to(against, metric),
        headings=[*varying, "mean", "baseline", DIFFERENCE, "p"],
        labels=len(varying),
        rows=rows,
    )


def sums_table(against: Against, metric: str, margin: float | None = None) -> TextTable | None:
    """Return the differences averaged over the columns and their trends; None if there are none."""
    sums = [*against.averages, *against.trends]
    if not sums:
        return None
    labels = [*sums[0].treatment, *sums[0].settings]
    varying = [key for key in labels if key in sums[0].treatment or _varies(sums, key)]
    return TextTable(
        title=f"{_differences_to(against, metric)}, over columns",
        headings=[*varying, "over", DIFFERENCE, "p"],
        labels=len(varying) + 1,
        rows=[
            [
                *(TextCell(text=(one.treatment | one.settings)[key]) for key in varying),
                TextCell(text=one.over),
                _difference_cell(one, metric, None if one.over.startswith("per") else margin),
                TextCell(text=_probability(one.p)),
            ]
            for one in sums
        ],
    )


def _varies(differences: Sequence[Difference], key: str) -> bool:
    return len({one.settings.get(key) for one in differences}) > 1


def _differences_to(against: Against, metric: str) -> str:
    asked = metric_of(metric)
    unit = " in points" if asked.in_percent else ""
    return f"{asked.heading}: differences to {against.label}{unit}"


def cell_text(cell: Cell, metric: str) -> TextCell:
    """Return what a cell says: mean ± deviation (n), where it was chosen, what became of others."""
    words = []
    if cell.values:
        sign = {BEST: f"{BEST_SIGN} ", NEAR: f"{NEAR_SIGN} "}.get(cell.mark, "")
        at = chosen_text(cell.chosen, before=" at ")
        words.append(f"{sign}{_mean_and_spread(cell, metric)} ({len(cell.values)}){at}")
    elif cell.chosen and cell.chosen.value is None:
        return TextCell(text="no choice")
    elif cell.statuses[UNCONFIRMED]:
        return TextCell(text="not confirmed")
    return TextCell(text=", ".join([*words, *cell.absent]) or NOTHING, bold=cell.mark == BEST)


def _mean_and_spread(cell: Cell, metric: str) -> str:
    """Return mean ± deviation, both with as many decimals as the larger one needs."""
    mean, spread = cell.mean or 0.0, cell.deviation
    size = max(abs(mean), spread or 0.0)
    whole = float(mean).is_integer() and not spread
    if metric_of(metric).unit or whole or size >= 1e6:
        shown = metric_of(metric).text(mean)
        return shown if spread is None else f"{shown} ± {metric_of(metric).text(spread)}"
    decimals = 4 if size >= 0.1 else SIGNIFICANT - 1 - math.floor(math.log10(size))
    return f"{mean:.{decimals}f}" + ("" if spread is None else f" ± {spread:.{decimals}f}")


def chosen_text(chosen: Chosen | None, before: str = "") -> str:
    """Return the value at which a cell is shown, signed where it is at an end of those tried."""
    if chosen is None or chosen.value is None:
        return ""
    return f"{before}{chosen.value}{EDGE_SIGNS.get(chosen.edge, '')}"


def legend(comparisons: Sequence["Comparison"]) -> list[str]:
    """Return what a reader has to know of the cells and their marks, for all metrics once."""
    lines = [line for one in comparisons for line in _legend(one, many=len(comparisons) > 1)]
    return list(dict.fromkeys(lines))


def _legend(comparison: "Comparison", *, many: bool) -> list[str]:
    grids, metric = comparison.grids, comparison.metric
    cells = [cell for grid in grids for cell in grid.cells.values()]
    lines = ["mean ± sample standard deviation (n runs that differ in the seed alone)"]
    if any(cell.mark for cell in cells):
        which = "highest" if metric_of(metric).better > 0 else "lowest"
        of = f" {metric}" if many else ""
        lines.append(f"{BEST_SIGN} and bold: the {which} mean{of} of its column")
    if any(cell.mark == NEAR for cell in cells):
        lines.append(
            f"{NEAR_SIGN} not shown to differ from it, which does not show that it is equal"
        )
    if comparison.rankings and any(cell.mark for cell in cells):
        method = method_lines(comparison.judgements, metric)
        lines += [f"{metric}: {line}" for line in method] if many else method
        if _has_untested(comparison):
            lines.append("no mark: its difference to the best has no spread between seeds, no test")
    if any(len(cell.values) == 1 for cell in cells):
        lines.append("(1): one seed: its noise is unknown, so it is neither marked nor compared")
    if any(cell.statuses["diverged"] for cell in cells):
        lines.append("cells with diverged runs show the others' mean and do not compete")
    return lines


def _has_untested(comparison: "Comparison") -> bool:
    """Return whether a cell has no mark because its difference to the best has no test."""
    return any(
        not cell.mark and (one := ranking.at(column, row)) is not None and one.p is None
        for grid, ranking in zip(comparison.grids, comparison.rankings, strict=False)
        for (row, column), cell in grid.cells.items()
    )


def differences_legend(comparison: "Comparison") -> list[str]:
    """Return how the differences were judged, and what hinders some of them."""
    against = comparison.against
    assert against is not None
    lines = method_lines(comparison.judgements, comparison.metric)
    tested = [one for one in against.differences if one.p is not None]
    if any(one.p is not None and one.p < 1 - LEVEL for one in tested):
        lines.insert(0, "bold: the interval excludes 0")
    if tested and any((one.p or 0) >= 1 - LEVEL for one in tested):
        lines.append("an interval that includes 0 shows no difference, and no equality either")
    if comparison.margin is not None:
        points = " point" if comparison.margin == 1 else " points"
        unit = points if metric_of(comparison.metric).in_percent else ""
        lines.append(
            f"{EQUAL_SIGN} as good as: the whole interval is within ± {comparison.margin:g}{unit}"
        )
    return [*lines, *_difference_notes(against.differences), *_sum_notes(against)]


def _difference_notes(differences: Sequence[Difference]) -> list[str]:
    """Return each note once, with the rows that it is about."""
    about: dict[str, list[str]] = {}
    varying = [key for key in differences[0].settings if _varies(differences, key)]
    for one in differences:
        name = ", ".join(
            [*one.treatment.values(), *(f"{key}={one.settings[key]}" for key in varying)]
        )
        for note in one.notes:
            about.setdefault(note, []).append(name)
    return [f"{'; '.join(_few(names))}: {note}" for note, names in about.items()]


def _few(names: Sequence[str]) -> list[str]:
    more = len(names) - MOST_NAMED
    return [*names[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])]


def _sum_notes(against: Against) -> list[str]:
    notes = dict.fromkeys(
        note for one in (*against.averages, *against.trends) for note in one.notes
    )
    kinds = [
        counted(family.comparisons, name)
        for judgement in against.judgements.values()
        for name, family in (("average", judgement.averages), ("trend", judgement.trends))
        if family.comparisons > 1
    ]
    words = " and ".join(dict.fromkeys(kinds))
    together = [f"{words} of a table are judged together, each kind by itself"] if words else []
    return [*together, *(f"averages and trends: {note}" for note in notes)]


def _difference_row(
    one: Difference, metric: str, labels: Sequence[str], margin: float | None
) -> list[TextCell]:
    names = one.treatment | one.settings
    texts = [
        *(names[key] for key in labels),
        metric_of(metric).text(one.mean) + chosen_text(one.chosen, before=" at "),
        metric_of(metric).text(one.baseline) + chosen_text(one.baseline_chosen, before=" at "),
    ]
    return [
        *(TextCell(text=text) for text in texts),
        _difference_cell(one, metric, margin),
        TextCell(text=_probability(one.p)),
    ]


def _difference_cell(one: Difference, metric: str, margin: float | None) -> TextCell:
    """Return a difference with its interval; bold where this excludes 0."""
    text = metric_of(metric).text(one.difference, signed=True)
    if one.low is None or one.high is None:
        return TextCell(text=text)
    interval = metric_of(metric).interval(one.low, one.high)
    size = (margin or 0.0) / (100 if metric_of(metric).in_percent else 1)
    equal = f"{EQUAL_SIGN} " if margin is not None and max(-one.low, one.high) < size else ""
    shown = one.p is not None and one.p < 1 - LEVEL
    return TextCell(text=f"{equal}{text} {interval}", bold=shown)


def _probability(p: float | None) -> str:
    if p is None:
        return NOTHING
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"
