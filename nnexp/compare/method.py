"""How differences were judged → sentences, and records for programs."""

from collections.abc import Iterator, Mapping
from typing import Any

from nnexp.compare.families import Family
from nnexp.compare.judgement import Judgement
from nnexp.compare.metrics import metric_of
from nnexp.compare.planning import POWER, detectable, seeds_of, seeds_to_show

ONE_POINT = 0.01  # of an accuracy, which is a share

POOLS = {
    "grid": "one variance for all cells, since tests find no inequality",
    "all but one": (
        "one variance for all cells but one, which varies far more and has a variance of its own"
    ),
    "arm": "a variance for each row, since those of rows are unequal",
    "place": "a variance for each column, since those of columns are unequal",
    "cell": "each cell its own variance, since those of cells are unequal (Welch)",
    "pair": "each pair of cells its own variance, over common seeds (paired t test)",
}
WIDER = "a comparison of cells or rows that vary more than that has a wider interval"
METHODS = {
    "Dunnett": "Dunnett's test: each with one baseline",
    "Tukey": "Tukey's test: all pairs of a column",
    "Šidák": "Šidák's correction",
}


def method_lines(judgements: Mapping[str, Judgement], metric: str) -> list[str]:
    """Return how tables were judged, as sentences for below them; each is said once.

    `judgements` has a name for each table; what is the same in all needs none.
    """
    said: dict[str, list[str]] = {}
    judged = {name: one for name, one in judgements.items() if one.family.judged}
    for name, one in judged.items():
        for line in _lines(one, metric):
            said.setdefault(line, []).append(name)
    return [
        line if len(names) == len(judged) else f"{'; '.join(names)}: {line}"
        for line, names in said.items()
    ]


def _lines(judgement: Judgement, metric: str) -> Iterator[str]:
    yield from _family_line(judgement.family)
    yield from _variance_lines(judgement, metric)
    yield from _seed_line(judgement)
    yield from _power_line(judgement, metric)


def method_record(judgement: Judgement) -> dict[str, Any]:
    """Return the same as plain values."""
    variance = judgement.model.pools.variances.get("grid")
    return {
        "method": judgement.family.method,
        "comparisons": judgement.family.comparisons,
        "variances": pool_name(judgement),
        "standard_deviation": variance and variance[0] ** 0.5,
        "degrees_of_freedom": variance and variance[1],
        "seeds_as_blocks": judgement.model.blocked,
        "seed_correlation": judgement.model.correlation,
        "detectable_difference": detectable(judgement),
    }


def pool_name(judgement: Judgement) -> str:
    """Return what shares a variance: grid, arm, place, cell or pair."""
    return "pair" if judgement.model.paired else judgement.model.pools.by


def _family_line(family: Family) -> Iterator[str]:
    tested = [one for one in family.judged.values() if one.p is not None]
    if not tested:
        return
    if family.comparisons == 1:
        yield "95 % interval of one comparison, and the p-value that agrees with it"
        return
    yield (
        f"95 % intervals and p hold for all {family.comparisons} comparisons of this table at once "
        f"({METHODS[family.method]})"
    )


def _variance_lines(judgement: Judgement, metric: str) -> Iterator[str]:
    model, pools = judgement.model, judgement.model.pools
    variance = pools.variances.get("grid")
    if pool_name(judgement) == "grid" and variance:
        spread = _amount(variance[0] ** 0.5, metric)
        after = " after the effect of seeds" if model.blocked else ""
        freedom = f"{variance[1]:.0f} degrees of freedom"
        shared = POOLS["all but one" if pools.apart else "grid"]
        yield f"{shared}: standard deviation {spread}{after}, {freedom}"
    else:
        yield POOLS[pool_name(judgement)]
    if pool_name(judgement) in ("grid", "arm", "place"):
        yield WIDER
    if pools.apart and pool_name(judgement) in ("arm", "place"):
        yield "one cell varies far more than the others, and has a variance of its own"


def _seed_line(judgement: Judgement) -> Iterator[str]:
    model = judgement.model
    known = "" if model.correlation is None else f"{model.correlation:.2f}"
    found = f"correlation of runs that share a seed: {known}"
    if model.planned:
        line = "runs that share a seed are compared as pairs"
        line += f"; their correlation is {known}" if known else ""
    elif not known:
        return
    elif model.blocked:
        line = f"{found}, so they are compared seed by seed"
    else:
        line = f"{found}, not shown to be above 0, so taken as independent"
    if model.blocked and not all(place.is_complete for place in model.places.values()):
        line += ", over common seeds: a difference is not always that of the two means shown"
    yield line


def _power_line(judgement: Judgement, metric: str) -> Iterator[str]:
    least = detectable(judgement)
    if least is None:
        return
    seeds = f"{seeds_of(judgement)} seeds show a true difference of {_amount(least, metric)}"
    more = seeds_to_show(judgement, ONE_POINT) if metric_of(metric).in_percent else None
    takes = f"; 1 point takes {more} seeds" if more and least > ONE_POINT else ""
    yield f"{seeds} with a probability of {100 * POWER:.0f} %{takes}"


def _amount(value: float, metric: str) -> str:
    unit = " points" if metric_of(metric).in_percent else ""
    return f"{metric_of(metric).text(value)}{unit}"
