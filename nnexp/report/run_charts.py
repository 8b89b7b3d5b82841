"""A run's tables → small charts, drawn by hand so that hundreds fit on a page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnexp.compare.tables import figure
from nnexp.figures.traces import Series, load_series, load_traces
from nnexp.report.markup import escape, paragraphs
from nnexp.rundir import RunDir, UnreadableError, read_table

WIDTH, HEIGHT, LEFT, FOOT = 220, 84, 42, 12
PLOT = WIDTH - LEFT - 3, HEIGHT - FOOT - 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """One line of a chart."""

    xs: Sequence[float]
    ys: Sequence[float]
    look: str  # attributes of SVG
    name: str = ""


def run_charts(run: RunDir, *, traces: bool) -> list[str]:
    """Return a run's loss and accuracy over its epochs, and its traces where they are wanted.

    A table that cannot be read is named instead.
    """
    charts: list[str] = []
    for draw in (_epochs_charts, *([_traces_charts] if traces else [])):
        try:
            charts += draw(run)
        except UnreadableError as error:
            charts.append(paragraphs([f"{error.reason}; it is not drawn"], "note"))
    return charts


def _epochs_charts(run: RunDir) -> list[str]:
    epochs = read_table(run.metrics, needs=["epoch"])
    return [_epochs_chart(epochs, name) for name in ("loss", "accuracy") if epochs]


def _traces_charts(run: RunDir) -> list[str]:
    lines = load_series(load_traces(run)) if run.traces.exists() else []
    kinds = [[line for line in lines if line.quantity.endswith(kind)] for kind in ("mean", "var")]
    return [_traces_chart(chosen) for chosen in kinds if chosen]


def _epochs_chart(epochs: Sequence[dict[str, float]], name: str) -> str:
    at = [epoch["epoch"] for epoch in epochs]
    trails = [
        Trail(xs=at, ys=[epoch[f"{part}_{name}"] for epoch in epochs], look=look, name=part)
        for part, look in (("train", 'class="train"'), ("val", 'class="val"'))
        if f"{part}_{name}" in epochs[0]
    ]
    ends = (f"{at[0]:g}", f"epoch {at[-1]:g}")
    return _chart(f"{name}: train dashed, validation solid", trails, ends, f"{name}")


def _traces_chart(lines: Sequence[Series]) -> str:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    shades = colormaps["viridis"](np.linspace(0.1, 0.85, len(lines)))
    trails = [
        Trail(
            xs=np.log1p(line.steps).tolist(),
            ys=line.values.tolist(),
            look=f'stroke="{to_hex(shade)}"',
            name=line.layer,
        )
        for line, shade in zip(lines, shades, strict=True)
    ]
    steps = lines[0].steps
    quantity = lines[0].quantity.replace("_", " ")
    ends = (f"{steps[0]:g}", f"step {steps[-1]:g}")
    return _chart(f"{quantity} of each layer over steps, in log", trails, ends, quantity)


def _chart(title: str, trails: Sequence[Trail], ends: tuple[str, str], metric: str) -> str:
    """Return an SVG of lines with the lowest and highest value at its left."""
    known = [y for trail in trails for y in trail.ys if math.isfinite(y)]
    xs = [x for trail in trails for x in trail.xs]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    box = (min(xs), max(xs), low, high)
    lines = "".join(
        f'<polyline {trail.look} points="{points}"><title>{escape(trail.name)}</title></polyline>'
        for trail in trails
        for points in _pieces(trail, box)
    )
    labels = (
        f'<text x="{LEFT - 3}" y="10" class="end">{_short(high, metric)}</text>'
        f'<text x="{LEFT - 3}" y="{HEIGHT - FOOT}" class="end">{_short(low, metric)}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 1}">{escape(ends[0])}</text>'
        f'<text x="{WIDTH - 2}" y="{HEIGHT - 1}" class="end">{escape(ends[1])}</text>'
    )
    frame = f'<path class="frame" d="M{LEFT} 3V{HEIGHT - FOOT}H{WIDTH - 2}"/>'
    drawing = (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{frame}{lines}{labels}</svg>'
    )
    return f"<figure>{drawing}<figcaption>{escape(title)}</figcaption></figure>"


def _pieces(trail: Trail, box: tuple[float, float, float, float]) -> list[str]:
    """Return the finite stretches of a line, as points in the chart."""
    left, right, low, high = box
    pieces: list[list[str]] = [[]]
    for x, y in zip(trail.xs, trail.ys, strict=True):
        if not math.isfinite(y):
            pieces.append([])
            continue
        across = LEFT + PLOT[0] * (x - left) / ((right - left) or 1.0)
        up = HEIGHT - FOOT - 2 - PLOT[1] * (y / (high - low or 1.0) - low / (high - low or 1.0))
        pieces[-1].append(f"{across:.1f},{up:.1f}")
    return [" ".join(piece if len(piece) > 1 else piece * 2) for piece in pieces if piece]


def _short(value: float, metric: str) -> str:
    return figure(value, metric) if metric == "accuracy" else f"{value:.2g}"
