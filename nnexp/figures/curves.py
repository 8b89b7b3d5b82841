"""`metrics.csv` of runs → curves of loss and accuracy over the epochs, mean and band over seeds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnexp.compare.columns import Row
from nnexp.compare.grid import lay_out
from nnexp.compare.intervals import no_interval, student
from nnexp.compare.selection import Group, grouped, values_of
from nnexp.figures.chance import chance_of
from nnexp.figures.colours import Style
from nnexp.figures.drawing import (
    INTERVAL,
    add_legend,
    check_panels,
    line_look,
    mark_chance,
    open_panels,
    point_look,
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

MOST_ROWS = 24  # of panels
QUANTITIES = {
    "train_loss": "train loss",
    "val_loss": "val loss",
    "train_accuracy": "train accuracy %",
    "val_accuracy": "val accuracy %",
}
Epochs = list[dict[str, float]]
Curve = tuple[np.ndarray, np.ndarray, np.ndarray]  # epochs, means, deviations


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRow:
    """The curves of the runs that share the settings in the title."""

    title: str
    curves: dict[str, dict[Group, Curve]]  # quantity → line → its curve
    seeds: dict[Group, int]  # line → the runs it is the mean of


def curve_rows(rows: Sequence[Row], keys: Sequence[str] = ()) -> list[CurveRow]:
    """Return a row of panels for each combination of what varies beside the norm and the seed.

    A line ends with the first seed that is lost, so that no mean is one of survivors. `keys` are
    the settings that make a line, by default those that these rows need.

    Raises:
        ConfigError: No run has a `metrics.csv`, or there are too many panels.
    """
    rows = _with_metrics(rows)
    keys = keys or line_settings(rows)
    names = lay_out(rows, keys, []).layers
    layers = grouped(rows, names)
    check_panels(len(layers), MOST_ROWS, "curves")
    return [
        CurveRow(
            title=title_of(dict(zip(names, layer, strict=True))),
            curves=_curves(members, keys),
            seeds=Counter(values_of(row, keys) for row in members),
        )
        for layer, members in layers
    ]


def curve_numbers(rows: Sequence[Row], *, intervals: bool = False) -> list[Row]:
    """Return a row for each epoch of each curve that `draw_curves` draws."""
    panels = curve_rows(rows)
    rows = _with_metrics(rows)
    styles = line_styles(rows, line_settings(rows))
    return [
        {
            "panel": panel.title,
            "line": styles[group][0],
            "quantity": QUANTITIES[quantity],
            "x": epoch,
            "mean": mean,
            "deviation": deviation if panel.seeds[group] > 1 else None,
            **(_bounds(mean, deviation, panel.seeds[group]) if intervals else {}),
            "n": panel.seeds[group],
        }
        for panel in panels
        for quantity, lines in panel.curves.items()
        for group, curve in lines.items()
        for epoch, mean, deviation in np.column_stack(curve).tolist()
    ]


def _bounds(mean: float, deviation: float, seeds: int) -> Row:
    reach = deviation * interval_factor(seeds)
    return {"low": mean - reach, "high": mean + reach} if reach else {"low": None, "high": None}


def interval_factor(seeds: int) -> float:
    """Return how many deviations of its seeds a mean's interval reaches: Student's t; 0 for one."""
    return student(seeds - 1) / seeds**0.5 if seeds > 1 else 0.0


def curves_note(rows: Sequence[Row], *, intervals: bool = False) -> str:
    """Return how many seeds the curves are the mean of, and what their bands are."""
    rows = _with_metrics(rows)
    keys = line_settings(rows)
    names = lay_out(rows, keys, []).layers
    counts = [len(members) for _, members in grouped(rows, [*names, *keys])]
    width = f"{INTERVAL} at each epoch" if intervals else "± sample standard deviation"
    band = f", band: {width}" if max(counts) > 1 else ""
    return f"mean of {seeds_in_words(counts)}{band}"


def draw_curves(rows: Sequence[Row], across: int = 4, *, intervals: bool = False) -> "Figure":
    """Return the curves of each combination of settings as a row of panels.

    Raises:
        ConfigError: No run has a `metrics.csv`, or there are too many panels; or intervals are
            asked for, and no curve is of several seeds.
    """
    panels = curve_rows(rows)
    if intervals and max(count for row in panels for count in row.seeds.values()) < 2:
        raise no_interval()
    rows = _with_metrics(rows)
    styles = line_styles(rows, line_settings(rows))
    with styled():
        figure, axes = open_panels(len(QUANTITIES) * len(panels), across, 1.55)
        for position, row in enumerate(panels):
            start = position * len(QUANTITIES)
            block = axes[start : start + len(QUANTITIES)]
            widths = {
                line: interval_factor(n) if intervals else 1.0 for line, n in row.seeds.items()
            }
            _draw_row(block, row.curves, styles, widths)
            set_title(block[0], row.title, 1)
        guess = (chance := chance_of(rows, "val_accuracy")) and 100 * chance.accuracy
        guessed = mark_chance((one for at, one in enumerate(axes) if at % 4 > 1), guess)
        note = curves_note(rows, intervals=intervals) + ("; dotted: chance" if guessed else "")
        alone = any(np.size(line.get_xdata()) == 1 for one in axes for line in one.lines)
        add_legend(figure, dict(styles.values()), note, points=alone)
    return figure


def mean_curve(tables: Sequence[Epochs], quantity: str) -> Curve:
    """Return epochs, means and sample standard deviations over the runs, as far as all go on.

    One run has deviations of 0.
    """
    length = min(map(len, tables))
    values = np.array([[epoch[quantity] for epoch in table[:length]] for table in tables])
    lost = np.flatnonzero(~np.isfinite(values).all(axis=0))
    values = values[:, : lost[0] if len(lost) else length]
    epochs = np.array([epoch["epoch"] for epoch in tables[0][: values.shape[1]]])
    return epochs, values.mean(axis=0), values.std(axis=0, ddof=min(1, len(tables) - 1))


def _with_metrics(rows: Sequence[Row]) -> list[Row]:
    kept = [row for row in rows if RunDir(Path(row["folder"])).metrics.exists()]
    if not kept:
        raise ConfigError("no run here has a metrics.csv", "curves need the folders of the runs")
    return kept


def _curves(rows: Sequence[Row], keys: Sequence[str]) -> dict[str, dict[Group, Curve]]:
    """Return each quantity's curve of each line, accuracies in percent."""
    groups: dict[Group, list[Epochs]] = {}
    for row in rows:
        table = read_table(RunDir(Path(row["folder"])).metrics)
        groups.setdefault(values_of(row, keys), []).append(table)
    curves: dict[str, dict[Group, Curve]] = {}
    for quantity in QUANTITIES:
        scale = 100.0 if "accuracy" in quantity else 1.0
        for group, tables in groups.items():
            epochs, means, spreads = mean_curve(tables, quantity)
            curves.setdefault(quantity, {})[group] = epochs, scale * means, scale * spreads
    return curves


def _draw_row(
    axes: Sequence["Axes"],
    curves: dict[str, dict[Group, Curve]],
    styles: dict[Group, tuple[str, Style]],
    widths: dict[Group, float],  # of a band to each side, in deviations
) -> None:
    from matplotlib.ticker import MaxNLocator

    for one, (quantity, lines) in zip(axes, curves.items(), strict=True):
        for group, (epochs, means, spreads) in lines.items():
            low, high = means - widths[group] * spreads, means + widths[group] * spreads
            style = styles[group][1]
            if len(epochs) == 1:  # through which no line and no band goes
                one.vlines(epochs, low, high, color=style.colour, linewidth=1)
                one.plot(epochs, means, **point_look(style))
                continue
            one.fill_between(epochs, low, high, color=style.colour, alpha=0.14, linewidth=0)
            one.plot(epochs, means, **line_look(style))
        one.set_xlabel("epoch")
        one.set_ylabel(QUANTITIES[quantity])
        one.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    for pair in (axes[:2], axes[2:]):  # one scale for training and validation shows their gap
        low, high = zip(*(one.get_ylim() for one in pair), strict=True)
        for one in pair:
            one.set_ylim(min(low), max(high))
