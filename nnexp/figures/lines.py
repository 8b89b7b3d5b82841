"""Rows → a figure against batch size or learning rate: a line for each norm, over seeds."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from nnexp.compare.columns import Row
from nnexp.compare.grid import Cell
from nnexp.compare.metrics import metric_of
from nnexp.figures.chance import chance_of
from nnexp.figures.colours import DIVERGED_MARKER
from nnexp.figures.drawing import (
    COLUMN,
    INTERVAL,
    PAGE,
    add_legend,
    balanced,
    check_panels,
    line_look,
    mark_chance,
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
    from matplotlib.transforms import ScaledTranslation

MOST_PANELS = 30
APART = 0.045  # inches between the marks of two lines at one place
CAP = 6  # points, of the ends of a bar: wider than a mark, which may hide a short bar
NEAREST = 0.3  # share of the way to the next place that all marks of one place take at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One place of a line, in the unit of the axis."""

    x: float
    mean: float | None  # None: all runs diverged
    deviation: float | None  # None: fewer than two runs are done
    low: float | None  # of the mean's interval, where this was asked and is known
    high: float | None
    n: int  # runs that are done
    diverged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesPlan:
    """What is drawn over an axis: a metric, an accuracy as its error or as it is, how sure."""

    metric: str
    axis: str
    as_error: bool = False
    intervals: bool = False  # 95 % intervals of the means instead of standard deviations


def over_batch_size(metric: str, *, intervals: bool = False) -> LinesPlan:
    """Return the plan of a metric against batch size, an accuracy as its error in percent."""
    as_error = metric_of(metric).is_accuracy
    return LinesPlan(metric=metric, axis="batch_size", as_error=as_error, intervals=intervals)


def over_rates(metric: str, *, intervals: bool = False) -> LinesPlan:
    """Return the plan of a metric against the learning rate."""
    return LinesPlan(metric=metric, axis="optimizer.learning_rate", intervals=intervals)


def line_numbers(rows: Sequence[Row], plan: LinesPlan) -> list[Row]:
    """Return a row for each point that `draw_lines` draws."""
    quantity = quantity_label(plan.metric, as_error=plan.as_error)
    rows = [
        {"panel": panel.title, "line": line.label, "quantity": quantity, **asdict(point)}
        for panel in make_panels(rows, plan.metric, plan.axis, intervals=plan.intervals)
        for line in panel.lines
        for point in _points(line, plan)
    ]
    return rows if plan.intervals else without_intervals(rows)


def without_intervals(rows: Sequence[Row]) -> list[Row]:
    """Return a figure's numbers as they are where no intervals are drawn."""
    return [{k: v for k, v in row.items() if k not in ("low", "high")} for row in rows]


def _points(line: Line, plan: LinesPlan) -> list[Point]:
    """Return what is drawn of a line; a place whose runs merely are not done has no point."""
    scale = 100.0 if metric_of(plan.metric).in_percent else 1.0
    points = []
    for x, cell in sorted(line.cells.items()):
        if not finite(cell.mean) and not _is_lost(cell):
            continue
        mean, *ends = (
            shown_value(value, plan.metric, as_error=plan.as_error)
            for value in (cell.mean or 0.0, *(cell.interval or ()))
        )
        low, high = sorted(ends) or (None, None)
        points.append(
            Point(
                x=x,
                mean=None if _is_lost(cell) else mean,
                deviation=None if cell.deviation is None else scale * cell.deviation,
                low=low,
                high=high,
                n=len(cell.values),
                diverged=cell.statuses["diverged"],
            )
        )
    return points


def draw_lines(rows: Sequence[Row], plan: LinesPlan, across: int = 3) -> "Figure":
    """Return a figure: mean over seeds, a band of one sample standard deviation to each side.

    With intervals, bars of these stand in place of the band. A hollow point is a mean over those
    that survived; where none did, a cross stands at the bad end of the panel. Lines stand a little
    aside of each other.

    Raises:
        ConfigError: All runs have one value of the axis, or no mean has an interval.
    """
    metric, axis, as_error = plan.metric, plan.axis, plan.as_error
    panels = make_panels(rows, metric, axis, intervals=plan.intervals)
    check_panels(len(panels), MOST_PANELS, f"lines over {plain(axis)}")
    worse = 1 if as_error or metric_of(metric).better < 0 else -1
    across = balanced(len(panels), across)
    chance = chance_of(rows, metric)
    with styled():
        figure, axes = open_panels(len(panels), across, sharey=True)
        labels = {line.label: line.style for panel in panels for line in panel.lines}
        places = sorted({x for panel in panels for line in panel.lines for x in line.cells})
        apart = min(APART, _room(places, across) / len(labels))
        asides = {label: apart * (at - (len(labels) - 1) / 2) for at, label in enumerate(labels)}
        for one, panel in zip(axes, panels, strict=True):
            number_ticks(one, places)
            for line in panel.lines:
                points = _points(line, plan)
                _draw_line(one, line, points, asides[line.label], bars=plan.intervals)
                _mark_lost(one, line, asides[line.label], worse)
            set_title(one, panel.title, across)
            one.set_xlabel(plain(axis))
        _make_room(axes[0], panels, worse)
        guess = chance and shown_value(chance.accuracy, metric, as_error=as_error)
        note = _note(panels, intervals=plan.intervals, guessed=mark_chance(axes, guess))
        for one in axes[::across]:
            one.set_ylabel(quantity_label(metric, as_error=as_error))
        add_legend(figure, labels, note)
    return figure


def _room(places: Sequence[float], across: int) -> float:
    """Return how many inches the marks of one place may take beside each other."""
    width = 0.8 * min(COLUMN, PAGE / across)
    nearest = min(math.log(b / a) for a, b in itertools.pairwise(places))
    return NEAREST * width * nearest / math.log(places[-1] / places[0])


def _note(panels: Sequence[Panel], *, intervals: bool, guessed: bool) -> str:
    cells = _cells(panels)
    words = f"mean of {seeds_in_words(len(cell.values) for cell in cells)}"
    if intervals:
        words += f", bar: {INTERVAL}"
    elif any(len(cell.values) > 1 for cell in cells):
        words += ", band: ± sample standard deviation"
    if any(cell.values and cell.statuses["diverged"] for cell in cells):
        words += "; hollow: without diverged runs"
    if any(_is_lost(cell) for cell in cells):
        words += "; ×: all diverged"
    if len({line.label for panel in panels for line in panel.lines}) > 1:
        words += "; lines are set a little apart"
    return words + ("; dotted: chance" if guessed else "")


def quantity_label(metric: str, *, as_error: bool = False) -> str:
    """Return what an axis says of a metric, with its unit."""
    name = metric.replace("accuracy", "error") if as_error else metric
    return metric_of(metric).with_unit(plain(name))


def shown_value(value: float, metric: str, *, as_error: bool = False) -> float:
    """Return a value in the unit of its axis."""
    if not metric_of(metric).in_percent:
        return value
    return 100 * (1 - value) if as_error else 100 * value


def _draw_line(
    axes: "Axes", line: Line, points: Sequence[Point], aside: float, *, bars: bool
) -> None:
    known = [(point, point.mean) for point in points if point.mean is not None]
    places = [point.x for point, _ in known]
    means = [mean for _, mean in known]
    reaches = [_ends(point, mean, bars=bars) for point, mean in known]
    low, high = ([ends[side] for ends in reaches] for side in (0, 1))
    place = axes.transData + _shift(axes, aside)
    look = {"color": line.style.colour, "transform": place}
    if bars:
        for x, ends in zip(places, reaches, strict=True):
            if ends[0] < ends[1]:
                axes.plot([x, x], ends, "_-", markersize=CAP, linewidth=1, zorder=2.5, **look)
    else:
        axes.fill_between(places, low, high, alpha=0.14, linewidth=0, **look)
    axes.plot(places, means, label=line.label, transform=place, **line_look(line.style))
    for point, mean in known:
        look = point_look(line.style)
        if point.diverged:
            look |= {"markerfacecolor": "white", "markeredgecolor": line.style.colour}
        axes.plot([point.x], [mean], zorder=3, transform=place, **look)
    ends = [*zip(places, low, strict=True), *zip(places, high, strict=True)]
    axes.update_datalim(ends)  # what is shifted does not take part by itself
    axes.autoscale_view(scalex=False)


def _ends(point: Point, mean: float, *, bars: bool) -> tuple[float, float]:
    """Return from where to where a bar or a band goes; both at the mean where there is none."""
    if bars and point.low is not None and point.high is not None:
        return point.low, point.high
    if bars:
        return mean, mean
    return mean - (point.deviation or 0.0), mean + (point.deviation or 0.0)


def _shift(axes: "Axes", inches: float) -> "ScaledTranslation":
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure(root=True)
    assert figure is not None
    return ScaledTranslation(inches, 0, figure.dpi_scale_trans)


def _mark_lost(axes: "Axes", line: Line, aside: float, worse: int) -> None:
    """Mark at the bad end what diverged altogether."""
    from matplotlib.transforms import blended_transform_factory

    place = blended_transform_factory(axes.transData, axes.transAxes) + _shift(axes, aside)
    height = 0.94 if worse > 0 else 0.06
    look = {"marker": DIVERGED_MARKER, "color": line.style.colour, "markersize": 4}
    for x in (x for x, cell in line.cells.items() if _is_lost(cell)):
        axes.plot([x], [height], transform=place, **look)


def _is_lost(cell: Cell) -> bool:
    return not cell.values and cell.statuses["diverged"] > 0


def _make_room(axes: "Axes", panels: Sequence[Panel], worse: int) -> None:
    """Leave a strip at the bad end for the marks of lost runs."""
    if any(_is_lost(cell) for cell in _cells(panels)):
        low, high = axes.get_ylim()
        strip = 0.14 * (high - low)
        axes.set_ylim(low - (strip if worse < 0 else 0), high + (strip if worse > 0 else 0))


def _cells(panels: Sequence[Panel]) -> list[Cell]:
    return [cell for panel in panels for line in panel.lines for cell in line.cells.values()]
