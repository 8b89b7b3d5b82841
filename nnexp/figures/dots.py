"""The grouped table → a dot plot: every seed, the mean, the deviation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nnexp.compare.columns import Row
from nnexp.compare.grid import Cell, Grid
from nnexp.compare.selection import Group
from nnexp.figures.chance import Chance
from nnexp.figures.colours import NEUTRAL, Style, style_of
from nnexp.figures.drawing import (
    INTERVAL,
    LABEL,
    add_legend,
    balanced,
    check_panels,
    mark_chance,
    open_panels,
    point_look,
    seeds_in_words,
    set_title,
    styled,
    wrapped,
)
from nnexp.figures.lines import quantity_label, shown_value, without_intervals
from nnexp.figures.series import finite, title_of
from nnexp.figures.settings import FADED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.3  # inches
MOST_PANELS = 30
ABOVE, BELOW = 0.17, 0.15  # of a row: where the seeds and the mean stand, so that none is hidden
STEP, HEIGHTS = 0.09, 3  # of a row: how far apart seeds stand that may have one value


def draw_dots(
    grids: Sequence[Grid], metric: str, across: int = 3, chance: Chance | None = None
) -> "Figure":
    """Return a panel for each column of each table, a line for each of its rows.

    A dot is a seed, the large mark below it their mean, the bar one sample standard deviation to
    each side, or the mean's interval where cells have one; runs without a value are named.

    Raises:
        ConfigError: There are too many panels.
    """
    intervals = _have_intervals(grids)
    panels = [(grid, column) for grid in grids for column in grid.columns]
    check_panels(len(panels), MOST_PANELS, "dots")
    longest = max(len(grid.rows) for grid in grids)
    across = balanced(len(panels), across)
    with styled():
        figure, axes = open_panels(len(panels), across, 0.75 + ROW * longest, sharex=True)
        for position, (one, (grid, column)) in enumerate(zip(axes, panels, strict=True)):
            named = position % across == 0 or grid.rows != panels[position - 1][0].rows
            _draw_panel(one, grid, column, named=named, intervals=intervals)
            set_title(one, title_of(_settings(grid, column)), across)
            one.set_xlabel(quantity_label(metric))
        guess = chance and shown_value(chance.accuracy, metric)
        guessed = mark_chance(axes, guess, vertical=True)
        for one, (grid, column) in zip(axes, panels, strict=True):
            _name_absent(one, grid, column)
        counts = [len(cell.values) for grid in grids for cell in grid.cells.values()]
        bar = f"mean, {INTERVAL}" if intervals else "mean ± sample standard deviation"
        note = f"dots: {seeds_in_words(counts)}; mark and bar: {bar}"
        add_legend(figure, {}, note + ("; dotted: chance" if guessed else ""))
    return figure


def dot_numbers(grids: Sequence[Grid], metric: str) -> list[Row]:
    """Return a row for each dot that `draw_dots` draws, and one for each mean below them."""
    rows = [
        {
            "panel": title_of(_settings(grid, column)),
            "line": _name(grid, row),
            "quantity": quantity_label(metric),
            **mark,
        }
        for grid in grids
        for column in grid.columns
        for row in grid.rows
        for mark in _marks(grid.cell(row, column), metric)
    ]
    return rows if _have_intervals(grids) else without_intervals(rows)


def _have_intervals(grids: Sequence[Grid]) -> bool:
    return any(cell.interval for grid in grids for cell in grid.cells.values())


def _marks(cell: Cell, metric: str) -> list[Row]:
    empty = dict.fromkeys(("seed", "value", "mean", "deviation", "low", "high"))
    seeds = [
        {**empty, "seed": seed, "value": shown_value(value, metric), "n": 1}
        for seed, value in sorted(cell.values.items())
        if finite(value)
    ]
    if not seeds or not finite(cell.mean):
        return seeds
    ends = [shown_value(end, metric) for end in cell.interval or ()]
    mean = {
        **empty,
        "mean": shown_value(cell.mean or 0.0, metric),
        "deviation": None if cell.deviation is None else shown_value(cell.deviation, metric),
        **dict(zip(("low", "high"), ends, strict=False)),
        "n": len(cell.values),
    }
    return [*seeds, mean]


def _settings(grid: Grid, column: Group) -> dict[str, str]:
    return {**grid.layer, **dict(zip(grid.column_keys, column, strict=True))}


def _draw_panel(axes: "Axes", grid: Grid, column: Group, *, named: bool, intervals: bool) -> None:
    settings = _settings(grid, column)
    for place, row in enumerate(grid.rows):
        group = {**settings, **dict(zip(grid.row_keys, row, strict=True))}
        style = style_of(group["norm"]) if "norm" in group else NEUTRAL
        cell = grid.cell(row, column)
        _draw_seeds(axes, place, cell, grid.metric, style)
        if cell.values and finite(cell.mean):
            ends = _ends(cell, grid.metric, intervals=intervals)
            axes.plot(ends, [place + BELOW] * 2, color=style.colour, linewidth=1)
            mean = shown_value(cell.mean or 0.0, grid.metric)
            axes.plot([mean], [place + BELOW], **point_look(style))
    axes.set_ylim(len(grid.rows) - 0.4, -0.6)
    names = [wrapped(_name(grid, row), LABEL) if named else "" for row in grid.rows]
    axes.set_yticks(range(len(grid.rows)), names)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _draw_seeds(axes: "Axes", place: int, cell: Cell, metric: str, style: Style) -> None:
    values = [shown_value(value, metric) for value in cell.values.values() if finite(value)]
    values.sort()  # neighbours, which may have one value, get different heights
    seeds = [place - ABOVE - STEP * (position % HEIGHTS) for position in range(len(values))]
    axes.plot(values, seeds, "o", color=style.colour, alpha=0.6, ms=2.8, mew=0)


def _ends(cell: Cell, metric: str, *, intervals: bool) -> list[float]:
    """Return from where to where the bar of a mean goes; both at the mean where it has none."""
    if intervals:
        return [shown_value(end, metric) for end in cell.interval or [cell.mean or 0.0] * 2]
    mean = shown_value(cell.mean or 0.0, metric)
    spread = shown_value(cell.deviation or 0.0, metric)
    return [mean - spread, mean + spread]


def _name_absent(axes: "Axes", grid: Grid, column: Group) -> None:
    """Name the runs without a value, on the side of the panel where no dots are."""
    from matplotlib.transforms import blended_transform_factory

    where = blended_transform_factory(axes.transAxes, axes.transData)
    left, right = axes.get_xlim()
    for place, row in enumerate(grid.rows):
        cell = grid.cell(row, column)
        mean = shown_value(cell.mean, grid.metric) if cell.mean is not None else left
        at_right = mean < (left + right) / 2
        look = {"transform": where, "va": "center", "fontsize": 7, "color": FADED}
        side = {"x": 0.98, "ha": "right"} if at_right else {"x": 0.02, "ha": "left"}
        axes.text(y=place + BELOW, s=", ".join(cell.absent), **side, **look)


def _name(grid: Grid, row: Group) -> str:
    return title_of(dict(zip(grid.row_keys, row, strict=True)))
