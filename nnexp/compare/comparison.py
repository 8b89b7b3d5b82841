"""Rows and a question → tables, differences, and what has to be said with them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from nnexp.compare.against import PairedDifference, compare_against
from nnexp.compare.best import Choice, choose, uneven
from nnexp.compare.columns import SETTINGS, Row, shown
from nnexp.compare.fairness import find_unfair
from nnexp.compare.grid import Grid, Layout, lay_out, make_grids, sort_grid
from nnexp.compare.selection import (
    filter_rows,
    find_metric,
    find_setting,
    in_order,
    values_of,
    varying,
)
from nnexp.settings import NOT_IDENTITY, ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be compared, and how it is laid out."""

    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    metric: str = "test_accuracy"
    where: Sequence[str] = ()
    sort: str | None = None
    against: str | None = None
    best: str | None = None  # the setting of which every cell is shown at its best value
    everything: bool = False  # also the settings that are the same in every run


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Tables, and what has to be said with them."""

    metric: str
    layout: Layout
    grids: list[Grid]
    comparisons: list[PairedDifference]
    against: str  # `key=value`, or nothing
    runs: int
    warnings: list[str]
    choices: list[Choice] = field(default_factory=list)  # how each cell chose its best value
    along: dict[str, list[str]] = field(default_factory=dict)  # settings told by the others
    same: dict[str, str] = field(default_factory=dict)  # settings that are equal in every run


def make_comparison(rows: Sequence[Row], question: Question) -> Comparison:
    """Return the tables that a question asks of the rows.

    Raises:
        ConfigError: The question names what the runs do not have.
    """
    rows = filter_rows(rows, question.where)
    runs = len(rows)
    metric = find_metric(question.metric, rows)
    row_keys = [find_setting(key) for key in question.rows]
    column_keys = [find_setting(key) for key in question.columns]
    axes = [*row_keys, *column_keys]
    rows, choices = _at_best(rows, question.best, axes)
    if twice := next((key for key in axes if axes.count(key) > 1), None):
        raise ConfigError(f"{twice} is named twice in --rows and --cols", "name it once")
    layout = lay_out(rows, row_keys, column_keys)
    comparisons = (
        compare_against(rows, metric, question.against, row_keys) if question.against else []
    )
    return Comparison(
        metric=metric,
        layout=layout,
        grids=_sorted(make_grids(rows, layout, metric), layout, metric, question.sort),
        comparisons=comparisons,
        against=_label(question.against, comparisons),
        runs=runs,
        warnings=[*find_unfair(rows, layout, axes), *uneven(choices)],
        choices=choices,
        along={key: _values(rows, key) for key in layout.along},
        same=_same(rows) if question.everything else {},
    )


def _at_best(
    rows: list[Row], word: str | None, axes: Sequence[str]
) -> tuple[list[Row], list[Choice]]:
    if word is None:
        return rows, []
    key = find_setting(word)
    if key in axes:
        raise ConfigError(f"{key} is chosen by --best", "leave it out of --rows and --cols")
    return choose(rows, key)


def _sorted(grids: list[Grid], layout: Layout, metric: str, word: str | None) -> list[Grid]:
    if word is None:
        return grids
    key = word.removeprefix("-")
    key = key if key == metric else find_setting(key)
    if key != metric and key not in layout.rows:
        raise ConfigError(
            f"the rows cannot be sorted by {key}",
            f"--sort takes {', '.join([*layout.rows, metric])}, or one with - before it",
        )
    return [sort_grid(grid, key, descending=word.startswith("-")) for grid in grids]


def _label(against: str | None, comparisons: Sequence[PairedDifference]) -> str:
    if not against:
        return ""
    return f"{next(iter(comparisons[0].treatment))}={against.partition('=')[2] or against}"


def _values(rows: Sequence[Row], key: str) -> list[str]:
    return [group[0] for group in in_order(values_of(row, [key]) for row in rows)]


def _same(rows: Sequence[Row]) -> dict[str, str]:
    """Return every setting that all runs share, those that decide no result left out."""
    changing = {*varying(rows), *NOT_IDENTITY, "seed"}
    return {key: shown(rows[0][key]) for key in SETTINGS if key not in changing}
