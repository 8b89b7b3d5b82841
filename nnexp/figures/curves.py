"""`metrics.csv` of runs → curves of loss and accuracy over the epochs, mean and band over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnexp.compare.columns import Row
from nnexp.compare.grid import lay_out
from nnexp.compare.selection import Group, grouped, values_of
from nnexp.compare.statistics import deviation_of, mean_of
from nnexp.figures.colours import Style
from nnexp.figures.drawing import (
    add_legend,
    line_look,
    open_panels,
    seeds_in_words,
    set_title,
    styled,
)
from nnexp.figures.series import line_settings, line_styles, title_of
from nnexp.rundir import RunDir, read_table
from nnexp.settings import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES_OF_PANELS = 24
QUANTITIES = {
    "train_loss": "train loss",
    "val_loss": "val loss",
    "train_accuracy": "train accuracy %",
    "val_accuracy": "val accuracy %",
}
Epochs = list[dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One quantity over the epochs that every seed has reached with a finite figure."""

    epochs: list[float]
    means: list[float]
    deviations: list[float]  # 0 where there is one seed


def draw_curves(rows: Sequence[Row], columns: int = 4) -> "Figure":
    """Return a row of panels for each combination of what varies beside the norm and the seed.

    A line ends with the first seed that is lost, so that no mean is one of survivors.

    Raises:
        ConfigError: No run has a `metrics.csv`, or there are too many panels.
    """
    rows = [row for row in rows if RunDir(Path(row["folder"])).metrics.exists()]
    if not rows:
        raise ConfigError("no run here has a metrics.csv", "curves need the folders of the runs")
    keys = line_settings(rows)
    names = lay_out(rows, keys, []).layers
    layers = grouped(rows, names)
    if len(layers) > MOST_LINES_OF_PANELS:
        raise ConfigError(
            f"curves of {len(layers)} combinations of settings do not fit into one figure",
            "choose some: --where batch_size=128",
        )
    styles = line_styles(rows, keys)
    with styled():
        figure, axes = open_panels(len(QUANTITIES) * len(layers), columns, 1.55)
        for position, (layer, members) in enumerate(layers):
            start = position * len(QUANTITIES)
            block = axes[start : start + len(QUANTITIES)]
            _draw_row(block, members, keys, styles)
            set_title(block[0], title_of(dict(zip(names, layer, strict=True))), 1)
        seeds = seeds_in_words(len(members) for _, members in grouped(rows, [*names, *keys]))
        note = f"mean of {seeds}, band: ± sample standard deviation"
        add_legend(figure, dict(styles.values()), note, points=False)
    return figure


def mean_curve(tables: Sequence[Epochs], quantity: str) -> Curve:
    """Return mean and sample standard deviation over the runs, epoch by epoch."""
    epochs, means, deviations = [], [], []
    for of_seeds in zip(*tables, strict=False):
        values = [epoch[quantity] for epoch in of_seeds]
        if not all(map(math.isfinite, values)):
            break
        epochs.append(of_seeds[0]["epoch"])
        means.append(mean_of(values) or 0.0)
        deviations.append(deviation_of(values) or 0.0)
    return Curve(epochs=epochs, means=means, deviations=deviations)


def _draw_row(
    axes: Sequence["Axes"],
    rows: Sequence[Row],
    keys: Sequence[str],
    styles: dict[Group, tuple[str, Style]],
) -> None:
    from matplotlib.ticker import MaxNLocator

    groups: dict[Group, list[Epochs]] = {}
    for row in rows:
        table = read_table(RunDir(Path(row["folder"])).metrics)
        groups.setdefault(values_of(row, keys), []).append(table)
    for one, (quantity, words) in zip(axes, QUANTITIES.items(), strict=True):
        scale = 100.0 if "accuracy" in quantity else 1.0
        for group, tables in groups.items():
            _draw_curve(one, mean_curve(tables, quantity), scale, styles[group][1])
        one.set_xlabel("epoch")
        one.set_ylabel(words)
        one.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    _share_heights(axes[:2])
    _share_heights(axes[2:])


def _draw_curve(axes: "Axes", curve: Curve, scale: float, style: Style) -> None:
    means = [scale * mean for mean in curve.means]
    low = [m - scale * d for m, d in zip(means, curve.deviations, strict=True)]
    high = [m + scale * d for m, d in zip(means, curve.deviations, strict=True)]
    axes.fill_between(curve.epochs, low, high, color=style.colour, alpha=0.14, linewidth=0)
    axes.plot(curve.epochs, means, **line_look(style))


def _share_heights(axes: Sequence["Axes"]) -> None:
    """Give training and validation one vertical scale, so that the gap can be seen."""
    low, high = zip(*(one.get_ylim() for one in axes), strict=True)
    for one in axes:
        one.set_ylim(min(low), max(high))
