"""A run's tables → small charts, drawn by hand so that hundreds fit on a page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnexp.compare.metrics import metric_of
from nnexp.figures.tables import read_drawn
from nnexp.figures.traces import Series, load_series
from nnexp.rundir import RunDir, UnreadableError, read_table

WIDTH, HEIGHT, LEFT, FOOT = 220, 84, 42, 12
PLOT = WIDTH - LEFT - 3, HEIGHT - FOOT - 6
Chart = dict[str, Any]  # what the template draws


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: str = ""  # none: that of its name


def run_charts(run: RunDir, *, traces: bool) -> tuple[list[Chart], list[str]]:
    """Return a run's curves, its traces where they are wanted, and what cannot be read."""
    charts: list[Chart] = []
    unreadable = []
    for draw in (_epoch_charts, *([_trace_charts] if traces else [])):
        try:
            charts += draw(run)
        except UnreadableError as error:
            unreadable.append(f"{error.reason}; it is not drawn")
    return charts, unreadable


def _epoch_charts(run: RunDir) -> list[Chart]:
    """Return a run's loss and accuracy over its epochs, none without a `metrics.csv`."""
    epochs = read_table(run.metrics, needs=["epoch"])
    xs = [epoch["epoch"] for epoch in epochs]
    charts = []
    for metric in ("loss", "accuracy") if epochs else ():
        lines = [
            _Line(name=part, xs=xs, ys=[epoch[f"{part}_{metric}"] for epoch in epochs])
            for part in ("train", "val")
            if f"{part}_{metric}" in epochs[0]
        ]
        title = f"{metric}: train dashed, validation solid"
        charts.append(_chart(title, lines, (f"{xs[0]:g}", f"epoch {xs[-1]:g}"), metric))
    return charts


def _trace_charts(run: RunDir) -> list[Chart]:
    """Return a run's traces, mean and variance, none without a `traces.csv`."""
    columns = read_drawn(run, "traces")
    series = load_series(columns) if columns else []
    kinds = [[one for one in series if one.quantity.endswith(kind)] for kind in ("mean", "var")]
    return [_trace_chart(chosen) for chosen in kinds if chosen]


def _trace_chart(series: Sequence[Series]) -> Chart:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    shades = colormaps["viridis"](np.linspace(0.1, 0.85, len(series)))
    lines = [
        _Line(
            name=one.layer,
            xs=np.log1p(one.steps).tolist(),
            ys=one.values.tolist(),
            colour=to_hex(shade),
        )
        for one, shade in zip(series, shades, strict=True)
    ]
    steps = series[0].steps
    quantity = series[0].quantity.replace("_", " ")
    ends = (f"{steps[0]:g}", f"step {steps[-1]:g}")
    return _chart(f"{quantity} of each layer over steps, in log", lines, ends, quantity)


def _chart(title: str, lines: Sequence[_Line], ends: tuple[str, str], metric: str) -> Chart:
    """Return lines in a frame, with their lowest and highest value and the ends of the axis."""
    known = [y for line in lines for y in line.ys if math.isfinite(y)]
    xs = [x for line in lines for x in line.xs]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    box = (min(xs), max(xs), low, high)
    short = metric_of(metric).text if metric == "accuracy" else "{:.2g}".format
    return {
        "title": title,
        "lines": [
            {"name": line.name, "colour": line.colour, "pieces": _pieces(line, box)}
            for line in lines
        ],
        "low": short(low),
        "high": short(high),
        "first": ends[0],
        "last": ends[1],
        **{"width": WIDTH, "height": HEIGHT, "left": LEFT, "bottom": HEIGHT - FOOT},
    }


def _pieces(line: _Line, box: tuple[float, float, float, float]) -> list[str]:
    """Return the finite stretches of a line, as points in the chart."""
    left, right, low, high = box
    pieces: list[list[str]] = [[]]
    for x, y in zip(line.xs, line.ys, strict=True):
        if not math.isfinite(y):
            pieces.append([])
            continue
        across = LEFT + PLOT[0] * (x - left) / ((right - left) or 1.0)
        up = HEIGHT - FOOT - 2 - PLOT[1] * (y / (high - low or 1.0) - low / (high - low or 1.0))
        pieces[-1].append(f"{across:.1f},{up:.1f}")
    return [" ".join(piece if len(piece) > 1 else piece * 2) for piece in pieces if piece]
