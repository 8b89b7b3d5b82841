"""A comparison → its differences place by place, for the page's sentences and its forest plot.

Both are made from the same places, so that neither can contradict the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from nnexp.compare.against import Against, Difference
from nnexp.compare.comparison import Comparison
from nnexp.compare.families import Judged
from nnexp.compare.grid import Cell, Grid
from nnexp.compare.judgement import Judgement
from nnexp.compare.multiplicity import LEVEL
from nnexp.compare.selection import Group
from nnexp.figures.series import plain, setting_in_words

NO_SPREAD = "no spread between seeds"
NO_AVERAGE = "at too few columns where all can be compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """One row less what it is compared with."""

    name: str
    settings: Mapping[str, str]
    value: float | None = None
    low: float | None = None  # of the simultaneous interval; none where it is not judged
    high: float | None = None
    differs: bool = False  # whether the interval excludes 0
    tied: bool = False  # with the best: the same mean
    problem: str = ""  # why it is not judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The differences in one column of a table, over its columns, or along them."""

    table: str = ""  # the settings that tell it from other tables
    column: str = ""
    over: str = ""  # "average over batch size", "per doubling of batch size"; nothing: one column
    base: str = ""  # what all are compared with; nothing where nothing can be compared
    best: bool = False  # whether the base was not asked for, but is the best here
    mean: float | None = None  # of the best
    gaps: Sequence[Gap] = field(default_factory=list)
    note: str = ""  # the columns that an average leaves out


def find_places(comparison: Comparison) -> list[Place]:
    """Return every place where rows were compared, each table's average before its columns."""
    if comparison.against:
        sums = comparison.against.averages
        places = [*_to_baseline(comparison, [*sums, *comparison.against.differences])]
    else:
        pairs = zip(comparison.grids, comparison.rankings, strict=False)
        places = [place for grid, ranking in pairs for place in _to_best(grid, ranking)]
    return [_with_all_rows(place, places) if place.over else place for place in places]


def find_trends(comparison: Comparison) -> list[Place]:
    """Return how the differences to a baseline change along the columns, for each table."""
    return [*_to_baseline(comparison, comparison.against.trends)] if comparison.against else []


def setting_words(settings: Mapping[str, str]) -> str:
    """Return settings as words, a norm by its name alone: `group, batch size 8`."""
    return ", ".join(setting_in_words(k, value) for k, value in settings.items() if value != "null")


def _to_baseline(comparison: Comparison, differences: Sequence[Difference]) -> Iterator[Place]:
    layout, against = comparison.layout, comparison.against
    assert against is not None
    key, _, value = against.label.partition("=")
    own = _own_settings(comparison, against)
    places: dict[tuple[str, str, str], list[Difference]] = {}
    for one in differences:
        table = setting_words(_among(one.settings, layout.layers))
        column = setting_words(_among(one.settings, layout.columns))
        over = " ".join(map(plain, one.over.split(" ")))
        places.setdefault((table, column, over), []).append(one)
    tables = list(dict.fromkeys(table for table, _, _ in places))
    for (table, column, over), members in sorted(
        places.items(), key=lambda item: tables.index(item[0][0])
    ):
        yield Place(
            table=table,
            column=column,
            over=over,
            base=setting_words({key: value}),
            gaps=[_gap_of(one, {**one.treatment, **_among(one.settings, own)}) for one in members],
            note=members[0].notes[0] if over and members[0].notes else "",
        )


def _own_settings(comparison: Comparison, against: Against) -> list[str]:
    """Return the settings that name a difference beside what is compared."""
    layout = comparison.layout
    others = {*layout.columns, *layout.layers, *layout.implied}
    settings = [one.settings for one in against.differences]
    return [
        key
        for key in settings[0]
        if key not in others and len({one.get(key) for one in settings}) > 1
    ]


def _among(settings: Mapping[str, str], keys: Sequence[str]) -> dict[str, str]:
    return {key: settings[key] for key in keys if key in settings}


def _gap_of(one: Difference, settings: dict[str, str]) -> Gap:
    return Gap(
        name=setting_words(settings),
        settings=settings,
        value=one.difference,
        low=one.low,
        high=one.high,
        differs=one.p is not None and one.p < 1 - LEVEL,
        problem="" if one.p is not None else _why_not(one),
    )


def _why_not(one: Difference) -> str:
    """Return why a difference has no interval; the notes of an average are of something else."""
    return NO_SPREAD if one.over or not one.notes else ", ".join(one.notes)


def _to_best(grid: Grid, ranking: Judgement) -> Iterator[Place]:
    yield from _average(grid, ranking)
    for column in grid.columns:
        cells = {row: cell for row in grid.rows if (cell := grid.cell(row, column)).statuses}
        best = next((row for row in cells if row == ranking.baselines.get(column)), None)
        yield Place(
            table=setting_words(grid.layer),
            column=_words(grid.column_keys, column),
            base=_words(grid.row_keys, best) if best else "",
            best=True,
            mean=cells[best].mean if best else None,
            gaps=[
                _gap_to_best(grid, row, ranking.at(column, row), cell, cells.get(best or ()))
                for row, cell in cells.items()
                if row != best
            ],
        )


def _average(grid: Grid, ranking: Judgement) -> Iterator[Place]:
    judged = list(ranking.averages.judged.values())
    if not judged:
        return
    best, weights = cast("Group", judged[0].contrast.base), judged[0].contrast.weights
    means = ranking.model.places
    used = [place for place, _ in weights]
    others = ["/".join(column) for column in grid.columns if column not in used]
    keys = ", ".join(map(plain, grid.column_keys))
    yield Place(
        table=setting_words(grid.layer),
        over=f"average over {keys}",
        base=_words(grid.row_keys, best),
        best=True,
        mean=sum(weight * means[place].means[best] for place, weight in weights),
        gaps=[
            replace(_gap_to_best(grid, cast("Group", one.contrast.arm), one), tied=one.value == 0)
            for one in judged
        ],
        note=f"without {keys} {', '.join(others)}, where not every row can be compared"
        if others
        else "",
    )


def _gap_to_best(
    grid: Grid,
    row: Group,
    judged: Judged | None,
    cell: Cell | None = None,
    best: Cell | None = None,
) -> Gap:
    one = Gap(name=_words(grid.row_keys, row), settings=dict(zip(grid.row_keys, row, strict=True)))
    if judged is None:
        if cell is None or best is None or not cell.competes:
            return replace(one, problem=_problem(cell) if cell else "")
        value = (cell.mean or 0.0) - (best.mean or 0.0)
        return replace(one, value=value, problem="no seeds in common, which are pairs here")
    return replace(
        one,
        value=judged.value,
        low=judged.low,
        high=judged.high,
        differs=judged.differs,
        tied=bool(cell and best and cell.mean == best.mean and not judged.differs),
        problem="" if judged.p is not None else NO_SPREAD,
    )


def _problem(cell: Cell) -> str:
    """Return why a cell cannot be compared."""
    return ", ".join(cell.absent) or "one seed"


def _with_all_rows(average: Place, places: Sequence[Place]) -> Place:
    """Return an average that also names the rows which are no part of it, and why."""
    known = {average.base, *(gap.name for gap in average.gaps)}
    problems: dict[str, list[str]] = {}
    settings = {}
    for place in places:
        if place.table == average.table:
            for gap in place.gaps:
                problems.setdefault(gap.name, []).append(gap.problem)
                settings[gap.name] = gap.settings
    missing = [
        Gap(
            name=name,
            settings=settings[name],
            problem=", ".join(dict.fromkeys(filter(None, said))) or NO_AVERAGE,
        )
        for name, said in problems.items()
        if name not in known
    ]
    return replace(average, gaps=[*average.gaps, *missing])


def _words(keys: Sequence[str], values: Group) -> str:
    return setting_words(dict(zip(keys, values, strict=True)))
