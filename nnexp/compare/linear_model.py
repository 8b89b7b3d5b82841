"""Cells of a table, a value for each seed → a linear model: how large differences are, how sure.

A cell is an arm at a place: a row of the table in one of its columns. Arms are compared at equal
places. What concerns every difference is estimated once, from all cells: how much runs vary from
seed to seed, and whether runs that share a seed go together.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc

from nnexp.compare.seed_blocks import SeedBlocks
from nnexp.compare.variance_pools import (
    Cell,
    Pools,
    Squares,
    arms_differ,
    make_pools,
    own_pools,
    pooled,
)

ROUNDING = 1e-12  # relative spread below which values are the same number
HUGE = 1e100  # values whose squares would overflow are not judged
TOGETHER = 0.05  # p-value of the F test of seeds below which they are blocks
PRIOR = 4.0  # degrees of freedom that a shared variance counts for beside what is compared

Place = Hashable
Arm = Hashable
Values = Mapping[int, float]  # seed → value
Weights = tuple[tuple[Place, float], ...]
Shares = dict[Hashable, float]  # cell, or pair of cells → how much of its variance a difference has


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """What is asked: an arm less a base, summed over places by their weights."""

    arm: Arm
    base: Arm
    weights: Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A difference, its standard error, and the variances that this was estimated from."""

    value: float
    error: float
    freedom: float
    sources: frozenset[Hashable] = frozenset()


class LinearModel:
    """Value = cell + noise, or cell + seed + noise where runs that share a seed go together.

    Cells of one value have no spread of their own and are left out. `make_pools` says which cells
    share a variance; a comparison of cells that vary more than that is given more, since tests at
    few seeds find few inequalities. With seeds as blocks, and unequal variances of arms, each pair
    of arms has the variance of its own differences: the paired t test.

    Args:
        cells: The values of each arm at each place, by seed.
        floors: The variance of a cell in which every value is the same: an accuracy that all seeds
            share is still known no better than its test images can tell.
        blocked: Seeds are blocks by plan, whatever the correlation of runs that share one.
    """

    def __init__(
        self,
        cells: Mapping[Cell, Values],
        floors: Mapping[Cell, float] | None = None,
        *,
        blocked: bool = False,
    ) -> None:
        self.cells = {
            key: values
            for key, values in cells.items()
            if len(values) > 1 and max(map(abs, values.values())) < HUGE
        }
        places: dict[Place, dict[Arm, Values]] = {}
        for (place, arm), values in self.cells.items():
            places.setdefault(place, {})[arm] = values
        self.places = {place: SeedBlocks(arms) for place, arms in places.items()}
        size = max((abs(v) for cell in self.cells.values() for v in cell.values()), default=0.0)
        self._rounding = (ROUNDING * size) ** 2  # a variance that is none
        self._alone = {key: self._squares(key, floors or {}) for key in self.cells}
        self.correlation, self.p_seeds = self._correlate()
        self.planned = blocked
        self.blocked = blocked or (self.p_seeds is not None and self.p_seeds < TOGETHER)
        self._spread = self._left()
        self.pools = make_pools(self._spread)
        self.paired = self.blocked and (
            self.pools.by not in ("grid", "place") or arms_differ(self._alone)
        )
        self._variances = dict(self.pools.variances)
        self._source = dict[Hashable, Hashable](self.pools.source)
        self._own = [] if self.blocked else own_pools(self._spread, self.pools)

    def arms(self, place: Place) -> list[Arm]:
        """Return the arms that can be compared at a place."""
        return list(self.places[place].arms) if place in self.places else []

    @property
    def has_independent_means(self) -> bool:
        """Whether means are independent but for the variance that they share."""
        return not self.blocked or all(place.is_complete for place in self.places.values())

    def share(self, contrast: Contrast, arm: Arm) -> float:
        """Return the variance of an arm's weighted mean, in that of one run."""
        return sum(w**2 / len(self.cells[place, arm]) for place, w in contrast.weights)

    def estimate(self, contrast: Contrast) -> Estimate | None:
        """Return a contrast's estimate; None where its cells or its variance are not known."""
        value, shares = 0.0, Shares()
        for place, weight in contrast.weights:
            known = self._difference(place, contrast.arm, contrast.base)
            if known is None:
                return None
            value += weight * known[0]
            shares |= {cell: weight**2 * share for cell, share in known[1].items()}
        variance, freedom = _variance_of(shares, self._source, self._variances)
        if variance <= 0:
            return Estimate(value=value, error=0.0, freedom=0.0)
        sources = frozenset(self._source[cell] for cell in shares)
        error = _error(variance, shares, self._own_of(contrast))
        return Estimate(value=value, error=error, freedom=freedom, sources=sources)

    def estimate_mean(self, cell: Cell) -> Estimate:
        """Return the estimate of a cell's mean, taken by itself.

        Where seeds are blocks, a cell has its own variance alone: the others of its place would
        tell of the same few seeds.
        """
        place, arm = cell
        value, shares = self.places[place].means[arm], Shares({cell: 1 / len(self.cells[cell])})
        if self.blocked:
            squares, freedom = self._alone[cell]
            return Estimate(
                value=value, error=(squares / freedom * shares[cell]) ** 0.5, freedom=freedom
            )
        variance, freedom = _variance_of(shares, self._source, self._variances)
        error = _error(variance, shares, self._own)
        return Estimate(value=value, error=error, freedom=freedom)

    def _difference(self, place: Place, arm: Arm, base: Arm) -> tuple[float, Shares] | None:
        """Return a difference at a place, and how much of each cell's variance it has."""
        here = self.places.get(place)
        if here is None or arm not in here.arms or base not in here.arms:
            return None
        if self.paired:
            return self._paired(place, arm, base)
        cells = [(place, arm), (place, base)]
        if self.blocked:
            known = here.difference(arm, base)
            return known and (known[0], Shares(dict.fromkeys(cells, known[1] / 2)))
        shares = Shares({cell: 1 / len(self.cells[cell]) for cell in cells})
        return here.means[arm] - here.means[base], shares

    def _own_of(self, contrast: Contrast) -> list[Pools]:
        """Return the variances of what is compared itself: at its places, and at all of them."""
        if self.paired or not self.blocked:
            return self._own
        halves = dict[Cell, Squares]()
        for place in self.places:
            known = self._paired(place, contrast.arm, contrast.base)
            if known:
                variance, freedom = self._variances[next(iter(known[1]))]
                half = (variance * freedom / 4, freedom / 2)  # the two have it together
                halves |= {(place, contrast.arm): half, (place, contrast.base): half}
        return own_pools(halves, self.pools)

    def _paired(self, place: Place, arm: Arm, base: Arm) -> tuple[float, Shares] | None:
        values, others = self.cells.get((place, arm), {}), self.cells.get((place, base), {})
        differences = [values[seed] - others[seed] for seed in values if seed in others]
        if len(differences) < 2:
            return None
        size = max(map(abs, [*values.values(), *others.values()]))
        pair = self._source["pair", place, arm, base] = ("pair", place, arm, base)
        freedom = len(differences) - 1.0
        self._variances[pair] = (_squares(differences, size) / freedom, freedom)
        return float(np.mean(differences)), {pair: 1 / len(differences)}

    def _squares(self, key: Cell, floors: Mapping[Cell, float]) -> tuple[float, float]:
        values = list(self.cells[key].values())
        freedom = len(values) - 1.0
        squares = _squares(values, max(map(abs, values)))
        return squares or floors.get(key, 0.0) * freedom, freedom

    def _correlate(self) -> tuple[float | None, float | None]:
        """Return the correlation of runs that share place and seed, and its F test's p-value."""
        within = sum(sum(place.squares().values()) for place in self.places.values())
        left = sum(place.freedom for place in self.places.values())
        total, freedom = pooled([self._squares(key, {}) for key in self.cells])
        if left < max(freedom / 2, 1) or freedom <= left or total <= self._rounding:
            return None, None  # nothing varies, or so few seeds in common that blocks cost too much
        if within <= self._rounding:
            return 1.0, 0.0  # arms differ by the same at every seed
        explained = max(total * freedom - within, 0.0) / (freedom - left)
        p = float(fdtrc(freedom - left, left, explained / (within / left)))
        return max(-1.0, 1 - within / left / total), p

    def _left(self) -> dict[Cell, Squares]:
        """Return what cells, or cells and seeds where these are blocks, leave unexplained."""
        if not self.blocked:
            return self._alone
        left = {}
        for name, place in self.places.items():
            share = place.freedom / sum(len(values) - 1 for values in place.arms.values())
            for arm, squares in place.squares().items():
                squares = squares if squares > self._rounding else 0.0
                left[name, arm] = (squares, share * (len(place.arms[arm]) - 1))
        return left


def _variance_of(
    shares: Shares, source: Mapping[Hashable, Hashable], variances: Mapping[Hashable, Squares]
) -> tuple[float, float]:
    """Return the sum of cells' variances by their shares, and its degrees of freedom.

    These are the variance's own where there is one, else by Satterthwaite (1946).
    """
    parts = dict[Hashable, float]()
    for cell, share in shares.items():
        parts[source[cell]] = parts.get(source[cell], 0.0) + share * variances[source[cell]][0]
    total = sum(parts.values())
    below = sum(part**2 / variances[one][1] for one, part in parts.items() if part)
    return total, total**2 / below if below else 0.0


def _error(variance: float, shares: Shares, own: Sequence[Pools]) -> float:
    """Return the standard error by a shared variance, or more where what is compared has more."""
    for pools in own:
        variance = max(variance, _mixed(variance, shares, pools))
    return variance**0.5


def _mixed(variance: float, shares: Shares, own: Pools) -> float:
    """Return the mean of a shared variance and what is compared has itself, by their freedoms."""
    known = {cell: share for cell, share in shares.items() if cell in own.source}
    alone, freedom = _variance_of(known, own.source, own.variances)
    return (PRIOR * variance + freedom * alone) / (PRIOR + freedom)


def _squares(values: list[float], size: float) -> float:
    """Return the sum of squares about the mean; 0 where values differ by rounding alone."""
    if float(np.ptp(values)) <= ROUNDING * size:
        return 0.0
    return float(np.var(values)) * len(values)
