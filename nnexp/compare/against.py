"""Rows → paired differences to one value of a setting, over seeds, corrected for their number."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nnexp.compare.columns import Row
from nnexp.compare.grid import Chosen
from nnexp.compare.selection import (
    Group,
    filter_rows,
    find_setting,
    goes_with,
    grouped,
    values_of,
    varying,
)
from nnexp.compare.statistics import holm, mean_of, paired_test
from nnexp.settings import ConfigError

Pairing = dict[int, float]  # seed → metric


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """One value of the compared setting against the baseline, where all else is equal."""

    treatment: dict[str, str]  # the compared setting, and those of its group that differ with it
    settings: dict[str, str]  # what else varies, and is equal in both
    pairs: int = 0
    mean: float | None = None  # over the pairs
    baseline: float | None = None  # over the pairs
    difference: float | None = None
    low: float | None = None  # of the 95 % t interval of the difference
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    chosen: Chosen | None = None  # what the treatment's runs were chosen by
    baseline_chosen: Chosen | None = None
    notes: tuple[str, ...] = ()


def compare_against(
    rows: Sequence[Row], metric: str, against: str, row_keys: Sequence[str] = ()
) -> list[PairedDifference]:
    """Return the paired difference of every other value to `against`, over the seeds both have.

    `against` is a value of the first row setting, by default of norm, or `key=value`. A pair is
    equal in every other setting that varies. Only settings of the compared one's own group
    that the baseline does not vary may differ with it: norm=group norm.num_groups=8 pairs with
    norm=batch. Holm's correction is over all comparisons that have a p-value.

    Raises:
        ConfigError: No run has that value, or all have it.
    """
    key, value = _baseline(rows, against, row_keys)
    base = filter_rows(rows, [f"{key}={value}"])
    others = [row for row in rows if not any(row is one for one in base)]
    if not others:
        raise ConfigError(f"all runs have {key}={value}", "there is nothing to compare with it")
    changing = [name for name in varying(rows) if name != key]
    own = [name for name in changing if _is_of_group(name, key) and len(_values(base, name)) == 1]
    rest = [name for name in changing if name not in own]
    bases = dict(grouped(base, rest))
    named = [key, *(name for name in own if not goes_with(others, name, [key]))]
    comparisons = [
        _compared(members, bases.get(setting, []), metric, named, rest)
        for setting, parts in grouped(others, rest)
        for _, members in grouped(parts, named)
    ]
    return _corrected(comparisons)


def _baseline(rows: Sequence[Row], against: str, row_keys: Sequence[str]) -> tuple[str, str]:
    word, equals, value = against.partition("=")
    if equals:
        return find_setting(word), value
    key = row_keys[0] if row_keys else "norm"
    if (against,) not in _values(rows, key):
        for other in varying(rows):
            if (against,) in _values(rows, other):
                raise ConfigError(f"no run has {key}={against}", f"did you mean {other}={against}")
    return key, against


def _is_of_group(name: str, key: str) -> bool:
    return name.startswith(f"{key.removesuffix('.name')}.")


def _values(rows: Sequence[Row], key: str) -> set[Group]:
    return {values_of(row, [key]) for row in rows}


def _compared(
    rows: Sequence[Row], base: Sequence[Row], metric: str, own: Sequence[str], rest: Sequence[str]
) -> PairedDifference:
    treatment = dict(zip(own, values_of(rows[0], own), strict=True))
    settings = dict(zip(rest, values_of(rows[0], rest), strict=True))
    left, right = _by_seed(rows, metric), _by_seed(base, metric)
    seeds = sorted(set(left) & set(right))
    notes = _notes(rows, base, left, right)
    if not seeds:
        return PairedDifference(treatment=treatment, settings=settings, notes=notes)
    values, others = [left[seed] for seed in seeds], [right[seed] for seed in seeds]
    test = paired_test(values, others)
    if test.pairs == 1:
        notes = ("one pair: no interval, no test", *notes)
    elif test.p is None:
        notes = ("every pair differs by the same: no interval, no test", *notes)
    return PairedDifference(
        treatment=treatment,
        settings=settings,
        pairs=test.pairs,
        mean=mean_of(values),
        baseline=mean_of(others),
        difference=test.difference,
        low=test.low,
        high=test.high,
        p=test.p,
        chosen=_chosen(rows),
        baseline_chosen=_chosen(base),
        notes=notes,
    )


def _chosen(rows: Sequence[Row]) -> Chosen | None:
    return rows[0].get("chosen") if rows else None


def _by_seed(rows: Sequence[Row], metric: str) -> Pairing:
    return {
        row["seed"]: float(row[metric])
        for row in rows
        if row["status"] == "done" and row.get(metric) is not None
    }


def _notes(
    rows: Sequence[Row], base: Sequence[Row], left: Pairing, right: Pairing
) -> tuple[str, ...]:
    """Say which seeds have no partner, and why."""
    if not base:
        return ("no run of the baseline is equal in all else",)
    sides = ((rows, left, "here"), (base, right, "in the baseline"))
    unchosen = tuple(
        f"no {chosen.key} could be chosen {whose}"
        for members, _, whose in sides
        if (chosen := _chosen(members)) and chosen.value is None
    )
    if unchosen:
        return unchosen
    notes = []
    for members, figures, whose in sides:
        for row in members:
            if row["seed"] not in figures:
                notes.append(f"seed {row['seed']} {_state(row)} {whose}")
    ran = {row["seed"] for row in rows}, {row["seed"] for row in base}
    if lonely := sorted(ran[0] ^ ran[1]):
        listed = ", ".join(map(str, lonely))
        notes.append(f"dropped without a partner: seed{'s' if len(lonely) > 1 else ''} {listed}")
    return tuple(notes)


def _state(row: Row) -> str:
    return "has no value" if row["status"] == "done" else str(row["status"])


def _corrected(comparisons: Sequence[PairedDifference]) -> list[PairedDifference]:
    tested = [one.p for one in comparisons if one.p is not None]
    corrected = iter(holm(tested))
    return [one if one.p is None else replace(one, p_holm=next(corrected)) for one in comparisons]
