"""Cells of a table → 95 % intervals of their means, each taken by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from scipy.special import stdtrit

from nnexp.compare.grid import Grid
from nnexp.compare.linear_model import LinearModel, Values
from nnexp.compare.multiplicity import LEVEL
from nnexp.compare.variance_pools import Cell as Key
from nnexp.settings import ConfigError


def with_intervals(grids: Sequence[Grid]) -> list[Grid]:
    """Return tables whose cells have the interval of their mean.

    A cell of one seed has none, nor has one with diverged runs, as it is not compared either.

    Raises:
        ConfigError: No cell has one.
    """
    found = [_with_intervals(grid) for grid in grids]
    if not any(cell.interval for grid in found for cell in grid.cells.values()):
        raise no_interval()
    return found


def no_interval() -> ConfigError:
    """Return the error where intervals are asked for and no mean has one."""
    return ConfigError(
        "no mean here has an interval", "it takes two seeds or more, and none of them diverged"
    )


def mean_reaches(cells: Mapping[Key, Values], floors: Mapping[Key, float]) -> dict[Key, float]:
    """Return half the width of each mean's interval: Student's t, by the variances of `compare`.

    Cells share a variance where tests let them, and a cell or an arm that varies more has more.
    Where runs that share a seed go together, each cell has its own: those of one place would tell
    of the same few seeds.
    """
    model = LinearModel(cells, floors)
    known = {key: model.estimate_mean(key) for key in model.cells}
    return {
        key: student(one.freedom) * one.error if one.error else 0.0 for key, one in known.items()
    }


def student(freedom: float) -> float:
    """Return the t that a mean leaves with probability 1 - LEVEL, to both sides together."""
    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def _with_intervals(grid: Grid) -> Grid:
    known = {(column, row): cell for (row, column), cell in grid.cells.items() if cell.competes}
    reaches = mean_reaches(
        {place: cell.values for place, cell in known.items()},
        {place: cell.floor for place, cell in known.items()},
    )
    cells = {
        (row, column): replace(cell, interval=_around(cell.mean, reaches.get((column, row))))
        for (row, column), cell in grid.cells.items()
    }
    return replace(grid, cells=cells)


def _around(mean: float | None, reach: float | None) -> tuple[float, float] | None:
    return (mean - reach, mean + reach) if reach and mean is not None else None
