"""`metrics.csv` of runs → interactive curves: SVGs in the units of the data, whole without scripts.

The page's script reads values from the points of a line, and zooms by an SVG's `viewBox`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnexp.compare.columns import Row
from nnexp.compare.selection import Group
from nnexp.figures.curves import QUANTITIES, Curve, curve_rows, curves_note
from nnexp.figures.tables import set_aside
from nnexp.report.arms import Arm, Arms
from nnexp.settings import ConfigError

MOST_POINTS = 80  # of a line
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 300, 190, 40, 20, 160  # of a panel
INNER = WIDTH - LEFT - 8, BOTTOM - TOP


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveLine:
    """One arm's mean and band, as the points of an SVG."""

    arm: Arm
    points: str
    band: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePanel:
    """One quantity over the epochs."""

    title: str
    lines: list[CurveLine]
    view: str  # the `viewBox` of all lines
    x_ticks: list[tuple[str, float]]
    y_ticks: list[tuple[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """The panels of every combination of settings, and what they are the mean of."""

    rows: list[tuple[str, list[CurvePanel]]]
    note: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    top: int = TOP
    bottom: int = BOTTOM

    @property
    def arms(self) -> list[Arm]:
        """What the lines are of."""
        lines = (line for _, panels in self.rows for panel in panels for line in panel.lines)
        return list({line.arm.number: line.arm for line in lines}.values())


def find_curves(rows: Sequence[Row], arms: Arms) -> tuple[Curves | None, list[str]]:
    """Return the curves of runs, and a line where there are none."""
    members, _ = set_aside(rows, ["metrics"])
    try:
        drawn, note = curve_rows(members, arms.keys), curves_note(members)
    except ConfigError as error:
        return None, [f"Loss and accuracy over the epochs: {error.problem}"]
    longest = max(len(curve[0]) for row in drawn for curve in _all(row.curves))
    if longest > MOST_POINTS:
        note += f"; of {longest} epochs about {MOST_POINTS} are drawn"
    return Curves(rows=[(row.title, _panels(row.curves, arms)) for row in drawn], note=note), []


def _all(curves: Mapping[str, Mapping[Group, Curve]]) -> Iterator[Curve]:
    return (curve for lines in curves.values() for curve in lines.values())


def _panels(curves: Mapping[str, Mapping[Group, Curve]], arms: Arms) -> list[CurvePanel]:
    panels = []
    for pair in (("train_loss", "val_loss"), ("train_accuracy", "val_accuracy")):
        box = _box([curve for quantity in pair for curve in curves[quantity].values()])
        panels += [_panel(QUANTITIES[name], curves[name], box, arms) for name in pair]
    return panels


def _box(curves: Sequence[Curve]) -> tuple[float, float, float, float]:
    """Return the least and greatest epoch and value; training and validation share one box."""
    epochs = np.concatenate([epochs for epochs, _, _ in curves])
    ends = np.concatenate([m + sign * s for _, m, s in curves for sign in (-1, 1)])
    left, right = (epochs.min(), epochs.max()) if len(epochs) else (0.0, 1.0)
    low, high = (ends.min(), ends.max()) if len(ends) else (0.0, 1.0)
    across, up = 0.02 * (right - left) or 0.5, 0.05 * (high - low) or 0.5
    return float(left - across), float(right + across), float(low - up), float(high + up)


def _panel(
    title: str,
    curves: Mapping[Group, Curve],
    box: tuple[float, float, float, float],
    arms: Arms,
) -> CurvePanel:
    left, right, low, high = box
    return CurvePanel(
        title=title,
        lines=[_line(arms.by_line[line], curve) for line, curve in curves.items() if len(curve[0])],
        view=f"{left:.6g} {-high:.6g} {right - left:.6g} {high - low:.6g}",
        x_ticks=[
            (f"{x:g}", round(LEFT + INNER[0] * (x - left) / (right - left), 1))
            for x in _ticks(left, right, whole=True)
        ],
        y_ticks=[
            (f"{y:g}", round(BOTTOM - INNER[1] * (y - low) / (high - low), 1))
            for y in _ticks(low, high)
        ],
    )


def _line(arm: Arm, curve: Curve) -> CurveLine:
    """Return the points of a line; a value counts down, as an SVG's axis does."""
    kept = np.unique(np.linspace(0, len(curve[0]) - 1, MOST_POINTS).round().astype(int))
    epochs, means, spreads = (part[kept] for part in curve)
    band = ""
    if spreads.any():
        upper, lower = _points(epochs, means + spreads), _points(epochs, means - spreads)
        band = " ".join([*upper, *reversed(lower)])
    points = _points(epochs, means)
    return CurveLine(arm=arm, points=" ".join(points if len(points) > 1 else points * 2), band=band)


def _points(epochs: np.ndarray, values: np.ndarray) -> list[str]:
    return [f"{epoch:g},{-value:.5g}" for epoch, value in zip(epochs, values, strict=True)]


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    steps = [1, 2, 2.5, 5, 10]
    ticks = MaxNLocator(5, steps=steps, integer=whole, min_n_ticks=1).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]
