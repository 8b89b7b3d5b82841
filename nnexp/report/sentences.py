"""A comparison's tables and differences → what they say, in sentences a stranger can read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nnexp.compare.against import Difference
from nnexp.compare.comparison import Comparison
from nnexp.compare.families import Judged
from nnexp.compare.grid import BEST, NEAR, Cell, Chosen, Grid
from nnexp.compare.method import method_lines
from nnexp.compare.metrics import metric_of
from nnexp.compare.multiplicity import LEVEL
from nnexp.compare.selection import Group
from nnexp.figures.chance import Chance
from nnexp.figures.series import plain

MOST_COLUMNS, MOST_NAMES = 12, 8
ALPHA = 1 - LEVEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One thing that can be said, and of what."""

    about: str
    text: str


def short_answer(comparison: Comparison, chance: Chance | None) -> list[Statement]:
    """Return the answer in words: what is best where, what is tested, at chance, or lost."""
    return [
        *(_overview(comparison) or _columns(comparison)),
        *_tested(comparison),
        *_at_chance(comparison.grids, chance),
        *_lost(comparison.grids),
    ]


def by_column(comparison: Comparison) -> list[Statement]:
    """Return what can be said of each column, where the short answer sums them up."""
    return _columns(comparison) if _overview(comparison) else []


def _columns(comparison: Comparison) -> list[Statement]:
    if comparison.against:
        return []  # what is compared is the baseline
    columns = [(i, column) for i, grid in enumerate(comparison.grids) for column in grid.columns]
    said = [_column(comparison, i, column) for i, column in columns[:MOST_COLUMNS]]
    more = len(columns) - len(said)
    return [*said, *([Statement(about=f"{more} more", text="see the tables")] if more else [])]


def _overview(comparison: Comparison) -> list[Statement]:
    """Say which row leads which columns, where there are several columns."""
    led: dict[str, list[str]] = {}
    alone = Counter[str]()
    for grid in comparison.grids:
        for column in grid.columns:
            marks = {row: grid.cell(row, column).mark for row in grid.rows}
            for row in (row for row, mark in marks.items() if mark == BEST):
                name = _name(grid.row_keys, row)
                led.setdefault(name, []).append(_about(grid, column))
                alone[name] += NEAR not in marks.values()
    if sum(len(grid.columns) for grid in comparison.grids) < 2 or not led:
        return []
    order = sorted(led, key=lambda name: -len(led[name]))
    words = [f"{name} {_leading(led[name], alone[name])}" for name in order]
    about = f"{_extreme(comparison.metric).capitalize()} {plain(comparison.metric)}"
    return [Statement(about=about, text=f"{_listed(words, '; ')}.")]


def _leading(places: Sequence[str], alone: int) -> str:
    """Say where a row leads, and how often all others are shown to differ from it."""
    where = _together(places) if len(places) <= MOST_NAMES else f"{len(places)} columns"
    if not alone:
        return f"at {where} (not shown to differ from all others)"
    often = "" if alone == len(places) else f"{alone} of {len(places)} times "
    return f"at {where} ({often}shown to differ from all others)"


def _together(places: Sequence[str]) -> str:
    """List places; `batch size 2; batch size 8` as batch size 2, 8."""
    heads = {place.rpartition(" ")[0] for place in places}
    if len(heads) > 1 or "" in heads:
        return "; ".join(places)
    return f"{heads.pop()} {', '.join(place.rpartition(' ')[2] for place in places)}"


def _column(comparison: Comparison, position: int, column: Group) -> Statement:
    """Say of one column what is best, and what is shown to differ from it."""
    grid = comparison.grids[position]
    cells = {row: grid.cell(row, column) for row in grid.rows}
    cells = {row: cell for row, cell in cells.items() if cell.statuses}
    about = _about(grid, column)
    best = [row for row, cell in cells.items() if cell.mark == BEST]
    if not best:
        return Statement(about=about, text=_unranked(grid, cells))
    near = [row for row, cell in cells.items() if cell.mark == NEAR]
    rest = [row for row, cell in cells.items() if cell.competes and row not in [*best, *near]]
    judged = {row: comparison.rankings[position].at(column, row) for row in rest}
    clear = {row: one for row, one in judged.items() if one and one.differs}
    which = _extreme(grid.metric).capitalize()
    parts = [f"{which}: {_names(grid, best)}, {_mean(cells[best[0]], grid.metric)}"]
    if near:
        parts.append(f"not shown to differ from it: {_names(grid, near)}")
    if clear:
        words = [
            f"{_name(grid.row_keys, row)} ({_gap(one, grid.metric)})" for row, one in clear.items()
        ]
        parts.append(f"{'lower' if which == 'Highest' else 'higher'}: {_listed(words)}")
    alone = [
        row
        for row, cell in cells.items()
        if len(cell.values) == 1 and not cell.statuses["diverged"]
    ]
    if alone:
        parts.append(f"one seed, so not compared: {_names(grid, alone)}")
    return Statement(about=about, text=f"{'; '.join(parts)}.")


def _gap(one: Judged, metric: str) -> str:
    """Return a difference with its interval: −4.9 points, −6.5 to −3.3."""
    unit = " points" if metric_of(metric).in_percent else ""
    gap = f"{metric_of(metric).text(one.value, signed=True)}{unit}"
    if one.low is None:
        return gap
    low, high = (metric_of(metric).text(end, signed=True) for end in (one.low, one.high))
    return f"{gap}, {low} to {high}"


def _unranked(grid: Grid, cells: dict[Group, Cell]) -> str:
    """Say what was measured where nothing can be the best."""
    known = {row: cell for row, cell in cells.items() if cell.competes}
    if not known:
        return "Nothing finished that could be compared."
    means = [f"{_name(grid.row_keys, row)} {_mean(one, grid.metric)}" for row, one in known.items()]
    remark = "; nothing else to compare it with" if len(known) == 1 else ""
    return f"{_listed(means)}{remark}."


def _tested(comparison: Comparison) -> list[Statement]:
    """Say which differences to the baseline are shown, on average and one by one."""
    if comparison.against is None:
        return []
    base = comparison.against.label.removeprefix("norm=")
    unit = " points" if metric_of(comparison.metric).in_percent else ""
    said = []
    for sums in (comparison.against.averages, comparison.against.trends):
        words = [_sum_in_words(one, comparison.metric) for one in sums if one.low is not None]
        if words:
            said.append(
                Statement(
                    about=f"{sums[0].over.capitalize()}, less {base}",
                    text=f"{_listed(words, '; ')}.",
                )
            )
    tests = [one for one in comparison.against.differences if one.p is not None]
    shown = [one for one in tests if (one.p or 0.0) < ALPHA]
    for sign, word in ((1, "Higher"), (-1, "Lower")):
        side = [one for one in shown if sign * (one.difference or 0.0) > 0]
        if side:
            gaps = _by_place(side, comparison.metric)
            said.append(Statement(about=f"{word} than {base}", text=f"{gaps}{unit}."))
    if hidden := [one for one in tests if one not in shown]:
        text = f"{_by_place(hidden)}. Not shown is not equal: see the intervals."
        said.append(Statement(about=f"Not shown to differ from {base}", text=text))
    if untested := [one for one in comparison.against.differences if one not in tests]:
        said.append(
            Statement(
                about=f"Not compared with {base}",
                text=f"{_by_place(untested)}; {_reasons(untested)}.",
            )
        )
    return said


def _sum_in_words(one: Difference, metric: str) -> str:
    """Return an average or a trend: group +1.0 points (0.3 to 1.7)."""
    unit = " points" if metric_of(metric).in_percent else ""
    value, low, high = (
        metric_of(metric).text(end, signed=True) for end in (one.difference, one.low, one.high)
    )
    names = ", ".join(filter(None, [_pairs(one.treatment), _pairs(one.settings)]))
    verdict = "" if one.p is not None and one.p < ALPHA else ", not shown to differ"
    return f"{names} {value}{unit} ({low} to {high}{verdict})"


def _reasons(untested: Sequence[Difference]) -> str:
    return _listed(list(dict.fromkeys(note for one in untested for note in one.notes)), "; ")


def _by_place(comparisons: Sequence[Difference], metric: str = "") -> str:
    """List comparisons by what else they share; with their differences if `metric` is given."""
    places: dict[str, list[str]] = {}
    for one in comparisons:
        gap = f" {metric_of(metric).text(one.difference, signed=True)}" if metric else ""
        places.setdefault(_pairs(one.settings), []).append(f"{_pairs(one.treatment)}{gap}")
    groups = [
        f"{place}: {', '.join(names)}" if place else ", ".join(names)
        for place, names in places.items()
    ]
    return _listed(groups, "; ")


def reading_notes(comparison: Comparison) -> list[str]:
    """Return how the differences were judged."""
    lines = method_lines(comparison.judgements, comparison.metric)
    return [f"{line[0].upper()}{line[1:]}." for line in lines]


def _at_chance(grids: Sequence[Grid], chance: Chance | None) -> list[Statement]:
    """Say which groups are no better than guessing, every seed of them."""
    if chance is None:
        return []
    words = [
        _place(grid, row, column)
        for grid in grids
        for (row, column), cell in sorted(grid.cells.items())
        if cell.values and chance.explains(cell.values.values())
    ]
    text = f"{_listed(words, '; ')}: no better than guessing, {100 * chance.accuracy:g} %."
    return [Statement(about="At chance", text=text)] if words else []


def _lost(grids: Sequence[Grid]) -> list[Statement]:
    """Say which groups lost runs, and to what."""
    cells = [(grid, *place, cell) for grid in grids for place, cell in sorted(grid.cells.items())]
    said = []
    for status in dict.fromkeys(status for *_, cell in cells for status in cell.statuses):
        words = [
            f"{_place(grid, row, column)} ({cell.statuses[status]} of {cell.statuses.total()})"
            for grid, row, column, cell in cells
            if cell.statuses[status]
        ]
        if status != "done" and words:
            about = {"running": "Still running"}.get(status, status.capitalize())
            said.append(Statement(about=about, text=f"{_listed(words)}."))
    return said


def _place(grid: Grid, row: Group, column: Group) -> str:
    words = [_name(grid.row_keys, row), _name(grid.column_keys, column), _pairs(grid.layer)]
    return ", ".join(word for word in words if word)


def _about(grid: Grid, column: Group) -> str:
    words = [_pairs(grid.layer), _name(grid.column_keys, column)]
    return ", ".join(word for word in words if word) or "All runs"


def _mean(cell: Cell, metric: str) -> str:
    unit = " %" if metric_of(metric).in_percent else ""
    spread = "" if cell.deviation is None else f" ± {metric_of(metric).text(cell.deviation)}"
    seeds = "1 seed" if len(cell.values) == 1 else f"{len(cell.values)} seeds"
    return (
        f"{metric_of(metric).text(cell.mean)}{spread}{unit} ({seeds}){_place_chosen(cell.chosen)}"
    )


def _place_chosen(chosen: Chosen | None) -> str:
    """Say at which value a cell is shown, and if the best may lie beyond those tried."""
    if chosen is None or chosen.value is None:
        return ""
    edge = f", the {chosen.edge} tried" if chosen.edge else ""
    return f" at {plain(chosen.key)} {chosen.value}{edge}"


def _extreme(metric: str) -> str:
    return "lowest" if metric_of(metric).better < 0 else "highest"


def _names(grid: Grid, rows: Sequence[Group]) -> str:
    return _listed([_name(grid.row_keys, row) for row in rows])


def _name(keys: Sequence[str], values: Group) -> str:
    return _pairs(dict(zip(keys, values, strict=True)))


def _pairs(settings: dict[str, str]) -> str:
    return ", ".join(v if k == "norm" else f"{plain(k)} {v}" for k, v in settings.items())


def _listed(words: Sequence[str], between: str = ", ") -> str:
    more = len(words) - MOST_NAMES
    tail = [f"and {more} more"] if more > 0 else []
    return between.join([*words[:MOST_NAMES], *tail])


def default_title(comparison: Comparison) -> str:
    """Return what the tables show: Test accuracy by norm and batch size."""
    name = plain(comparison.metric).capitalize()
    return f"{name} by {_axes(comparison)}"


def default_question(comparison: Comparison) -> str:
    """Return the question that the tables comparison."""
    return f"How does {plain(comparison.metric)} depend on {_axes(comparison)}?"


def _axes(comparison: Comparison) -> str:
    keys = [*comparison.layout.rows, *comparison.layout.columns, *comparison.layout.layers]
    *first, last = [plain(key) for key in keys]
    return f"{', '.join(first)} and {last}" if first else last
