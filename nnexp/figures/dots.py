"""The grouped table → a dot plot: every seed, the mean, the deviation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nnexp.compare.grid import Cell, Grid
from nnexp.compare.selection import Group
from nnexp.figures.colours import NEUTRAL, Style, style_of
from nnexp.figures.drawing import (
    FADED,
    balanced,
    open_panels,
    point_look,
    seeds_in_words,
    set_title,
    styled,
)
from nnexp.figures.lines import quantity_label, shown_value
from nnexp.figures.series import finite, plain, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.24  # inches


def draw_dots(grids: Sequence[Grid], metric: str, columns: int = 3) -> "Figure":
    """Return a panel for each column of each table, a line for each of its rows.

    A dot is a seed, the large mark their mean, the bar one sample standard deviation to each
    side; runs without a figure are named.
    """
    panels = [(grid, column) for grid in grids for column in grid.columns]
    longest = max(len(grid.rows) for grid in grids)
    columns = balanced(len(panels), columns)
    with styled():
        figure, axes = open_panels(len(panels), columns, 0.75 + ROW * longest, sharex=True)
        for position, (one, (grid, column)) in enumerate(zip(axes, panels, strict=True)):
            first = position % columns == 0
            _draw_panel(one, grid, column, named=first or _changes(panels, position))
            set_title(one, title_of(_settings(grid, column)), columns)
            one.set_xlabel(quantity_label(metric))
        for one, (grid, column) in zip(axes, panels, strict=True):
            _name_absent(one, grid, column)
        figure.supxlabel(_note(grids), fontsize=7, color=FADED)
    return figure


def _note(grids: Sequence[Grid]) -> str:
    counts = [len(cell.values) for grid in grids for cell in grid.cells.values()]
    return f"dots: {seeds_in_words(counts)}; mark and bar: mean ± sample standard deviation"


def _settings(grid: Grid, column: Group) -> dict[str, str]:
    return {**grid.layer, **dict(zip(grid.column_keys, column, strict=True))}


def _changes(panels: Sequence[tuple[Grid, Group]], position: int) -> bool:
    """Return whether a panel's rows are not those of the panel to its left."""
    return panels[position][0].rows != panels[position - 1][0].rows


def _draw_panel(axes: "Axes", grid: Grid, column: Group, *, named: bool) -> None:
    settings = _settings(grid, column)
    for place, row in enumerate(grid.rows):
        group = {**settings, **dict(zip(grid.row_keys, row, strict=True))}
        style = style_of(group["norm"]) if "norm" in group else NEUTRAL
        _draw_cell(axes, place, grid.cell(row, column), grid.metric, style)
    axes.set_ylim(len(grid.rows) - 0.4, -0.6)
    names = [_name(grid, row) for row in grid.rows] if named else []
    axes.set_yticks(range(len(grid.rows)), names if named else [""] * len(grid.rows))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _draw_cell(axes: "Axes", place: int, cell: Cell, metric: str, style: Style) -> None:
    values = [shown_value(value, metric) for value in cell.values.values() if finite(value)]
    axes.plot(values, [place] * len(values), "o", color=style.colour, alpha=0.4, ms=2.6, mew=0)
    if values and finite(cell.mean):
        mean = shown_value(cell.mean or 0.0, metric)
        spread = shown_value(cell.deviation or 0.0, metric)
        axes.plot([mean - spread, mean + spread], [place] * 2, color=style.colour, linewidth=1)
        axes.plot([mean], [place], **{**point_look(style), "markersize": 5})


def _name_absent(axes: "Axes", grid: Grid, column: Group) -> None:
    """Name the runs without a figure, on the side of the panel where no dots are."""
    from matplotlib.transforms import blended_transform_factory

    where = blended_transform_factory(axes.transAxes, axes.transData)
    left, right = axes.get_xlim()
    for place, row in enumerate(grid.rows):
        cell = grid.cell(row, column)
        mean = shown_value(cell.mean, grid.metric) if cell.mean is not None else left
        at_right = mean < (left + right) / 2
        look = {"transform": where, "va": "center", "fontsize": 7, "color": FADED}
        side = {"x": 0.98, "ha": "right"} if at_right else {"x": 0.02, "ha": "left"}
        axes.text(y=place + 0.38, s=", ".join(cell.absent), **side, **look)


def _name(grid: Grid, row: Group) -> str:
    bare = ("model", "norm")
    words = zip(grid.row_keys, row, strict=True)
    return " · ".join(value if key in bare else f"{plain(key)} {value}" for key, value in words)
