"""A linear model and comparisons → differences with intervals and p-values for all at once."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from nnexp.compare.linear_model import Contrast, Estimate, LinearModel, Weights
from nnexp.compare.multiplicity import (
    LEVEL,
    Tail,
    critical_value,
    dunnett_tail,
    sidak_tail,
    together,
    tukey_tail,
    two_sided,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A contrast with what can be said of it; neither interval nor p without a spread."""

    contrast: Contrast
    value: float
    error: float
    freedom: float
    low: float | None = None  # of the simultaneous interval
    high: float | None = None
    p: float | None = None  # for the whole family
    p_alone: float | None = None  # as if nothing else had been compared

    @property
    def differs(self) -> bool:
        """Whether the simultaneous interval excludes 0."""
        return self.p is not None and self.p < 1 - LEVEL


def _student(freedom: float) -> Tail:
    return sidak_tail(1, freedom)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Comparisons that are judged together, so that all their intervals hold at once."""

    method: str = ""  # Dunnett, Tukey or Šidák
    comparisons: int = 0  # how many the p-values are corrected for
    tail: Callable[[float], Tail] = _student  # of a typical comparison, by its degrees of freedom
    judged: dict[Contrast, Judged] = field(default_factory=dict)


def judge_against(model: LinearModel, contrasts: Sequence[Contrast]) -> Family:
    """Judge comparisons with baselines by Dunnett, or by Šidák where variances are not shared.

    Where each place has a variance of its own, Dunnett's at each and Šidák's over the places.
    """
    known = _estimates(model, contrasts)
    groups: dict[Hashable, list[Contrast]] = {}
    for one in known:
        groups.setdefault((one.base, one.weights), []).append(one)
    factors = {name: _factors(model, members) for name, members in groups.items()}

    def tail(names: Sequence[Hashable], freedom: float) -> Tail:
        return dunnett_tail(tuple(factors[name] for name in names), freedom)

    return _judge_groups(model, known, groups, "Dunnett", tail, len(known))


def judge_pairs(
    model: LinearModel, contrasts: Sequence[Contrast], sizes: Mapping[Weights, int]
) -> Family:
    """Judge comparisons as some of all pairs, by Tukey or, where variances are not shared, Šidák.

    Args:
        model: The model of the cells.
        contrasts: The comparisons that are asked for.
        sizes: For the weights of each group of arms, how many arms it has.
    """
    known = _estimates(model, contrasts)
    groups: dict[Weights, list[Contrast]] = {weights: [] for weights in sizes}
    for one in known:
        groups[one.weights].append(one)

    def tail(names: Sequence[Weights], freedom: float) -> Tail:
        return tukey_tail(tuple(sizes[name] for name in names), freedom)

    pairs = sum(size * (size - 1) // 2 for size in sizes.values())
    return _judge_groups(model, known, groups, "Tukey", tail, pairs)


def _judge_groups(
    model: LinearModel,
    known: Mapping[Contrast, Estimate],
    groups: Mapping[Any, Sequence[Contrast]],
    method: str,
    tail: Callable[[Sequence[Any], float], Tail],
    comparisons: int,
) -> Family:
    """Return the family, by the method where the variances allow it."""
    variances = {name: {known[one].sources for one in members} for name, members in groups.items()}
    shared = {sources for group in variances.values() for sources in group}
    simple = model.has_independent_means and all(len(sources) == 1 for sources in shared)
    judged: dict[Contrast, Judged] = {}
    if simple and len(shared) == 1:
        of_freedom = partial(tail, list(groups))
        judged = _judged(known, list(known), of_freedom(_freedom(known)))
    elif simple and all(len(group) <= 1 for group in variances.values()):
        for name, members in groups.items():
            alone = {one: known[one] for one in members}
            limit = together(tail([name], _freedom(alone)), len(groups)) if members else None
            judged |= _judged(alone, members, limit) if limit else {}
        of_freedom = partial(_alone, tail, list(groups))
    else:
        method, of_freedom = "Šidák", partial(sidak_tail, comparisons)
        for one, estimate in known.items():
            judged |= _judged(known, [one], of_freedom(estimate.freedom))
    return Family(
        method=method,
        comparisons=comparisons,
        tail=of_freedom,
        judged={one: judged[one] for one in known},
    )


def _alone(
    tail: Callable[[Sequence[Any], float], Tail], names: Sequence[Any], freedom: float
) -> Tail:
    """Return the tail of one group of several that have a variance each."""
    return together(tail(names[:1], freedom), len(names))


def _estimates(model: LinearModel, contrasts: Sequence[Contrast]) -> dict[Contrast, Estimate]:
    estimates = {one: model.estimate(one) for one in contrasts}
    return {one: estimate for one, estimate in estimates.items() if estimate is not None}


def _factors(model: LinearModel, contrasts: Sequence[Contrast]) -> tuple[float, ...]:
    shares = [(model.share(one, one.base), model.share(one, one.arm)) for one in contrasts]
    return tuple((base / (base + arm)) ** 0.5 for base, arm in shares)


def _freedom(estimates: Mapping[Contrast, Estimate]) -> float:
    return next((one.freedom for one in estimates.values()), 1.0)


def _judged(
    known: Mapping[Contrast, Estimate], members: Sequence[Contrast], tail: Tail
) -> dict[Contrast, Judged]:
    """Return contrasts with their intervals and p-values; where nothing varies, without."""
    judged = {
        one: Judged(contrast=one, value=known[one].value, error=0.0, freedom=0.0) for one in members
    }
    tested = [one for one in members if known[one].error > 0]
    if not tested:
        return judged
    critical = critical_value(tail)
    statistics = np.array([known[one].value / known[one].error for one in tested])
    for one, p in zip(tested, tail(np.abs(statistics)), strict=True):
        estimate = known[one]
        reach = critical * estimate.error
        alone = two_sided(np.array([estimate.value / estimate.error]), estimate.freedom)
        judged[one] = Judged(
            contrast=one,
            value=estimate.value,
            error=estimate.error,
            freedom=estimate.freedom,
            low=estimate.value - reach,
            high=estimate.value + reach,
            p=float(p),
            p_alone=float(alone[0]),
        )
    return judged
