"""Cells of tables → their differences, judged: against a baseline, or all rows with each other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nnexp.compare.families import Family, Judged, judge_against, judge_pairs
from nnexp.compare.linear_model import Arm, Contrast, LinearModel, Place, Weights
from nnexp.compare.variance_pools import Cell as Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The model of the cells, and the families of comparisons that were asked of it."""

    model: LinearModel
    family: Family  # every comparison at its place
    averages: Family = field(default_factory=Family)  # over the places of a table
    trends: Family = field(default_factory=Family)  # change of a difference along the columns
    baselines: Mapping[Place, Arm] = field(default_factory=dict)  # what each place is compared with

    def at(self, place: Place, arm: Arm) -> Judged | None:
        """Return the comparison of an arm with its place's baseline or best; None without one."""
        base = self.baselines.get(place)
        return self.family.judged.get(Contrast(arm=arm, base=base, weights=((place, 1.0),)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The places of one table, in order, with a number for each where its columns are numbers."""

    places: tuple[Place, ...]
    numbers: tuple[float, ...] | None = None


def judge_with_baseline(
    cells: Mapping[Key, Mapping[int, float]],
    floors: Mapping[Key, float],
    base: Arm,
    tables: Sequence[Series],
    *,
    paired: bool = False,
) -> Judgement:
    """Judge every arm against `base` at its place, on average over a table, and along it."""
    model = LinearModel(cells, floors, blocked=paired)
    places = [place for place in model.places if base in model.arms(place)]
    contrasts = [
        Contrast(arm=arm, base=base, weights=((place, 1.0),))
        for place in places
        for arm in model.arms(place)
        if arm != base
    ]
    means = [
        one for weights in _averages(model, tables) for one in _with_base(model, weights, base)
    ]
    slopes = [one for weights in _trends(model, tables) for one in _with_base(model, weights, base)]
    return Judgement(
        model=model,
        family=judge_against(model, contrasts),
        averages=judge_against(model, means),
        trends=judge_against(model, slopes),
        baselines=dict.fromkeys(places, base),
    )


def judge_with_best(
    cells: Mapping[Key, Mapping[int, float]],
    floors: Mapping[Key, float],
    sign: int,
    tables: Sequence[Series] = (),
    *,
    paired: bool = False,
) -> Judgement:
    """Judge every arm against the best of its place, as some of all pairs of the place.

    `sign` is 1 where more is better and -1 where less is. Averages over a table likewise.
    """
    model = LinearModel(cells, floors, blocked=paired)
    single = [((place, 1.0),) for place in model.places]
    family, baselines = _with_best(model, single, sign)
    averages, _ = _with_best(model, list(_averages(model, tables)), sign)
    return Judgement(
        model=model,
        family=family,
        averages=averages,
        baselines={weights[0][0]: best for weights, best in baselines.items()},
    )


def _with_base(model: LinearModel, weights: Weights, base: Arm) -> Iterator[Contrast]:
    arms = model.arms(weights[0][0])
    if base in arms:
        yield from (Contrast(arm=arm, base=base, weights=weights) for arm in arms if arm != base)


def _with_best(
    model: LinearModel, groups: Sequence[Weights], sign: int
) -> tuple[Family, dict[Weights, Arm]]:
    contrasts, sizes, best = [], dict[Weights, int](), dict[Weights, Arm]()
    for weights in groups:
        arms = model.arms(weights[0][0])
        means = {arm: sign * _mean(model, arm, weights) for arm in arms}
        top = max(means, key=lambda arm: means[arm])
        sizes[weights], best[weights] = len(arms), top
        contrasts += [Contrast(arm=arm, base=top, weights=weights) for arm in arms if arm != top]
    return judge_pairs(model, contrasts, sizes), best


def _mean(model: LinearModel, arm: Arm, weights: Weights) -> float:
    return sum(weight * model.places[place].means[arm] for place, weight in weights)


def _averages(model: LinearModel, tables: Sequence[Series]) -> Iterator[Weights]:
    """Yield equal weights over the places of each table that have every arm of it."""
    for table in tables:
        places = _complete(model, table)
        if len(places) > 1:
            yield tuple((place, 1 / len(places)) for place in places)


def _trends(model: LinearModel, tables: Sequence[Series]) -> Iterator[Weights]:
    """Yield the weights of the slope over the logarithm to base 2 of the columns' numbers."""
    for table in tables:
        places = _complete(model, table)
        if table.numbers is None or len(places) < 3 or min(table.numbers) <= 0:
            continue
        numbers = dict(zip(table.places, table.numbers, strict=True))
        steps = np.log2([numbers[place] for place in places])
        steps -= steps.mean()
        slopes = steps / (steps @ steps)
        yield tuple((place, float(slope)) for place, slope in zip(places, slopes, strict=True))


def _complete(model: LinearModel, table: Series) -> list[Place]:
    """Return the places of a table at which all its arms can be compared."""
    known = {place: set(model.arms(place)) for place in table.places if place in model.places}
    every = set().union(*known.values())
    return [place for place, arms in known.items() if arms == every]
