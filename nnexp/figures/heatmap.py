"""`channels.csv` → a heat map of each layer's running mean and variance: channels × steps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nnexp.compare.columns import Row
from nnexp.figures.drawing import PAGE, styled
from nnexp.figures.tables import read_drawn
from nnexp.rundir import RunDir
from nnexp.settings import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

LOST = "#b9bfc6"
MOST_TICKS = 7
CELL = ["layer", "channel", "quantity", "step", "value"]


def draw_heatmap(run: RunDir, layer: str | None = None) -> "Figure":
    """Return a row of panels per layer: mean left, in blue and red about zero, variance right.

    What is not finite, as in a run that diverged, is grey.

    Raises:
        ConfigError: The run has no `channels.csv`, or no such layer.
    """
    from matplotlib.figure import Figure

    table = load_channels(run, layer)
    layers = list(dict.fromkeys(table["layer"]))
    quantities = sorted(set(table["quantity"]))  # the mean, then the variance
    with styled():
        figure = Figure(figsize=(PAGE, 0.6 + 1.25 * len(layers)), layout="constrained")
        panels = figure.subplots(len(layers), 2, squeeze=False)
        for name, pair in zip(layers, panels, strict=True):
            for axes, quantity in zip(pair, quantities, strict=True):
                _draw_panel(axes, table, name, quantity)
            pair[0].set_ylabel(f"{name}\nchannel")
        for axes in panels[-1]:
            axes.set_xlabel("optimizer steps (as traced, even in log)")
        for axes, quantity in zip(panels[0], quantities, strict=True):
            axes.set_title(quantity.replace("_", " "), loc="left")
    return figure


def channel_numbers(run: RunDir, layer: str | None = None) -> list[Row]:
    """Return a row for each cell that `draw_heatmap` draws; what is not finite is grey there."""
    table = load_channels(run, layer)
    return [
        {
            "panel": name,
            "line": f"channel {channel}",
            "quantity": quantity.replace("_", " "),
            "x": step,
            "value": value,
        }
        for name, channel, quantity, step, value in table[CELL].to_numpy(object)
    ]


def load_channels(run: RunDir, layer: str | None = None) -> pd.DataFrame:
    """Return `channels.csv` of a run, or of one layer: a row per quantity, channel and step.

    Raises:
        ConfigError: It was run without, they cannot be read, or there is no such layer.
    """
    columns = read_drawn(run, "channels")
    if not columns:
        raise ConfigError(
            f"{run.path.name} has no single channels", "run it with trace.channels=16"
        )
    table = pd.DataFrame(columns)
    layers = list(dict.fromkeys(table["layer"]))
    if layer is None:
        return table
    if layer not in layers:
        raise ConfigError(f"no layer {layer!r} in {run.path.name}", f"layers: {', '.join(layers)}")
    return table.loc[table["layer"] == layer]


def _draw_panel(axes: "Axes", channels: pd.DataFrame, layer: str, quantity: str) -> None:
    part = channels[(channels["layer"] == layer) & (channels["quantity"] == quantity)]
    table = part.pivot(index="channel", columns="step", values="value")
    values = np.ma.masked_invalid(table.to_numpy(dtype=float))
    signed = quantity.endswith("mean")
    image = axes.imshow(
        values,
        aspect="auto",
        interpolation="nearest",
        cmap="RdBu_r" if signed else "viridis",
        norm=_scale(values, signed=signed),
    )
    axes.set_facecolor(LOST)
    _add_scale(axes, image)
    _tick(axes, list(table.columns), list(table.index))


def _add_scale(axes: "Axes", image: "AxesImage") -> None:
    """Put the colours' scale beside a panel; one in log has its ends and its middle."""
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    figure = axes.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=12)
    low, high = image.get_clim()
    if isinstance(image.norm, LogNorm):
        bar.ax.yaxis.set_major_locator(FixedLocator([low, (low * high) ** 0.5, high]))
        bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:.2g}"))
        bar.ax.yaxis.set_minor_locator(NullLocator())


def _scale(values: np.ma.MaskedArray, *, signed: bool) -> "Normalize":
    """Return symmetric about zero for means; for variances log where all are above zero."""
    from matplotlib.colors import LogNorm, Normalize

    known = values.compressed()
    if not len(known):
        return Normalize(0, 1)
    if signed:
        most = float(np.abs(known).max()) or 1.0
        return Normalize(-most, most)
    if known.min() > 0 and known.max() > 3 * known.min():
        return LogNorm(float(known.min()), float(known.max()))
    return Normalize(float(known.min()), float(known.max()))


def _tick(axes: "Axes", steps: Sequence[int], channels: Sequence[int]) -> None:
    places = sorted({round(at) for at in np.linspace(0, len(steps) - 1, MOST_TICKS)})
    axes.set_xticks(places, [f"{steps[at]:g}" for at in places])
    places = sorted({round(at) for at in np.linspace(0, len(channels) - 1, 3)})
    axes.set_yticks(places, [str(channels[at]) for at in places])
