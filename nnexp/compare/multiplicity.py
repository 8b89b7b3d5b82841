"""Many t statistics at once → p-values and critical values that hold for all of them together.

Each function takes |t| and returns the probability that the largest |t| of its family is at least
as large where nothing differs. An interval of ± `critical_value` standard errors excludes 0 exactly
where the p-value is below 1 - LEVEL.
"""

from collections import Counter
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.special import gammaln, ndtr, stdtr

LEVEL = 0.95  # of every interval
CHUNK = 64  # statistics whose tails are integrated together: bounds the memory
MOST = 300  # statistics whose tails are integrated; more are interpolated between as many
STEP = 0.125  # between nodes of a standard normal variable: the trapezoid rule is exact to 1e-10
NEGLIGIBLE = 1e-18  # share of the largest weight below which a node adds nothing
MOST_TRIES = 60  # of `critical_value`, which takes about 12

Tail = Callable[[np.ndarray], np.ndarray]


@lru_cache(256)
def dunnett_tail(groups: tuple[tuple[float, ...], ...], freedom: float) -> Tail:
    """Return the tail of the largest |t| of comparisons with baselines (Dunnett 1955, 1964).

    Args:
        groups: For each baseline, the factor λ of each arm compared with it: two comparisons with
            one baseline correlate by λ_i λ_j, where λ² = v_0 / (v_0 + v_i) and v are the
            variances of the means. Baselines are independent of each other.
        freedom: The degrees of freedom of the one variance that all share.
    """
    alike = Counter(tuple(sorted(round(one, 12) for one in group)) for group in groups)

    def inside(limits: np.ndarray) -> np.ndarray:
        product = np.ones_like(limits)
        for group, count in alike.items():
            steepest = np.sqrt(1 - max(group) ** 2)  # the smaller, the steeper what is integrated
            nodes, weights = _normal_nodes(STEP * min(1.0, 1.5 * steepest))
            within = np.ones((*limits.shape, len(nodes)))
            for factor, arms in Counter(group).items():
                width, centre = np.sqrt(1 - factor**2), factor * nodes
                edges = limits[..., None]
                both = ndtr((centre + edges) / width) - ndtr((centre - edges) / width)
                within *= both**arms
            product *= (within @ weights) ** count
        return product

    return _studentized(inside, freedom)


@lru_cache(256)
def tukey_tail(sizes: tuple[int, ...], freedom: float) -> Tail:
    """Return the tail of the largest |t| of all pairs (Tukey 1953; Kramer 1956 where n differ).

    Args:
        sizes: How many arms each independent group has, of which all pairs are compared.
        freedom: The degrees of freedom of the one variance that all share.
    """
    nodes, weights = _normal_nodes(STEP)

    def inside(limits: np.ndarray) -> np.ndarray:
        span = np.sqrt(2) * limits[..., None]
        below = ndtr(nodes) - ndtr(nodes - span)
        product = np.ones_like(limits)
        for size, count in Counter(sizes).items():
            product *= np.minimum(size * (below ** (size - 1) @ weights), 1) ** count
        return product

    return _studentized(inside, freedom)


def sidak_tail(comparisons: int, freedom: float) -> Tail:
    """Return the tail of the largest of |t| that may correlate in any way (Šidák 1967)."""
    return together(lambda statistics: two_sided(statistics, freedom), comparisons)


@lru_cache(256)
def together(tail: Tail, times: int) -> Tail:
    """Return the tail of the largest |t| of as many independent families."""
    return lambda statistics: -np.expm1(times * np.log1p(-np.minimum(tail(statistics), 1 - 1e-16)))


def two_sided(statistics: np.ndarray, freedom: float) -> np.ndarray:
    """Return the p-value of each |t| taken alone."""
    return 2 * stdtr(freedom, -np.abs(statistics))


@lru_cache(256)
def critical_value(tail: Tail, level: float = LEVEL) -> float:
    """Return the |t| that the largest of a family exceeds with probability 1 - `level`."""
    low, high = 0.0, 4.0
    while (below := _excess(tail, high, level)) > 0:
        low, high = high, 1.5 * high
    above = _excess(tail, low, level)
    side = 0
    for _ in range(MOST_TRIES):  # regula falsi by the Illinois rule, of the logarithm
        middle = high - below * (high - low) / (below - above)
        if not low < middle < high:
            break
        now = _excess(tail, middle, level)
        if now > 0:
            low, above, below = middle, now, below / (2 if side > 0 else 1)
        else:
            high, below, above = middle, now, above / (2 if side < 0 else 1)
        side = 1 if now > 0 else -1
    return high


def _excess(tail: Tail, statistic: float, level: float) -> float:
    """Return the logarithm of how many times too probable a larger statistic is."""
    return float(np.log(max(tail(np.array([statistic]))[0], 1e-300) / (1 - level)))


def _normal_nodes(step: float) -> tuple[np.ndarray, np.ndarray]:
    """Return values of a standard normal variable and their weights in the trapezoid rule."""
    nodes = np.arange(-8.5, 8.5 + step, step)
    return nodes, step * np.exp(-(nodes**2) / 2) / np.sqrt(2 * np.pi)


def _studentized(inside: Tail, freedom: float) -> Tail:
    """Return the tail for an estimated standard deviation, from the inside for a known one."""
    # The density of s = √(χ²/freedom), on even steps of log s.
    reach = 9 / np.sqrt(freedom)
    step = min(0.06, 0.4 / np.sqrt(freedom))  # the greater the freedom, the narrower the density
    logs = np.arange(-max(2 * reach, 1.5), min(max(reach, 0.7), 3), step)
    half = freedom / 2
    weights = np.exp(
        half * np.log(half) - gammaln(half) + np.log(2) + freedom * logs
        - half * np.exp(2 * logs)
    ) * step  # fmt: skip
    kept = weights > NEGLIGIBLE * weights.max()
    deviations, weights = np.exp(logs[kept]), weights[kept]

    def tail(statistics: np.ndarray) -> np.ndarray:
        if len(statistics) > MOST:
            nodes = np.linspace(0, statistics.max(), MOST)
            return np.exp(np.interp(statistics, nodes, np.log(np.maximum(tail(nodes), 1e-300))))
        parts = [
            np.clip((1 - inside(statistics[i : i + CHUNK, None] * deviations)) @ weights, 0, 1)
            for i in range(0, len(statistics), CHUNK)
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    return tail
