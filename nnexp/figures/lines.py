"""Rows → a figure against batch size or learning rate: a line for each norm, over seeds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nnexp.compare.columns import Row
from nnexp.compare.grid import Cell, direction
from nnexp.compare.tables import in_percent
from nnexp.figures.drawing import (
    add_legend,
    balanced,
    line_look,
    number_ticks,
    open_panels,
    point_look,
    seeds_in_words,
    set_title,
    styled,
)
from nnexp.figures.series import Line, Panel, finite, make_panels, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DODGE = 0.085  # inches between the marks of lost runs at one place


def draw_error(rows: Sequence[Row], metric: str, columns: int = 3) -> "Figure":
    """Return the metric against batch size, an accuracy as its error in percent.

    Raises:
        ConfigError: All runs have one batch size.
    """
    return _draw(make_panels(rows, metric, "batch_size"), metric, "batch size", columns)


def draw_rates(rows: Sequence[Row], metric: str, columns: int = 3) -> "Figure":
    """Return the metric against the learning rate.

    Raises:
        ConfigError: All runs have one learning rate.
    """
    panels = make_panels(rows, metric, "optimizer.learning_rate")
    return _draw(panels, metric, "learning rate", columns, as_error=False)


def _draw(
    panels: Sequence[Panel], metric: str, axis: str, columns: int, *, as_error: bool = True
) -> "Figure":
    """Return a figure: mean over seeds, a band of one sample standard deviation to each side.

    A hollow point is a mean over those that survived; where none did, a cross stands at the
    bad end of the panel.
    """
    as_error = as_error and in_percent(metric)
    worse = 1 if as_error or direction(metric) < 0 else -1
    columns = balanced(len(panels), columns)
    with styled():
        figure, axes = open_panels(len(panels), columns, sharey=True)
        labels = {line.label: line.style for panel in panels for line in panel.lines}
        for one, panel in zip(axes, panels, strict=True):
            for line in panel.lines:
                _draw_line(one, line, metric, as_error=as_error)
            places = sorted({x for each in panels for line in each.lines for x in line.cells})
            number_ticks(one, places)
            set_title(one, panel.title, columns)
            one.set_xlabel(axis)
        lost = [_mark_lost(*pair, worse) for pair in zip(axes, panels, strict=True)]
        _make_room(axes[0], worse, lost=any(lost))
        for one in axes[::columns]:
            one.set_ylabel(quantity_label(metric, as_error=as_error))
        add_legend(figure, labels, _note(panels))
    return figure


def _note(panels: Sequence[Panel]) -> str:
    cells = [cell for panel in panels for line in panel.lines for cell in line.cells.values()]
    words = f"mean of {seeds_in_words(len(cell.values) for cell in cells)}"
    if any(len(cell.values) > 1 for cell in cells):
        words += ", band: ± sample standard deviation"
    if any(cell.values and not cell.competes for cell in cells):
        words += "; hollow: without diverged runs"
    if any(_is_lost(cell) for cell in cells):
        words += "; ×: all diverged"
    return words


def quantity_label(metric: str, *, as_error: bool = False) -> str:
    """Return what an axis says of a metric, with its unit."""
    name = metric.replace("accuracy", "error") if as_error else metric
    return f"{plain(name)} %" if in_percent(metric) else plain(name)


def shown_value(value: float, metric: str, *, as_error: bool = False) -> float:
    """Return a figure in the unit of its axis."""
    if not in_percent(metric):
        return value
    return 100 * (1 - value) if as_error else 100 * value


def _draw_line(axes: "Axes", line: Line, metric: str, *, as_error: bool) -> None:
    known = {x: cell for x, cell in line.cells.items() if finite(cell.mean)}
    places = sorted(known)
    means = [shown_value(known[x].mean or 0.0, metric, as_error=as_error) for x in places]
    scale = 100.0 if in_percent(metric) else 1.0
    spreads = [scale * (known[x].deviation or 0.0) for x in places]
    low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
    high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
    axes.fill_between(places, low, high, color=line.style.colour, alpha=0.14, linewidth=0)
    axes.plot(places, means, label=line.label, **line_look(line.style))
    for x, mean in zip(places, means, strict=True):
        look = point_look(line.style)
        if not known[x].competes:
            look |= {"markerfacecolor": "white", "markeredgecolor": line.style.colour}
        axes.plot([x], [mean], zorder=3, **look)


def _mark_lost(axes: "Axes", panel: Panel, worse: int) -> bool:
    """Mark at the bad end what diverged altogether; return whether anything did."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    figure = axes.get_figure(root=True)
    assert figure is not None
    lost: dict[float, list[Line]] = {}
    for line in panel.lines:
        for x in (x for x, cell in line.cells.items() if _is_lost(cell)):
            lost.setdefault(x, []).append(line)
    for x, lines in lost.items():
        for number, line in enumerate(lines):
            aside = DODGE * (number - (len(lines) - 1) / 2)
            shift = ScaledTranslation(aside, 0, figure.dpi_scale_trans)
            place = blended_transform_factory(axes.transData, axes.transAxes) + shift
            height = 0.94 if worse > 0 else 0.06
            axes.plot([x], [height], "x", color=line.style.colour, transform=place, markersize=4)
    return bool(lost)


def _is_lost(cell: Cell) -> bool:
    return not cell.values and cell.states["diverged"] > 0


def _make_room(axes: "Axes", worse: int, *, lost: bool) -> None:
    """Leave a strip at the bad end for the marks of lost runs."""
    low, high = axes.get_ylim()
    strip = 0.14 * (high - low) if lost else 0.0
    axes.set_ylim(low - (strip if worse < 0 else 0), high + (strip if worse > 0 else 0))
