"""A run's running statistics, from `traces.csv` to a figure, a picture in the terminal, a CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnexp.compare.columns import Row
from nnexp.console import printable
from nnexp.figures.drawing import (
    PAGE,
    add_line_legend,
    log_ticks,
    open_panels,
    set_title,
    step_ticks,
    styled,
)
from nnexp.figures.tables import read_drawn
from nnexp.rundir import RunDir
from nnexp.settings import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BARS = "▁▂▃▄▅▆▇█"
LOST = "×"
WIDTH = 32  # bars in a sparkline
SETTLED = 0.05  # share of the whole movement within which a statistic counts as settled


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """How one quantity of one layer moved, averaged over the layer's channels."""

    layer: str
    quantity: str
    steps: np.ndarray  # (T,)
    values: np.ndarray  # (T,)

    @property
    def settled_at(self) -> int | None:
        """The first traced step from which on it stays within 5 % of its whole range of its end.

        None where it did not end at a finite value.
        """
        if not np.isfinite(self.values).all():
            return None
        room = SETTLED * float(np.ptp(self.values))
        outside = np.flatnonzero(np.abs(self.values - self.values[-1]) > room)
        return int(self.steps[0 if len(outside) == 0 else outside[-1] + 1])

    @property
    def sparkline(self) -> str:
        """The line as a row of bars from its lowest to its highest, even in log step.

        What is not finite, as in a run that diverged, is shown as ×.
        """
        places = np.log1p(self.steps)
        at = np.linspace(places[0], places[-1], WIDTH)
        finite = np.isfinite(self.values)
        if not finite.any():
            return LOST * WIDTH
        known = self.values[finite]
        values = np.interp(at, places[finite], known)
        span = float(np.ptp(known)) or 1.0
        levels = ((values - known.min()) / span * (len(BARS) - 1)).round().astype(int)
        lost = np.interp(at, places, (~finite).astype(float)) > 0
        return "".join(LOST if gone else BARS[n] for n, gone in zip(levels, lost, strict=True))


def load_traces(run: RunDir) -> "pd.DataFrame":
    """Return `traces.csv` of a run, one row per layer, quantity and step.

    Raises:
        ConfigError: There is no such run, it was run without traces, or they cannot be read.
    """
    import pandas as pd  # takes most of a second

    if not run.path.is_dir():
        raise ConfigError(
            f"no run at {run.path}", "name a folder under runs/, as nnexp train printed it"
        )
    columns = read_drawn(run, "traces")
    if not columns:
        raise ConfigError(f"{run.path} has no traces", "run it with trace.points=50 (the default)")
    return pd.DataFrame(columns)


def load_series(
    traces: "pd.DataFrame | dict[str, list[Any]]", layer: str | None = None
) -> list[Series]:
    """Return the line of every layer and quantity of a table, in the order of the network.

    Raises:
        ConfigError: No layer has that name.
    """
    names = list(dict.fromkeys(traces["layer"]))
    if layer is not None and layer not in names:
        raise ConfigError(f"no layer {layer!r} in these traces", f"layers: {', '.join(names)}")
    points: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for name, quantity, *point in zip(
        *(traces[column] for column in ("layer", "quantity", "step", "mean")), strict=True
    ):
        if layer in (None, name):
            points.setdefault((name, quantity), []).append(tuple(point))
    return [
        Series(
            layer=name,
            quantity=quantity,
            steps=np.array([step for step, _ in of_line], dtype=np.int64),
            values=np.array([value for _, value in of_line], dtype=np.float64),
        )
        for (name, quantity), of_line in points.items()
    ]


def draw_traces(
    runs: Sequence[RunDir], layer: str | None = None, titles: Sequence[str] = ()
) -> "Figure":
    """Return a figure: a row of panels per run, mean left and variance right, a line per layer.

    Without `titles` each row is headed by the run's name.

    Raises:
        ConfigError: A run has no traces, or no such layer.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    series = [load_series(load_traces(run), layer) for run in runs]
    layers = list(dict.fromkeys(line.layer for of_run in series for line in of_run))
    shades = colormaps["viridis"](np.linspace(0.0, 0.9, len(layers)))
    colours = dict(zip(layers, map(to_hex, shades), strict=True))
    with styled():
        figure, axes = open_panels(2 * len(runs), 2, 1.9, width=PAGE, sharex=True, sharey="col")
        for at, (run, of_run) in enumerate(zip(runs, series, strict=True)):
            for one, kind in zip(axes[2 * at : 2 * at + 2], ("mean", "var"), strict=True):
                _draw_panel(one, [line for line in of_run if line.quantity.endswith(kind)], colours)
            set_title(axes[2 * at], titles[at] if titles else printable(run.path.name), 1)
        for one in axes:
            step_ticks(one)
        lines = [line for of_run in series for line in of_run]
        if all(_is_positive(line.values) for line in lines if line.quantity.endswith("var")):
            for one in axes[1::2]:
                log_ticks(one)
        looks = [(name, {"color": colour}) for name, colour in colours.items()]
        add_line_legend(figure, looks, "averaged over the channels of each layer")
    return figure


def trace_numbers(
    runs: Sequence[RunDir], titles: Sequence[str], layer: str | None = None
) -> list[Row]:
    """Return a row for each finite point of each line that `draw_traces` draws."""
    return [
        {
            "panel": title,
            "line": line.layer,
            "quantity": line.quantity.replace("_", " "),
            "x": step,
            "mean": value,
        }
        for run, title in zip(runs, titles, strict=True)
        for line in load_series(load_traces(run), layer)
        for step, value in zip(line.steps.tolist(), line.values.tolist(), strict=True)
        if np.isfinite(value)
    ]


def _draw_panel(axes: "Axes", lines: Sequence[Series], colours: dict[str, str]) -> None:
    for line in lines:
        values = np.where(np.isfinite(line.values), line.values, np.nan)
        axes.plot(line.steps, values, color=colours[line.layer], label=line.layer)
    axes.set_ylabel(lines[0].quantity.replace("_", " ") if lines else "")


def _is_positive(values: np.ndarray) -> bool:
    known = values[np.isfinite(values)]
    return bool(len(known)) and bool((known > 0).all())
