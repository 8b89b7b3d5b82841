"""A run's running statistics, from `traces.csv` to a figure, a picture in the terminal, a CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import pandas as pd

from nnexp.console import printable
from nnexp.rundir import RunDir, read_table_columns
from nnexp.settings import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BARS = "▁▂▃▄▅▆▇█"
LOST = "×"
WIDTH = 32  # bars in a sparkline
SETTLED = 0.05  # share of the whole movement within which a statistic counts as settled
FORMATS = (".png", ".svg", ".pdf")


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
        """The course as a row of bars from its lowest to its highest, even in log step.

        What is not finite, as in a run that diverged, is shown as ×.
        """
        moments = np.log1p(self.steps)
        at = np.linspace(moments[0], moments[-1], WIDTH)
        finite = np.isfinite(self.values)
        if not finite.any():
            return LOST * WIDTH
        known = self.values[finite]
        values = np.interp(at, moments[finite], known)
        span = float(np.ptp(known)) or 1.0
        levels = ((values - known.min()) / span * (len(BARS) - 1)).round().astype(int)
        lost = np.interp(at, moments, (~finite).astype(float)) > 0
        return "".join(LOST if gone else BARS[n] for n, gone in zip(levels, lost, strict=True))


def load_traces(run: RunDir) -> pd.DataFrame:
    """Return `traces.csv` of a run, one row per layer, quantity and step.

    Raises:
        ConfigError: There is no such run, it was run without traces, or they cannot be read.
    """
    if not run.path.is_dir():
        raise ConfigError(
            f"no run at {run.path}", "name a folder under runs/, as nnexp train printed it"
        )
    columns = read_table_columns(run.traces, ("layer", "quantity"), ("step", "mean"))
    if not columns or not columns["step"]:
        raise ConfigError(f"{run.path} has no traces", "run it with trace.points=50 (the default)")
    return pd.DataFrame(columns)


def load_series(traces: pd.DataFrame, layer: str | None = None) -> list[Series]:
    """Return the course of every layer and quantity, in the order of the network.

    Raises:
        ConfigError: No layer has that name.
    """
    names = list(dict.fromkeys(traces["layer"]))
    if layer is not None and layer not in names:
        raise ConfigError(f"no layer {layer!r} in these traces", f"layers: {', '.join(names)}")
    pairs = dict.fromkeys(zip(traces["layer"], traces["quantity"], strict=True))
    return [_course(traces, *pair) for pair in pairs if layer in (None, pair[0])]


def _course(traces: pd.DataFrame, layer: str, quantity: str) -> Series:
    part = traces[(traces["layer"] == layer) & (traces["quantity"] == quantity)]
    return Series(
        layer=layer,
        quantity=quantity,
        steps=np.asarray(part["step"], dtype=np.int64),
        values=np.asarray(part["mean"], dtype=np.float64),
    )


def draw_traces(
    runs: Sequence[RunDir], layer: str | None = None, titles: Sequence[str] = ()
) -> "Figure":
    """Return a figure: a row of panels per run, mean left and variance right, a line per layer.

    Without `titles` each row is headed by the run's name.
    """
    titles = titles or [printable(run.path.name) for run in runs]
    from matplotlib.figure import Figure

    height = 1.2 + 2.6 * len(runs)
    figure = Figure(figsize=(10, height), layout="constrained")
    panels = figure.subplots(len(runs), 2, squeeze=False, sharex=True, sharey="col")
    for run, title, row in zip(runs, titles, panels, strict=True):
        lines = load_series(load_traces(run), layer)
        for axes, kind in zip(row, ("mean", "var"), strict=True):
            _draw_panel(axes, [line for line in lines if line.quantity.endswith(kind)])
        row[0].set_title(title, loc="left", fontsize=9, parse_math=False)
    for axes in panels[-1]:
        axes.set_xlabel("optimizer steps (0, then log)")
    handles, labels = panels[0][0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside right upper", fontsize=7, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _draw_panel(axes: "Axes", lines: Sequence[Series]) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import StrMethodFormatter

    shades = colormaps["viridis"](np.linspace(0.0, 0.9, max(1, len(lines))))
    for line, shade in zip(lines, shades, strict=True):
        axes.plot(line.steps, _drawable(line.values), color=shade, linewidth=1.3, label=line.layer)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=0)
    axes.grid(visible=True, alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    quantity = lines[0].quantity if lines else ""
    axes.set_ylabel(f"{quantity.replace('_', ' ')}, averaged over channels", fontsize=8)
    if quantity.endswith("var") and all(_is_positive(line.values) for line in lines):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.tick_params(which="both", labelsize=8)


def _drawable(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _is_positive(values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return bool(len(finite)) and bool((finite > 0).all())


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG, SVG or PDF, by the ending of `path`.

    Raises:
        ConfigError: The ending is none of them, or the folder is not there.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"cannot draw into {path}", f"its ending must be one of {', '.join(FORMATS)}"
        )
    if not path.parent.is_dir():
        raise ConfigError(f"no folder {path.parent}", "make it, or write the figure elsewhere")
    write_figure(figure, path, path.suffix.lower().removeprefix("."))


def write_figure(figure: "Figure", file: Path | IO[bytes], form: str) -> None:
    """Write a figure as png, svg or pdf: the same figure gives the same bytes on every day."""
    import matplotlib as mpl

    undated = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with mpl.rc_context({"svg.hashsalt": "nnexp", "pdf.fonttype": 42}):
        figure.savefig(file, format=form, dpi=150, metadata=undated[form])
