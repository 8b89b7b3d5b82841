"""Places where rows were compared → a forest plot: differences with intervals, zero marked.

Lengths across are shares of the page's width in percent, lengths down are pixels, so that one
drawing with letters of one size fits a phone and a screen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from nnexp.compare.metrics import metric_of
from nnexp.report.arms import Arm, Arms
from nnexp.report.gaps import Gap, Place
from nnexp.report.sentences import gap_text

MOST_MARKS = 60
FAR = 4.0  # half widths of a typical interval beyond the outermost difference: where axes end
LINE = 46  # letters across a phone
SHORT = 16  # letters of a label that fits beside its interval on a phone
HEAD, BESIDE, BELOW, FOOT = 30, 24, 40, 40  # pixels
RIGHT = 96.0  # percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One difference: where it is drawn, and what it says."""

    label: str
    text: str
    values: str
    arm: Arm | None
    differs: bool
    at: float
    low: float | None
    high: float | None
    cut: tuple[bool, bool]  # whether the interval goes on beyond the axis
    y: int
    label_y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """A forest plot as the template draws it."""

    heads: list[tuple[str, int]]
    marks: list[Mark]
    ticks: list[tuple[str, float]]
    zero: float
    left: float
    height: int
    unit: str
    left_out: int

    @property
    def arms(self) -> list[Arm]:
        """What the marks are of."""
        return list({mark.arm.number: mark.arm for mark in self.marks if mark.arm}.values())

    @property
    def cut(self) -> bool:
        """Whether an interval goes on beyond the axis."""
        return any(any(mark.cut) for mark in self.marks)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    low: float
    high: float
    beside: bool  # whether labels stand beside the intervals, or above them

    @property
    def left(self) -> float:
        return 33.0 if self.beside else 4.0

    def at(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.left + (RIGHT - self.left) * share, 2)


def make_forest(places: Sequence[Place], metric: str, arms: Arms) -> Forest | None:
    """Return the plot, averages first; None where no difference is known."""
    known = [place for place in places if _known(place)]
    shown = _first(known)
    gaps = [gap for place in shown for gap in _known(place)]
    if not gaps:
        return None
    axis = _axis(gaps)
    heads, marks, y = [], [], 0
    for place in shown:
        if head := _head(place, with_base=not _one_base(shown)):
            heads.append((head, y + HEAD - 8))
            y += HEAD
        for gap in _known(place):
            marks.append(_mark(gap, place, metric, arms.find(gap.settings), axis, y))
            y += BESIDE if axis.beside else BELOW
    return Forest(
        heads=heads,
        marks=marks,
        ticks=[(_tick(value, metric), axis.at(value)) for value in _ticks(axis)],
        zero=axis.at(0),
        left=axis.left,
        height=y + FOOT,
        unit=_unit(shown, metric),
        left_out=sum(len(_known(place)) for place in known) - len(marks),
    )


def _first(places: Sequence[Place]) -> list[Place]:
    """Return as many places as the plot has room for, one at least."""
    counts = list(accumulate(len(_known(place)) for place in places))
    return [place for place, count in zip(places, counts, strict=True) if count <= MOST_MARKS] or [
        *places[:1]
    ]


def _known(place: Place) -> list[Gap]:
    return [gap for gap in place.gaps if gap.value is not None]


def _axis(gaps: Sequence[Gap]) -> _Axis:
    """Return an axis with every difference on it, and intervals as far as they help."""
    values = [gap.value or 0.0 for gap in gaps] + [0.0]
    widths = [
        (gap.high - gap.low) / 2 for gap in gaps if gap.high is not None and gap.low is not None
    ]
    far = FAR * float(np.median(widths)) if widths else 0.0
    ends = [max(gap.low, min(values) - far) for gap in gaps if gap.low is not None]
    ends += [min(gap.high, max(values) + far) for gap in gaps if gap.high is not None]
    low, high = min(values + ends), max(values + ends)
    room = 0.04 * (high - low) or 1.0
    beside = all(len(gap.name) <= SHORT for gap in gaps)
    return _Axis(low=low - room, high=high + room, beside=beside)


def _mark(gap: Gap, place: Place, metric: str, arm: Arm | None, axis: _Axis, y: int) -> Mark:
    where = ", ".join(filter(None, [place.table, place.over or place.column]))
    verdict = "shown to differ" if gap.differs else gap.problem or "not shown to differ"
    return Mark(
        label=_short(gap.name),
        text=f"{gap.name}{f', {where}' if where else ''}: {gap_text(gap, metric)}, {verdict}",
        values=gap_text(gap, metric),
        arm=arm,
        differs=gap.differs,
        at=axis.at(gap.value or 0.0),
        low=None if gap.low is None else axis.at(gap.low),
        high=None if gap.high is None else axis.at(gap.high),
        cut=(
            gap.low is not None and gap.low < axis.low,
            gap.high is not None and gap.high > axis.high,
        ),
        y=y + (BESIDE // 2 if axis.beside else BELOW - 12),
        label_y=y + BESIDE // 2 + 4,
    )


def _one_base(places: Sequence[Place]) -> bool:
    return len({place.base for place in places}) == 1


def _unit(places: Sequence[Place], metric: str) -> str:
    unit = "points" if metric_of(metric).in_percent else "difference"
    return f"{unit}, less {places[0].base}" if _one_base(places) else f"{unit}, less the best"


def _head(place: Place, *, with_base: bool) -> str:
    base = f"less {place.base}" if with_base else ""
    head = ", ".join(filter(None, [place.table, place.over or place.column, base]))
    return _short(head[:1].upper() + head[1:])


def _short(text: str) -> str:
    """Return what a phone has room for on a line; a mark's own text is whole."""
    return text if len(text) <= LINE else f"{text[: LINE - 1]}…"


def _ticks(axis: _Axis) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(axis.low, axis.high)
    return [float(tick) for tick in ticks if axis.low <= tick <= axis.high]


def _tick(value: float, metric: str) -> str:
    value = 100 * value if metric_of(metric).in_percent else value
    return "0" if abs(value) < 1e-12 else f"{value:+.6g}"
