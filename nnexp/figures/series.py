"""Rows → what a figure draws: panels of lines, a point for each group of seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nnexp.compare.columns import Row
from nnexp.compare.grid import Cell, Grid, lay_out, make_grids
from nnexp.compare.intervals import with_intervals
from nnexp.compare.selection import Group, goes_with, values_of, varying
from nnexp.figures.colours import Style, style_of, variant_of
from nnexp.settings import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One norm, or one variant of it: its cell at each place along the axis."""

    label: str
    style: Style
    cells: dict[float, Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The lines of all runs that share the settings in the title."""

    title: str
    lines: list[Line]


def make_panels(
    rows: Sequence[Row], metric: str, axis: str, *, intervals: bool = False
) -> list[Panel]:
    """Return a panel for each combination of what varies beside the norm, `axis` and the seed.

    Raises:
        ConfigError: `axis` has one value, or values that are no numbers; or intervals are asked
            for, and no mean has one.
    """
    check_axis(rows, axis)
    keys = line_settings(rows)
    styles = line_styles(rows, keys)
    layout = lay_out(rows, keys, [axis])
    grids = make_grids(rows, layout, metric)
    grids = with_intervals(grids) if intervals else grids
    return [
        Panel(
            title=title_of(grid.layer),
            lines=[_line(grid, group, *styles[group]) for group in grid.rows],
        )
        for grid in grids
    ]


def check_axis(rows: Sequence[Row], axis: str) -> None:
    """Refuse an axis along which there is nothing to see.

    Raises:
        ConfigError: It has one value, or values that are no numbers.
    """
    values = {row[axis] for row in rows}
    if len(values) < 2:
        raise ConfigError(
            f"all runs have {axis}={values_of(rows[0], [axis])[0]}",
            f"this figure needs runs with several values of {axis}; dots needs none",
        )
    if not all(isinstance(value, (int, float)) and value > 0 for value in values):
        raise ConfigError(f"{axis} has no place on a log axis", "each value must be above 0")


def line_settings(rows: Sequence[Row]) -> list[str]:
    """Return the settings that make a line: the norm, and its own that it does not tell."""
    own = [key for key in varying(rows) if key.startswith("norm.")]
    return ["norm", *(key for key in own if not goes_with(rows, key, ["norm"]))]


def line_styles(rows: Sequence[Row], keys: Sequence[str]) -> dict[Group, tuple[str, Style]]:
    """Return the label and the style of each line; variants of one norm are shades of it."""
    groups = sorted({values_of(row, keys) for row in rows})
    several = len({group[0] for group in groups}) > 1
    seen: dict[str, int] = {}
    styles = {}
    for group in groups:
        norm = group[0]
        words = [
            setting_in_words(key, value)
            for key, value in zip(keys[1:], group[1:], strict=True)
            if value != "null"
        ]
        named = [norm] if several or not words else []
        style = variant_of(style_of(norm), seen.setdefault(norm, 0))
        seen[norm] += 1
        styles[group] = " ".join([*named, *words]), style
    return styles


def plain(key: str) -> str:
    """Return a setting's or a metric's name as words: `optimizer.learning_rate`, learning rate."""
    return key.removesuffix(".name").rpartition(".")[2].replace("_", " ")


def title_of(settings: dict[str, str]) -> str:
    """Return settings as the words above a panel."""
    return " · ".join(v if k == "model" else setting_in_words(k, v) for k, v in settings.items())


def setting_in_words(key: str, value: str) -> str:
    """Return a setting as figures and sentences name it: `batch`, `batch size 8`."""
    if key == "norm":
        return value
    if key == "norm.at" and value == "{}":
        return "one norm everywhere"
    return f"{plain(key)} {value.strip('{}') or 'none'}"


def finite(value: float | None) -> bool:
    """Return whether a value can be drawn."""
    return value is not None and math.isfinite(value)


def _line(grid: Grid, group: Group, label: str, style: Style) -> Line:
    cells = {float(column[0]): grid.cell(group, column) for column in grid.columns}
    return Line(
        label=label, style=style, cells={x: cell for x, cell in cells.items() if cell.statuses}
    )
