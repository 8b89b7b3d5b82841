"""Cells and differences → tables of text, and these → Markdown and LaTeX."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from nnexp.compare.against import PairedDifference
from nnexp.compare.grid import BEST, NEAR, Cell, Chosen, Grid
from nnexp.compare.metrics import NOTHING, metric_of

SIGNIFICANT = 3  # digits of a figure below 0.1
BEST_SIGN, NEAR_SIGN = "*", "≈"
EDGE_SIGNS = {"smallest": "↓", "largest": "↑", "only": "↕"}
LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",  # bare, it is an option of the \\ or the rule before it
    "]": "{]}",
    "*": "{*}",  # bare, it changes the \\ before it
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "≥": r"$\geq$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "↕": r"$\updownarrow$",
    "–": "--",
    "−": "$-$",
    "×": r"$\times$",
    "γ": r"$\gamma$",
    "β": r"$\beta$",
}


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
    title = f"{name}, {_settings(grid.layer)}" if grid.layer else name
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


def differences_table(
    comparisons: Sequence[PairedDifference], metric: str, against: str
) -> TextTable:
    """Return paired differences with their interval and p-values, a row per comparison."""
    labels = [*comparisons[0].treatment, *comparisons[0].settings]
    unit = " points" if metric_of(metric).in_percent else ""
    heads = [
        "pairs",
        metric_of(metric).heading,
        against,
        f"difference{unit}",
        "95 % CI",
        "p",
        "p Holm",
    ]
    notes = ["notes"] if any(one.notes for one in comparisons) else []
    return TextTable(
        title=f"{metric}: paired differences to {against} over seeds",
        headings=[*labels, *heads, *notes],
        labels=len(labels),
        rows=[_difference_row(one, metric)[: len(labels + heads + notes)] for one in comparisons],
    )


def cell_text(cell: Cell, metric: str) -> TextCell:
    """Return what a cell says: mean ± deviation (n), where it was chosen, what became of others."""
    words = []
    if cell.values:
        sign = {BEST: f"{BEST_SIGN} ", NEAR: f"{NEAR_SIGN} "}.get(cell.mark, "")
        at = chosen_text(cell.chosen, before=" at ")
        words.append(f"{sign}{_mean_and_spread(cell, metric)} ({len(cell.values)}){at}")
    elif cell.chosen and cell.chosen.value is None:
        return TextCell(text="no choice")
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


def legend(grids: Sequence[Grid], metric: str) -> list[str]:
    """Return what a reader has to know of the cells and their marks."""
    cells = [cell for grid in grids for cell in grid.cells.values()]
    lines = ["mean ± sample standard deviation (n runs that differ in the seed alone)"]
    if any(cell.mark for cell in cells):
        which = "highest" if metric_of(metric).better > 0 else "lowest"
        lines.append(f"{BEST_SIGN} and bold: the {which} mean of its column")
    if any(len(cell.values) > 1 for cell in cells) and metric_of(metric).better:
        lines.append(
            f"{NEAR_SIGN} within noise of it: the 95 % t interval of the difference includes 0, "
            "paired over common seeds, else Welch's, each pair of cells taken alone"
        )
    if any(len(cell.values) == 1 for cell in cells):
        lines.append("(1): one seed, so no deviation and no noise to compare with")
    if any(cell.statuses["diverged"] for cell in cells):
        lines.append("cells with diverged runs show the others' mean and do not compete")
    return lines


def differences_legend(comparisons: Sequence[PairedDifference]) -> list[str]:
    """Return what a reader has to know of the differences."""
    tests = sum(one.p is not None for one in comparisons)
    lines = ["means are over the pairs: runs with the same seed, equal in every other setting"]
    if tests:
        plural = "s" if tests > 1 else ""
        lines.append(
            "95 % t interval and two-sided paired t test, each alone; "
            f"p Holm is corrected for the {tests} test{plural} of this table"
        )
    if any(one.pairs == 1 for one in comparisons):
        lines.append("one seed gives one pair: its noise is unknown; run more seeds")
    return lines


def markdown(table: TextTable) -> str:
    """Return a GitHub table."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    rows = [[_markdown_cell(cell) for cell in row] for row in table.rows]
    marks = [
        "---" if position < table.labels else "---:" for position in range(len(table.headings))
    ]
    heads = [markdown_text(head) for head in table.headings]
    return "\n".join([line(heads), line(marks), *map(line, rows)])


def latex(table: TextTable) -> str:
    """Return a tabular in the rules of booktabs."""

    def line(cells: Sequence[str]) -> str:
        return f"{' & '.join(cells)} \\\\"

    rows = [[_latex_cell(cell) for cell in row] for row in table.rows]
    columns = "l" * table.labels + "r" * (len(table.headings) - table.labels)
    body = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        line([escape_latex(head) for head in table.headings]),
        r"\midrule",
        *map(line, rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(body)


def escape_latex(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(LATEX.get(character, character) for character in one_line(text))


def _settings(settings: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def _difference_row(one: PairedDifference, metric: str) -> list[TextCell]:
    interval = NOTHING
    if one.low is not None:
        low, high = (metric_of(metric).text(end, signed=True) for end in (one.low, one.high))
        interval = f"{low} to {high}"
    texts = [
        *one.treatment.values(),
        *one.settings.values(),
        str(one.pairs),
        metric_of(metric).text(one.mean) + chosen_text(one.chosen, before=" at "),
        metric_of(metric).text(one.baseline) + chosen_text(one.baseline_chosen, before=" at "),
        metric_of(metric).text(one.difference, signed=True),
        interval,
        _probability(one.p),
        _probability(one.p_holm),
        "; ".join(one.notes),
    ]
    return [TextCell(text=text) for text in texts]


def _probability(p: float | None) -> str:
    if p is None:
        return NOTHING
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def _markdown_cell(cell: TextCell) -> str:
    text = markdown_text(cell.text.removeprefix(f"{BEST_SIGN} "))
    return f"**{text}**" if cell.bold else text


def markdown_text(text: str) -> str:
    """Return text that Markdown prints as it is."""
    return re.sub(r"([\\|*_<>`\[\]])", r"\\\1", one_line(text))


def one_line(text: str) -> str:
    """Return text with a space for each line break."""
    return re.sub(r"\s*[\r\n\u2028\u2029]\s*", " ", text)


def _latex_cell(cell: TextCell) -> str:
    text = escape_latex(cell.text.removeprefix(f"{BEST_SIGN} "))
    text = re.sub(r"(?<![\w.-])-(?=\d)", "$-$", text)  # a minus, not a hyphen
    return rf"\textbf{{{text}}}" if cell.bold else text
