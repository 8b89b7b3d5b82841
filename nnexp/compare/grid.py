"""Rows → cells: one group of seeds each, laid out by settings, the best of each column known."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nnexp.compare.columns import Row
from nnexp.compare.metrics import metric_of
from nnexp.compare.selection import Group, goes_with, grouped, in_order, values_of, varying
from nnexp.compare.statistics import deviation_of, image_variance, mean_of
from nnexp.settings import ConfigError

if TYPE_CHECKING:
    from nnexp.compare.judgement import Judgement

BEST, NEAR = "best", "not shown to differ from the best"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The value of a setting at which a cell is shown, and what has to be known of it."""

    key: str
    value: str | None  # None: there was none to choose
    ties: tuple[str, ...] = ()  # values that did as well
    edge: str = ""  # smallest or largest of the values tried, or the only one
    largest: str = ""  # value at which the cell still trains


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The runs that differ in nothing but the seed."""

    values: dict[int, float] = field(default_factory=dict)  # seed → metric, of runs that are done
    statuses: Counter[str] = field(default_factory=Counter)  # status → runs
    mark: str = ""  # BEST, NEAR or nothing
    chosen: Chosen | None = None
    images: int | None = None  # of which the metric is a share, where it is
    interval: tuple[float, float] | None = None  # of the mean, where `with_intervals` was asked

    @property
    def mean(self) -> float | None:
        """The mean over the runs that are done."""
        return mean_of(list(self.values.values()))

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation over the runs that are done."""
        return deviation_of(list(self.values.values()))

    @property
    def competes(self) -> bool:
        """Whether it can be compared: one seed, or the mean of runs that survived, cannot."""
        return len(self.values) > 1 and not self.statuses["diverged"]

    @property
    def floor(self) -> float:
        """The variance that it has where every seed has the same value; 0: not known."""
        return image_variance(list(self.values.values()), self.images) if self.images else 0.0

    @property
    def absent(self) -> list[str]:
        """What became of the runs without a value: `2 of 3 diverged`."""
        total = self.statuses.total()
        unmeasured = self.statuses["done"] - len(self.values)
        words = [
            f"{n} of {total} {status}" for status, n in self.statuses.items() if status != "done"
        ]
        return [*words, f"{unmeasured} of {total} without it"] if unmeasured else words


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """One table of cells; `layer` is what all its runs share and other tables' runs do not."""

    metric: str
    row_keys: list[str]
    column_keys: list[str]
    rows: list[Group]
    columns: list[Group]
    cells: dict[tuple[Group, Group], Cell]
    layer: dict[str, str] = field(default_factory=dict)

    def cell(self, row: Group, column: Group) -> Cell:
        """Return the cell, an empty one where nothing was run."""
        return self.cells.get((row, column), Cell())


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which settings make the rows, the columns, and the tables."""

    rows: list[str]
    columns: list[str]
    layers: list[str]
    implied: list[str]  # settings that vary too, but follow from the others

    @property
    def keys(self) -> list[str]:
        """The settings that tell the cells of all tables apart."""
        return [*self.layers, *self.rows, *self.columns]


def lay_out(rows: Sequence[Row], row_keys: Sequence[str], column_keys: Sequence[str]) -> Layout:
    """Return the layout asked for, or one row for each combination of all that varies.

    Runs that differ in anything but the seed never share a cell: what else varies makes one table
    for each of its values.
    """
    changing = varying(rows)
    if not row_keys and not column_keys:
        implied = [key for key in changing if _follows_from_its_group(rows, key)]
        shown = [key for key in changing if key not in implied]
        return Layout(
            rows=shown or ["model", "norm", "batch_size"], columns=[], layers=[], implied=implied
        )
    axes = [*row_keys, *column_keys]
    row_keys = row_keys or [key for key in changing if key not in axes] or ["norm"]
    axes = [*row_keys, *column_keys]
    implied, layers = [], []
    for key in changing:
        if key not in axes:
            (implied if goes_with(rows, key, [*axes, *layers]) else layers).append(key)
    return Layout(rows=list(row_keys), columns=list(column_keys), layers=layers, implied=implied)


def _follows_from_its_group(rows: Sequence[Row], key: str) -> bool:
    """Return whether a setting has one value for each head of its group: num_groups for norm."""
    group = key.partition(".")[0]
    head = next((name for name in (group, f"{group}.name") if name in rows[0]), key)
    return head != key and goes_with(rows, key, [head])


def make_grids(rows: Sequence[Row], layout: Layout, metric: str) -> list[Grid]:
    """Return the tables of a layout; nothing is marked yet."""
    grids = []
    for layer, members in grouped(rows, layout.layers):
        cells: dict[tuple[Group, Group], Cell] = {}
        for row in members:
            place = values_of(row, layout.rows), values_of(row, layout.columns)
            if place not in cells:
                cells[place] = Cell(chosen=row.get("chosen"), images=images_of(row, metric))
            _put(cells[place], row, metric)
        grid = Grid(
            metric=metric,
            row_keys=layout.rows,
            column_keys=layout.columns,
            rows=in_order(row for row, _ in cells),
            columns=in_order(column for _, column in cells),
            cells=cells,
            layer=dict(zip(layout.layers, layer, strict=True)),
        )
        grids.append(grid)
    return grids


def images_of(row: Row, metric: str) -> int | None:
    """Return how many images an accuracy is a share of, where a row knows."""
    if not metric_of(metric).is_accuracy:
        return None
    if metric.startswith("test_"):
        return row.get("test_images") or row.get("data.test_images")
    return row.get("data.val_images") if metric.startswith("val_") else None


def make_cell(rows: Iterable[Row], metric: str) -> Cell:
    """Return the cell of rows that differ in nothing but the seed."""
    rows = list(rows)
    cell = Cell(chosen=rows[0].get("chosen"), images=images_of(rows[0], metric))
    for row in rows:
        _put(cell, row, metric)
    return cell


def sort_grid(grid: Grid, key: str, descending: bool = False) -> Grid:
    """Return the grid with its rows by a setting, or by the metric, the best first.

    By the metric, a row counts with the mean of its cells; rows without a value go last.
    """
    if key in grid.row_keys:
        position = grid.row_keys.index(key)
        order = [group[0] for group in in_order((row[position],) for row in grid.rows)]
        rows = sorted(grid.rows, key=lambda row: order.index(row[position]), reverse=descending)
        return replace(grid, rows=rows)
    sign = (metric_of(grid.metric).better or 1) * (-1 if descending else 1)

    def rank(row: Group) -> tuple[bool, float]:
        means = [cell.mean for column in grid.columns if (cell := grid.cell(row, column)).values]
        mean = mean_of([value for value in means if value is not None])
        return (mean is None, -sign * (mean or 0.0))

    return replace(grid, rows=sorted(grid.rows, key=rank))


def _put(cell: Cell, row: Row, metric: str) -> None:
    value: Any = row.get(metric)
    if row["status"] == "done" and value is not None:
        if row["seed"] in cell.values:
            raise ConfigError(
                f"{row['run_id']} and another run of its seed differ in nothing known here",
                "another version of nnexp made one of them: leave it out, or use that version",
            )
        cell.values[row["seed"]] = float(value)
    cell.statuses[row["status"]] += 1


def mark_best(grid: Grid, sign: int, ranking: "Judgement | None") -> Grid:
    """Return the grid with the best of every column marked, and what is not shown to differ.

    Without a ranking the best alone is: what differs is told by the differences to a baseline.
    """
    cells = dict(grid.cells)
    for column in grid.columns:
        rivals = {row: cell for row in grid.rows if (cell := grid.cell(row, column)).competes}
        if len(rivals) < 2:
            continue
        top = max(sign * (cell.mean or 0.0) for cell in rivals.values())
        for row, cell in rivals.items():
            one = ranking and ranking.at(column, row)
            if sign * (cell.mean or 0.0) == top:
                cells[row, column] = replace(cell, mark=BEST)
            elif one and one.p is not None and not one.differs:
                cells[row, column] = replace(cell, mark=NEAR)
    return replace(grid, cells=cells)
