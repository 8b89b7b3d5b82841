"""`probes.csv` of runs → what each norm does inside: over the steps, and through the depth."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnexp.compare.columns import Row
from nnexp.compare.grid import lay_out
from nnexp.compare.selection import Group, values_of
from nnexp.figures.colours import Style
from nnexp.figures.drawing import add_legend, line_look, open_panels, seeds_in_words, styled
from nnexp.figures.series import line_settings, line_styles
from nnexp.rundir import RunDir, read_table
from nnexp.settings import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DECADES = 1e-4  # of the highest; what lies below is not worth the room
ProbeTable = list[dict[str, Any]]
Line = tuple[list[float], list[float]]  # places, values
OVER_STEPS = {
    "covariate_shift": "covariate shift",
    "activation_drift": "activation drift",
}
THROUGH_DEPTH = {
    "activation_std": "std of outputs, step 0",
    "gradient_norm": "gradient norm, step 0",
}


def draw_probes(rows: Sequence[Row], columns: int = 2) -> "Figure":
    """Return four panels: shift and drift over the steps, outputs and gradients through the depth.

    Over the steps a run counts with the median of its layers; a line is the mean over seeds, its
    band goes from the lowest seed to the highest.

    Raises:
        ConfigError: No run has a `probes.csv`, or more than the norm and the seed varies.
    """
    rows = [row for row in rows if RunDir(Path(row["folder"])).probes.exists()]
    if not rows:
        raise ConfigError("no run here has a probes.csv", "run them with probe.points=20")
    keys = line_settings(rows)
    if more := lay_out(rows, keys, []).layers:
        raise ConfigError(
            f"probes draws one {more[0]} at a time", f"choose one: --where {more[0]}=VALUE"
        )
    styles = line_styles(rows, keys)
    tables: dict[Group, list[ProbeTable]] = {}
    for row in rows:
        table = read_table(RunDir(Path(row["folder"])).probes, words=("layer", "quantity"))
        tables.setdefault(values_of(row, keys), []).append(table)
    with styled():
        figure, axes = open_panels(len(OVER_STEPS) + len(THROUGH_DEPTH), columns, 1.9)
        named = {**OVER_STEPS, **THROUGH_DEPTH}
        for one, (quantity, words) in zip(axes, named.items(), strict=True):
            _draw_panel(one, quantity, tables, {group: styles[group][1] for group in tables})
            one.set_ylabel(words)
        seeds = seeds_in_words(len(of_seeds) for of_seeds in tables.values())
        note = f"mean of {seeds}, band: lowest to highest seed; over steps: median of the layers"
        add_legend(figure, {styles[group][0]: styles[group][1] for group in tables}, note)
    return figure


def over_steps(table: ProbeTable, quantity: str) -> Line:
    """Return a quantity at each probed step, the median of the layers it was taken at."""
    return _collected(
        ((row["step"], row["value"]) for row in table if row["quantity"] == quantity),
        statistics.median,
    )


def through_depth(table: ProbeTable, quantity: str) -> Line:
    """Return a quantity of each weight layer before the first step, the first layer being 1."""
    values = [row["value"] for row in table if row["quantity"] == quantity and row["step"] == 0]
    return [float(place) for place in range(1, len(values) + 1)], values


def _draw_panel(
    axes: "Axes",
    quantity: str,
    tables: dict[Group, list[ProbeTable]],
    styles: dict[Group, Style],
) -> None:
    taken = over_steps if quantity in OVER_STEPS else through_depth
    for group, of_seeds in tables.items():
        places, values = _joined([taken(table, quantity) for table in of_seeds])
        low, high = [min(each) for each in values], [max(each) for each in values]
        means = [statistics.fmean(each) for each in values]
        axes.fill_between(places, low, high, color=styles[group].colour, alpha=0.14, linewidth=0)
        axes.plot(places, means, **line_look(styles[group]))
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(bottom=max(low, high * DECADES))  # the last step of a cosine moves nothing
    if quantity in OVER_STEPS:
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlabel("optimizer steps (0, then log)")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlim(left=0)
    else:
        axes.set_xlabel("weight layer, from the image on")
    axes.yaxis.set_major_formatter("{x:g}")


def _joined(lines: Iterable[Line]) -> tuple[list[float], list[list[float]]]:
    """Return the values of all seeds at each place, those that a log axis has a place for."""
    pairs = ((x, y) for places, values in lines for x, y in zip(places, values, strict=True))
    return _gathered((x, y) for x, y in pairs if math.isfinite(y) and y > 0)


def _collected(
    pairs: Iterable[tuple[float, float]], summary: Callable[[list[float]], float]
) -> Line:
    places, values = _gathered((x, y) for x, y in pairs if math.isfinite(y))
    return places, [summary(each) for each in values]


def _gathered(pairs: Iterable[tuple[float, float]]) -> tuple[list[float], list[list[float]]]:
    found: dict[float, list[float]] = {}
    for place, value in pairs:
        found.setdefault(place, []).append(value)
    places = sorted(found)
    return places, [found[place] for place in places]
