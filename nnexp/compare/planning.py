"""How sure differences are → what a grid can show, and how many seeds another precision takes."""

from collections.abc import Callable

from scipy.special import nctdtrinc

from nnexp.compare.families import Judged
from nnexp.compare.judgement import Judgement
from nnexp.compare.multiplicity import critical_value

POWER = 0.8  # probability with which a difference is to be shown
MOST_SEEDS = 2**13  # that are searched: seeds are doubled until they suffice


def detectable(judgement: Judgement, seeds: int | None = None) -> float | None:
    """Return the true difference that a typical comparison shows with probability POWER.

    With the seeds that each cell has, or with so many.
    """
    one = _typical(judgement)
    return one and _shown_by(judgement, one, seeds or seeds_of(judgement))


def seeds_to_show(judgement: Judgement, difference: float) -> int | None:
    """Return the seeds of each cell with which a typical comparison shows a true difference."""
    one = _typical(judgement)
    if one is None:
        return None
    return _fewest(lambda seeds: _shown_by(judgement, one, seeds) <= difference)


def reach_of(judgement: Judgement) -> float | None:
    """Return half the width of the widest interval."""
    known = judgement.family.judged.values()
    return max((one.high - one.value for one in known if one.high is not None), default=None)


def seeds_for_interval(judgement: Judgement, reach: float, least_freedom: float = 1) -> int | None:
    """Return the seeds of each cell with which every interval is ± `reach` or narrower.

    With room for the error of the variance: a share of one over its degrees of freedom, of which
    it has `least_freedom` or more.
    """
    known = [one for one in judgement.family.judged.values() if one.p is not None]
    if not known:
        return None
    widest = max(known, key=lambda one: one.error)

    def is_narrow(seeds: int) -> bool:
        error, freedom = _with_seeds(judgement, widest, seeds)
        width = critical_value(judgement.family.tail(freedom)) * error * (1 + 1 / freedom)
        return freedom >= least_freedom and width <= reach

    return _fewest(is_narrow)


def seeds_of(judgement: Judgement) -> int:
    """Return the fewest seeds of a cell that is compared."""
    return min(len(values) for values in judgement.model.cells.values())


def shift_for(critical: float, freedom: float, power: float = POWER) -> float:
    """Return how many standard errors a difference must have for t > `critical` at `power`."""
    return float(nctdtrinc(freedom, 1 - power, critical))


def _typical(judgement: Judgement) -> Judged | None:
    """Return the comparison of median error."""
    known = [one for one in judgement.family.judged.values() if one.p is not None]
    return sorted(known, key=lambda one: one.error)[len(known) // 2] if known else None


def _shown_by(judgement: Judgement, one: Judged, seeds: int) -> float:
    error, freedom = _with_seeds(judgement, one, seeds)
    return shift_for(critical_value(judgement.family.tail(freedom)), freedom) * error


def _with_seeds(judgement: Judgement, one: Judged, seeds: int) -> tuple[float, float]:
    """Return the error and the freedom that a comparison would have with other seeds a cell."""
    now = seeds_of(judgement)
    return one.error * (now / seeds) ** 0.5, round(one.freedom * (seeds - 1) / (now - 1), 6)


def _fewest(suffices: Callable[[int], bool]) -> int | None:
    """Return the smallest number of seeds, 2 or more, that suffices; None beyond MOST_SEEDS."""
    low, high = 1, 2
    while not suffices(high):
        low, high = high, 2 * high
        if high > MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
