"""Rows → differences to one value of a setting, where all else is equal, judged together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import cast

from nnexp.compare.columns import Row
from nnexp.compare.families import Family, Judged
from nnexp.compare.grid import Cell, Chosen, make_cell
from nnexp.compare.judgement import Judgement, Series, judge_with_baseline
from nnexp.compare.selection import (
    Group,
    check_one_value,
    filter_rows,
    find_setting,
    goes_with,
    grouped,
    in_order,
    values_of,
    varying,
)
from nnexp.settings import ConfigError
from nnexp.settings.values import is_typed_number

BASE = "baseline"  # the arm that all others of a place are compared with


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One value of the compared setting against the baseline, where all else is equal."""

    treatment: dict[str, str]  # the compared setting, and those of its group that differ with it
    settings: dict[str, str]  # what else varies, and is equal in both
    over: str = ""  # "average over batch_size", "per doubling of batch_size"; nothing: at a place
    seeds: int = 0
    baseline_seeds: int = 0
    mean: float | None = None
    baseline: float | None = None
    difference: float | None = None
    low: float | None = None  # of the simultaneous 95 % interval
    high: float | None = None
    p: float | None = None  # for all comparisons of its kind together
    p_alone: float | None = None  # as if there were no other
    chosen: Chosen | None = None  # what the treatment's runs were chosen by
    baseline_chosen: Chosen | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """All differences to a baseline, and how they were judged."""

    label: str  # key=value
    differences: list[Difference]
    averages: list[Difference] = field(default_factory=list)
    trends: list[Difference] = field(default_factory=list)
    judgements: dict[Group, Judgement]  # a table's own settings → how it was judged


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Which cells are compared with which: groups of rows, by what else is equal."""

    key: str
    value: str
    own: list[str]  # the compared setting, and those that tell its variants apart
    rest: list[str]  # what is equal in both
    arms: dict[tuple[Group, Group], list[Row]]  # rest, own → rows
    bases: dict[Group, list[Row]]  # rest → rows


def compare_against(  # noqa: PLR0913  a question has as many parts
    rows: Sequence[Row],
    metric: str,
    against: str,
    row_keys: Sequence[str] = (),
    column_keys: Sequence[str] = (),
    table_keys: Sequence[str] = (),
    *,
    paired: bool = False,
) -> Against:
    """Return the difference of every other value to `against`, by Dunnett's test where it applies.

    `against` is a value of the first row setting, by default of norm, or `key=value`. What is
    compared is equal in every other setting that varies. Only settings of the compared one's own
    group that the baseline does not vary may differ with it: norm=group norm.num_groups=8 is
    compared with norm=batch. With columns, also on average over them, and where these are numbers,
    the change of the difference for each doubling. Each table, that is each combination of values
    of `table_keys`, is judged by itself; where `paired`, over differences between equal seeds.

    Raises:
        ConfigError: No run has that value, or all have it.
    """
    plan = _plan(rows, against, row_keys)
    cells = {place: make_cell(members, metric) for place, members in plan.arms.items()}
    cells |= {(rest, (BASE,)): make_cell(members, metric) for rest, members in plan.bases.items()}
    columns = [key for key in column_keys if key in plan.rest]
    tables: dict[Group, dict[tuple[Group, Group], Cell]] = {}
    for (settings, arm), cell in cells.items():
        table = _values_at(plan, settings, [key for key in table_keys if key in plan.rest])
        tables.setdefault(table, {})[settings, arm] = cell
    judgements = {table: _judge(plan, own, columns, paired) for table, own in tables.items()}
    differences = {
        place: _difference(plan, place, cells, judgements[table])
        for table, members in tables.items()
        for place in members
        if place in plan.arms
    }
    found = judgements.values()
    return Against(
        label=f"{plan.key}={plan.value}",
        differences=[differences[place] for place in plan.arms],
        averages=list(_summed(plan, [j.averages for j in found], columns, "average over")),
        trends=list(_summed(plan, [j.trends for j in found], columns, "per doubling of")),
        judgements=judgements,
    )


def _judge(
    plan: _Plan, cells: dict[tuple[Group, Group], Cell], columns: Sequence[str], paired: bool
) -> Judgement:
    known = {place: cell for place, cell in cells.items() if cell.competes}
    return judge_with_baseline(
        {place: cell.values for place, cell in known.items()},
        {place: cell.floor for place, cell in known.items()},
        (BASE,),
        list(_series(plan, in_order({place for place, _ in cells}), columns)),
        paired=paired,
    )


def _plan(rows: Sequence[Row], against: str, row_keys: Sequence[str]) -> _Plan:
    key, value = _baseline(rows, against, row_keys)
    base = filter_rows(rows, [f"{key}={value}"])
    taken = set(map(id, base))
    others = [row for row in rows if id(row) not in taken]
    if not others:
        raise ConfigError(f"all runs have {key}={value}", "there is nothing to compare with it")
    changing = [name for name in varying(rows) if name != key]
    own = [name for name in changing if _is_own(name, key) and len(_values(base, name)) == 1]
    rest = [name for name in changing if name not in own]
    named = [key, *(name for name in own if not goes_with(others, name, [key]))]
    return _Plan(
        key=key,
        value=value,
        own=named,
        rest=rest,
        arms={
            (settings, arm): members
            for settings, parts in grouped(others, rest)
            for arm, members in grouped(parts, named)
        },
        bases=dict(grouped(base, rest)),
    )


def _series(plan: _Plan, places: Sequence[Group], columns: Sequence[str]) -> Iterator[Series]:
    """Yield the places that differ in nothing but the columns, in the order of these."""
    if not columns:
        return
    kept = [key for key in plan.rest if key not in columns]
    rows: dict[Group, list[Group]] = {}
    for place in places:
        rows.setdefault(_values_at(plan, place, kept), []).append(place)
    for members in rows.values():
        values = [_values_at(plan, place, columns)[0] for place in members]
        single = len(columns) == 1 and all(map(is_typed_number, values))
        yield Series(places=tuple(members), numbers=tuple(map(float, values)) if single else None)


def _values_at(plan: _Plan, place: Group, keys: Sequence[str]) -> Group:
    """Return what a place has of some of its settings."""
    return tuple(place[plan.rest.index(key)] for key in keys)


def _baseline(rows: Sequence[Row], against: str, row_keys: Sequence[str]) -> tuple[str, str]:
    word, equals, value = against.partition("=")
    check_one_value("--against", against)
    if equals:
        return find_setting(word), value
    key = row_keys[0] if row_keys else "norm"
    if (against,) not in _values(rows, key):
        for other in varying(rows):
            if (against,) in _values(rows, other):
                raise ConfigError(f"no run has {key}={against}", f"did you mean {other}={against}")
    return key, against


def _is_own(name: str, key: str) -> bool:
    """Return whether a setting says more of what the key names: its group, or a plug-in's code."""
    return name == "code" or name.startswith(f"{key.removesuffix('.name')}.")


def _values(rows: Sequence[Row], key: str) -> set[Group]:
    return {values_of(row, [key]) for row in rows}


def _difference(
    plan: _Plan,
    place: tuple[Group, Group],
    cells: dict[tuple[Group, Group], Cell],
    judgement: Judgement,
) -> Difference:
    settings, arm = place
    cell, base = cells[place], cells.get((settings, (BASE,)), Cell())
    judged = judgement.at(settings, arm)
    one = Difference(
        treatment=dict(zip(plan.own, arm, strict=True)),
        settings=dict(zip(plan.rest, settings, strict=True)),
        seeds=len(cell.values),
        baseline_seeds=len(base.values),
        mean=cell.mean,
        baseline=base.mean,
        chosen=_chosen(plan.arms[place]),
        baseline_chosen=_chosen(plan.bases.get(settings, [])),
        notes=tuple(_notes(cell, base, _chosen(plan.arms[place]), judged)),
    )
    if judged is None and cell.values and base.values and not _lost(cell, base):
        return replace(one, difference=(cell.mean or 0.0) - (base.mean or 0.0))
    return _with_judged(one, judged)


def _with_judged(one: Difference, judged: Judged | None) -> Difference:
    if judged is None:
        return one
    return replace(
        one,
        difference=judged.value,
        low=judged.low,
        high=judged.high,
        p=judged.p,
        p_alone=judged.p_alone,
    )


def _summed(
    plan: _Plan, families: Sequence[Family], columns: Sequence[str], over: str
) -> Iterator[Difference]:
    """Yield the differences that several places were taken together for."""
    kept = [key for key in plan.rest if key not in columns]
    tables: dict[Group, list[Group]] = {}
    for place in in_order(plan.bases):
        tables.setdefault(_values_at(plan, place, kept), []).append(place)
    for contrast, one in chain.from_iterable(family.judged.items() for family in families):
        arm, places = cast("Group", contrast.arm), [cast("Group", p) for p, _ in contrast.weights]
        table = _values_at(plan, places[0], kept)
        yield _with_judged(
            Difference(
                treatment=dict(zip(plan.own, arm, strict=True)),
                settings=dict(zip(kept, table, strict=True)),
                over=f"{over} {', '.join(columns)}",
                notes=_left_out(plan, places, tables[table], columns),
            ),
            one,
        )


def _left_out(
    plan: _Plan, used: Sequence[Group], places: Sequence[Group], columns: Sequence[str]
) -> tuple[str, ...]:
    """Name the columns that are not part of a sum, since not every row has a value there."""
    others = ["/".join(_values_at(plan, place, columns)) for place in places if place not in used]
    if not others:
        return ()
    names = f"{', '.join(columns)} {', '.join(others)}"
    return (f"without {names}, where not every row can be compared",)


def _chosen(rows: Sequence[Row]) -> Chosen | None:
    return rows[0].get("chosen") if rows else None


def _lost(*cells: Cell) -> bool:
    return any(cell.statuses["diverged"] for cell in cells)


def _notes(cell: Cell, base: Cell, chosen: Chosen | None, judged: Judged | None) -> Iterator[str]:
    """Say what hinders the comparison, and what became of runs without a value."""
    if not base.statuses:
        yield "no run of the baseline is equal in all else"
        return
    for one, whose in ((cell, ""), (base, " of the baseline")):
        if one.chosen and one.chosen.value is None:
            yield f"no {one.chosen.key} could be chosen{whose}"
        elif one.absent:
            yield f"{', '.join(one.absent)}{whose}"
        if len(one.values) == 1 and not _lost(one):
            yield f"one seed{whose}: its noise is unknown, so no interval"
    if judged is not None and judged.p is None:
        yield "the difference has no spread between seeds: no interval, no test"
    elif judged is None and cell.competes and base.competes:
        yield "no seeds in common, which are pairs here: no interval, no test"
