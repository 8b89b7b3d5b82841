"""Cells' sums of squares → which cells share one variance, and how large it is.

Three seeds tell little about the variance of one cell. Pooled over the grid it is known well, if it
is the same everywhere; this is tested, and where it is not, the pools are smaller.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, fdtrc

# p-values of tests of equal variances below which they are not pooled
UNEQUAL = {"arm": 0.2, "place": 0.05}
UNEQUAL_CELLS = 0.03  # of the cells of one pool
UNEQUAL_BLOCKED = 0.25  # of arms whose seeds are blocks, so that pairs of them are not pooled
FAR = 0.001  # of one cell with all others, times the number of cells

Cell = tuple[Hashable, Hashable]  # place, arm
Squares = tuple[float, float]  # a sum of squares and its degrees of freedom


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """Which variance each cell has."""

    by: str  # "grid", "arm", "place" or "cell": what shares a variance
    source: Mapping[Hashable, Hashable]  # cell → the name of its pool
    variances: Mapping[Hashable, tuple[float, float]]  # a variance and its degrees of freedom
    apart: tuple[Cell, ...] = ()  # cells that vary more than their pool, and stand alone


def make_pools(cells: Mapping[Cell, Squares]) -> Pools:
    """Return the widest pools that tests of equal variances leave standing.

    Bartlett's test (1937) is of arms and of places: the more unequal ones have a variance each.
    Where the cells of a pool still are, each cell has its own. If one cell varies far more than all
    others (F test, Bonferroni), and these pass the tests without it, it alone does.
    """
    by, apart = _choose(cells), _far(cells)
    others = _choose({cell: squares for cell, squares in cells.items() if cell not in apart})
    if len(apart) == 1 and others != "cell":
        by = others
    else:
        apart = []
    groups = _groups([cell for cell in cells if cell not in apart], by)
    groups |= _groups(apart, "cell")
    return _pools(cells, by, groups, tuple(apart))


def own_pools(cells: Mapping[Cell, Squares], shared: Pools) -> list[Pools]:
    """Return the smaller pools inside of shared ones: cells, and arms where all are one pool."""
    smaller = {"grid": ["cell", "arm"], "arm": ["cell"], "place": ["cell"], "cell": []}[shared.by]
    inside = [cell for cell in cells if cell not in shared.apart]
    return [_pools(cells, by, _groups(inside, by)) for by in smaller]


def pooled(parts: Sequence[Squares]) -> tuple[float, float]:
    """Return the variance of sums of squares taken together, and its degrees of freedom."""
    squares, freedom = sum(s for s, _ in parts), sum(f for _, f in parts)
    return (squares / freedom if freedom else 0.0), freedom


def bartlett(families: Sequence[Sequence[Squares]]) -> float:
    """Return the p-value of equal variances within each family, of all families together."""
    statistic, freedom = 0.0, 0
    for family in families:
        groups = [(squares, f) for squares, f in family if f > 0]
        least, most = min(groups, default=(0.0, 0))[0], max(groups, default=(0.0, 0))[0]
        if len(groups) < 2 or most <= 0:
            continue
        if least <= 0:
            return 0.0
        squares, freedoms = np.array(groups).T
        total = freedoms.sum()
        raw = total * np.log(squares.sum() / total) - freedoms @ np.log(squares / freedoms)
        statistic += raw / (1 + (np.sum(1 / freedoms) - 1 / total) / (3 * (len(groups) - 1)))
        freedom += len(groups) - 1
    return float(chdtrc(freedom, statistic)) if freedom else 1.0


def _choose(cells: Mapping[Cell, Squares]) -> str:
    """Return what shares a variance, by tests over arms, over places, and within each pool."""
    p = {by: _p_equal(cells, by) for by in UNEQUAL}
    lower = min(p, key=lambda by: p[by] / UNEQUAL[by])
    by = lower if p[lower] < UNEQUAL[lower] else "grid"
    pools = [[cells[cell] for cell in members] for members in _groups(cells, by).values()]
    return "cell" if bartlett(pools) < UNEQUAL_CELLS else by


def arms_differ(cells: Mapping[Cell, Squares]) -> bool:
    """Return whether the variances of arms may be unequal: correlated ones seldom show it."""
    return _p_equal(cells, "arm") < UNEQUAL_BLOCKED


def _p_equal(cells: Mapping[Cell, Squares], by: str) -> float:
    """Return the p-value of equal variances of arms or places; 1 where each has one cell."""
    groups = _groups(cells, by)
    sums = [
        (sum(cells[cell][0] for cell in members), sum(cells[cell][1] for cell in members))
        for members in groups.values()
    ]
    return bartlett([sums]) if len(groups) < len(cells) else 1.0


def _far(cells: Mapping[Cell, Squares]) -> list[Cell]:
    """Return the cells that vary far more than all others, the largest first."""
    rest = {cell: squares for cell, squares in cells.items() if squares[1] > 0}
    apart = []
    while len(rest) > 2:
        largest = max(rest, key=lambda cell: rest[cell][0] / rest[cell][1])
        squares, freedom = rest.pop(largest)
        variance, others = pooled(list(rest.values()))
        ratio = squares / freedom / variance if variance > 0 else np.inf
        if squares <= 0 or fdtrc(freedom, others, ratio) * len(cells) >= FAR:
            break
        apart.append(largest)
    return apart


def _pools(
    cells: Mapping[Cell, Squares],
    by: str,
    groups: Mapping[Hashable, Sequence[Cell]],
    apart: tuple[Cell, ...] = (),
) -> Pools:
    return Pools(
        by=by,
        source={cell: name for name, members in groups.items() for cell in members},
        variances={
            name: pooled([cells[cell] for cell in members]) for name, members in groups.items()
        },
        apart=apart,
    )


def _groups(cells: Iterable[Cell], by: str) -> dict[Hashable, list[Cell]]:
    """Return the cells of each pool, by its name."""
    groups: dict[Hashable, list[Cell]] = {}
    for place, arm in cells:
        name = {"grid": by, "arm": (by, arm), "place": (by, place), "cell": (by, place, arm)}[by]
        groups.setdefault(name, []).append((place, arm))
    return groups
