"""Figures of runs → mean, spread, and what can be said about a difference between two groups."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95  # of every interval
ROUNDING = 1e-12  # relative spread below which differences are the same number


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTest:
    """Paired differences and their t test; neither interval nor p without a spread."""

    pairs: int
    difference: float
    low: float | None = None
    high: float | None = None
    p: float | None = None


def mean_of(values: Sequence[float]) -> float | None:
    """Return the mean, or None of nothing."""
    return float(np.mean(values)) if len(values) else None


def deviation_of(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation, over n - 1, or None of fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def paired_test(values: Sequence[float], baseline: Sequence[float]) -> PairedTest:
    """Compare pairs: mean difference, its 95 % t interval, and the two-sided paired t test.

    One pair, or differences that are all the same number, have no spread to judge by: there is
    neither interval nor p.
    """
    differences = np.subtract(values, baseline)
    pairs, mean = len(differences), float(np.mean(differences))
    if pairs < 2 or _without_spread(differences, values, baseline):
        return PairedTest(pairs=pairs, difference=mean)
    from scipy.stats import ttest_rel

    test = ttest_rel(values, baseline)
    interval = test.confidence_interval(LEVEL)
    return PairedTest(
        pairs=pairs,
        difference=mean,
        low=float(interval.low),
        high=float(interval.high),
        p=float(test.pvalue),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm (1979, Scand. J. Statist. 6:65)."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.maximum.accumulate(np.take(p_values, order) * factors)
    return np.minimum(corrected, 1).tolist()


def within_noise(first: Mapping[int, float], second: Mapping[int, float]) -> bool | None:
    """Return whether the 95 % t interval of the difference of two groups, by seed, includes 0.

    Paired over the seeds that both have; by Welch (1947, Biometrika 34:28) where these are fewer
    than two. None where a group that is not paired has fewer than two values.
    """
    seeds = sorted(set(first) & set(second))
    if len(seeds) > 1:
        values, others = [first[seed] for seed in seeds], [second[seed] for seed in seeds]
        differences = np.subtract(values, others)
        if _without_spread(differences, values, others):
            return _is_zero(float(differences[0]), values, others)
        error = float(np.std(differences, ddof=1)) / math.sqrt(len(seeds))
        return abs(float(np.mean(differences))) <= _quantile(len(seeds) - 1) * error
    values, others = list(first.values()), list(second.values())
    if min(len(values), len(others)) < 2:
        return None
    return _within_noise_by_welch(values, others)


def _within_noise_by_welch(values: Sequence[float], others: Sequence[float]) -> bool:
    squares = [float(np.var(group, ddof=1)) / len(group) for group in (values, others)]
    difference = float(np.mean(values) - np.mean(others))
    if _without_spread(np.asarray(values), values) and _without_spread(np.asarray(others), others):
        return _is_zero(difference, values, others)
    freedom = sum(squares) ** 2 / sum(
        square**2 / (len(group) - 1)
        for square, group in zip(squares, (values, others), strict=True)
    )
    return abs(difference) <= _quantile(freedom) * math.sqrt(sum(squares))


def _quantile(freedom: float) -> float:
    from scipy.special import stdtrit  # scipy.stats takes a second more to import

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def _without_spread(differences: np.ndarray, *measured: Sequence[float]) -> bool:
    """Return whether differences differ only by the rounding of what they were computed from."""
    return float(np.ptp(differences)) <= ROUNDING * _size(measured)


def _is_zero(difference: float, *measured: Sequence[float]) -> bool:
    return abs(difference) <= ROUNDING * _size(measured)


def _size(measured: Sequence[Sequence[float]]) -> float:
    return max(abs(value) for group in measured for value in group)
