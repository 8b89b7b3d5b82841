"""Rows and a question → tables, differences, and what a reader must know of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nnexp.compare.against import Against, compare_against
from nnexp.compare.best import Choice, choose, uneven
from nnexp.compare.columns import SETTINGS, Row, shown
from nnexp.compare.commands import confirming_commands
from nnexp.compare.fairness import find_unfair
from nnexp.compare.grid import (
    Grid,
    Layout,
    lay_out,
    make_grids,
    mark_best,
    sort_grid,
)
from nnexp.compare.judgement import Judgement, Series, judge_with_best
from nnexp.compare.load import DEFAULT, Say, as_rows
from nnexp.compare.metrics import metric_of
from nnexp.compare.records import cell_records, difference_records
from nnexp.compare.selection import (
    changing,
    filter_rows,
    find_metric,
    find_setting,
    in_order,
    in_words,
    values_of,
)
from nnexp.settings import NOT_IDENTITY, ConfigError
from nnexp.settings.values import as_list

if TYPE_CHECKING:
    import pandas as pd

    from nnexp.compare.load import Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be compared, and how it is laid out.

    Raises:
        ConfigError: `confirm` without `best`, or `margin` without `against`.
    """

    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    metric: str = "test_accuracy"
    where: Sequence[str] = ()
    sort: str | None = None
    against: str | None = None
    margin: float | None = None  # a difference that does not matter, in the unit of the table
    paired: bool = False  # whether runs that share a seed are pairs, whatever their correlation
    best: str | None = None  # the setting of which every cell is shown at its best value
    confirm: bool = False  # of it only the seeds that took no part in choosing
    everything: bool = False  # also the settings that are the same in every run

    def __post_init__(self) -> None:
        for name in ("rows", "columns", "where"):
            object.__setattr__(self, name, as_list(getattr(self, name)))
        if self.confirm and self.best is None:
            raise ConfigError("--confirm is about a choice", "add --best optimizer.learning_rate")
        if self.margin is not None and self.against is None:
            raise ConfigError("--margin is about differences to a baseline", "add --against batch")

    def without_baseline(self) -> "Question":
        """Return the same question without a baseline to compare with."""
        return replace(self, against=None, margin=None)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Comparison:
    """Tables, differences, how they were judged, and what a reader must know of them."""

    metric: str
    layout: Layout
    grids: list[Grid]
    against: Against | None = None  # differences to a baseline, where one was named
    rankings: list[Judgement] = field(default_factory=list)  # of each table, where none was
    margin: float | None = None
    runs: int
    warnings: list[str]
    choices: list[Choice] = field(default_factory=list)  # how each cell chose its best value
    confirm: bool = False  # whether only seeds are shown that took no part in choosing
    implied: dict[str, list[str]] = field(default_factory=dict)  # settings that follow from others
    same: dict[str, str] = field(default_factory=dict)  # settings that are equal in every run

    def __repr__(self) -> str:
        """Return what a notebook shows: what is compared, and where its tables are."""
        return f"Comparison({self.metric} of {self.runs} runs: frame(), differences_frame())"

    @property
    def judgements(self) -> dict[str, Judgement]:
        """How each table was judged, by the settings that are its own."""
        if self.against is None:
            return {
                in_words(grid.layer): one
                for grid, one in zip(self.grids, self.rankings, strict=False)
            }
        keys = self.layout.layers
        return {
            in_words(dict(zip(keys, table, strict=False))): one
            for table, one in self.against.judgements.items()
        }

    def frame(self) -> "pd.DataFrame":
        """Return a row per cell: its settings, metric, mean, deviation, n, statuses and mark."""
        import pandas as pd

        return pd.DataFrame(cell_records(self))

    def differences_frame(self) -> "pd.DataFrame":
        """Return a row per difference, with its interval and p-values; none if not asked."""
        import pandas as pd

        return pd.DataFrame(difference_records(self))


def compare_runs(  # noqa: PLR0913  a question has as many parts
    sources: "Runs" = DEFAULT,
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    metric: str = "test_accuracy",
    where: Sequence[str] = (),
    against: str | None = None,
    margin: float | None = None,
    paired: bool = False,
    best: str | None = None,
    confirm: bool = False,
    sort: str | None = None,
    on_problem: Say | None = None,
) -> Comparison:
    """Compare runs over their seeds, as `nnexp compare` does.

    Args:
        sources: Folders of runs, runs, `results.csv` files, or what `load_runs` returned.
        rows: Settings that make the rows of the table; by default all that vary.
        columns: Settings that make its columns.
        metric: The column of results in the cells.
        where: Conditions on the runs: `norm=batch,none` or `norm!=none`.
        against: A value of the first row setting, or `key=value`, with which others are compared.
        margin: A difference that does not matter, in the unit of the table: points for accuracies.
        paired: Compare runs that share a seed as pairs, whatever their correlation.
        best: A setting, of which every cell is shown at its best value by validation accuracy.
        confirm: With `best`, show only seeds that took no part in choosing.
        sort: A row setting or the metric, with `-` before it for the reverse order.
        on_problem: Is called with a line for each problem that hinders no comparison.

    Returns:
        The comparison: `frame()` and `differences_frame()` are its tables, `warnings` what makes it
        unfair.

    Raises:
        ConfigError: There are no such runs, or the question names what they do not have.
    """
    question = Question(
        rows=rows,
        columns=columns,
        metric=metric,
        where=where,
        against=against,
        margin=margin,
        paired=paired,
        best=best,
        confirm=confirm,
        sort=sort,
    )
    return make_comparison(as_rows(sources, on_problem), question)


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
    if twice := next((key for key in axes if axes.count(key) > 1), None):
        raise ConfigError(f"{twice} is named twice in --rows and --cols", "name it once")
    rows, choices = _at_best(rows, question, axes)
    layout = lay_out(rows, row_keys, column_keys)
    grids = make_grids(rows, layout, metric)
    sign = metric_of(metric).better
    against, rankings = None, []
    if question.against:
        keys = (row_keys, column_keys, layout.layers)
        against = compare_against(rows, metric, question.against, *keys, paired=question.paired)
        axes.append(against.label.partition("=")[0])
    elif sign:
        rankings = [_rank(grid, sign, paired=question.paired) for grid in grids]
    if sign:
        grids = [
            mark_best(grid, sign, rankings[i] if rankings else None) for i, grid in enumerate(grids)
        ]
    unfair = find_unfair(rows, layout, axes)
    return Comparison(
        metric=metric,
        layout=layout,
        grids=_sorted(grids, layout, metric, question.sort),
        against=against,
        rankings=rankings,
        margin=question.margin,
        runs=runs,
        warnings=[
            *unfair.values(),
            *uneven(choices),
            *_unconfirmed(choices if question.confirm else (), layout),
        ],
        choices=choices,
        confirm=question.confirm,
        implied={key: _values(rows, key) for key in layout.implied if key not in unfair},
        same=_same(rows) if question.everything else {},
    )


def _at_best(
    rows: list[Row], question: Question, axes: Sequence[str]
) -> tuple[list[Row], list[Choice]]:
    if question.best is None:
        return rows, []
    key = find_setting(question.best)
    if key in axes:
        raise ConfigError(f"{key} is chosen by --best", "leave it out of --rows and --cols")
    kept, choices = choose(rows, key, confirm=question.confirm)
    known = [choice for choice in choices if choice.chosen.value is not None]
    if question.confirm and known and not any(choice.fresh for choice in known):
        commands = confirming_commands(known)
        raise ConfigError(
            f"no fresh seed: all at each cell's {key} took part in choosing it",
            " && ".join(commands) or f"train each cell's {key} with seeds of its own",
        )
    return kept, choices


def _unconfirmed(choices: Sequence[Choice], layout: Layout) -> list[str]:
    """Return a line for the cells that have no seed which took no part in choosing."""
    cells = [one for one in choices if not one.fresh and one.chosen.value is not None]
    if not cells:
        return []
    names = "; ".join(in_words({key: one.settings[key] for key in layout.keys}) for one in cells)
    commands = " && ".join(confirming_commands(choices))
    return [f"not confirmed, since no seed is fresh: {names or 'the runs'}; {commands}"]


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


def _rank(grid: Grid, sign: int, *, paired: bool) -> Judgement:
    """Judge the rows of each column against its best, and on average over the columns."""
    known = {(c, r): cell for (r, c), cell in grid.cells.items() if cell.competes}
    return judge_with_best(
        {place: cell.values for place, cell in known.items()},
        {place: cell.floor for place, cell in known.items()},
        sign,
        [Series(places=tuple(grid.columns))],
        paired=paired,
    )


def _values(rows: Sequence[Row], key: str) -> list[str]:
    return [group[0] for group in in_order(values_of(row, [key]) for row in rows)]


def _same(rows: Sequence[Row]) -> dict[str, str]:
    """Return every setting that all runs share, those that decide no result left out."""
    others = {*changing(rows, list(SETTINGS)), *NOT_IDENTITY, "seed"}
    return {key: shown(rows[0][key]) for key in SETTINGS if key not in others}
