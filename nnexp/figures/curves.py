"""`metrics.csv` of runs → curves of loss and accuracy over the epochs, mean and band over seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnexp.compare.columns import Row
from nnexp.compare.grid import lay_out
from nnexp.compare.selection import Group, grouped, values_of
from nnexp.figures.chance import chance_of
from nnexp.figures.colours import Style
from nnexp.figures.drawing import (
    add_legend,
    check_panels,
    line_look,
    mark_chance,
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

MOST_ROWS = 24  # of panels
QUANTITIES = {
    "train_loss": "train loss",
    "val_loss": "val loss",
    "train_accuracy": "train accuracy %",
    "val_accuracy": "val accuracy %",
}
Epochs = list[dict[str, float]]
Curve = tuple[np.ndarray, np.ndarray, np.ndarray]  # epochs, means, deviations


def draw_curves(rows: Sequence[Row], across: int = 4) -> "Figure":
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
    check_panels(len(layers), MOST_ROWS, "curves")
    styles = line_styles(rows, keys)
    with styled():
        figure, axes = open_panels(len(QUANTITIES) * len(layers), across, 1.55)
        for position, (layer, members) in enumerate(layers):
            start = position * len(QUANTITIES)
            block = axes[start : start + len(QUANTITIES)]
            _draw_row(block, members, keys, styles)
            set_title(block[0], title_of(dict(zip(names, layer, strict=True))), 1)
        counts = [len(members) for _, members in grouped(rows, [*names, *keys])]
        note = f"mean of {seeds_in_words(counts)}"
        note += ", band: ± sample standard deviation" if max(counts) > 1 else ""
        guess = (chance := chance_of(rows, "val_accuracy")) and 100 * chance.accuracy
        guessed = mark_chance((one for at, one in enumerate(axes) if at % 4 > 1), guess)
        note += "; dotted: chance" if guessed else ""
        add_legend(figure, dict(styles.values()), note, points=False)
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
            epochs, means, spreads = mean_curve(tables, quantity)
            low, high = scale * (means - spreads), scale * (means + spreads)
            style = styles[group][1]
            one.fill_between(epochs, low, high, color=style.colour, alpha=0.14, linewidth=0)
            one.plot(epochs, scale * means, **line_look(style))
        one.set_xlabel("epoch")
        one.set_ylabel(words)
        one.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    for pair in (axes[:2], axes[2:]):  # one scale for training and validation shows their gap
        low, high = zip(*(one.get_ylim() for one in pair), strict=True)
        for one in pair:
            one.set_ylim(min(low), max(high))
