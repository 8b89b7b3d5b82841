"""Places where rows were compared → the answer, in sentences a stranger can read."""

from collections.abc import Sequence
from dataclasses import dataclass

from nnexp.compare.comparison import Comparison
from nnexp.compare.grid import Grid
from nnexp.compare.method import method_lines
from nnexp.compare.metrics import metric_of
from nnexp.compare.selection import Group
from nnexp.figures.chance import Chance
from nnexp.figures.series import plain
from nnexp.report.gaps import Gap, Place, find_places, find_trends, setting_words

MOST_SENTENCES, MOST_NAMES = 6, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One thing that can be said, and of what."""

    about: str
    text: str


def short_answer(comparison: Comparison) -> list[str]:
    """Return the answer: a sentence for each table, of its average or else of its columns."""
    places = find_places(comparison)
    if not places and not metric_of(comparison.metric).better:
        return [f"More {plain(comparison.metric)} is neither better nor worse: see the tables."]
    averaged = {place.table for place in places if place.over}
    first = [place for place in places if place.over or place.table not in averaged]
    said = [place_sentence(place, comparison.metric) for place in first]
    more = len(said) - MOST_SENTENCES
    rest = [f"{more} more columns are in the tables."] if more > 0 else []
    return [*said[:MOST_SENTENCES], *rest] or ["Nothing finished that could be compared."]


def by_column(comparison: Comparison) -> list[str]:
    """Return a sentence for each column that the short answer averages over."""
    places = find_places(comparison)
    averaged = {place.table for place in places if place.over}
    columns = [place for place in places if place.table in averaged and not place.over]
    return [place_sentence(place, comparison.metric) for place in columns]


def remarks(comparison: Comparison, chance: Chance | None) -> list[Statement]:
    """Return what a reader must know beside the answer: trends, what is at chance, what is lost."""
    trends = [
        Statement(about=_capital(_where(place)), text=_trend(place, comparison.metric))
        for place in find_trends(comparison)
    ]
    return [*trends, *_at_chance(comparison.grids, chance), *_lost(comparison.grids)]


def place_sentence(place: Place, metric: str) -> str:
    """Return what is shown at one place, what is not shown, and what is not judged."""
    judged = [gap for gap in place.gaps if gap.low is not None and not gap.tied]
    parts = [
        *_best(place, metric),
        *_part(_shown(place, 1), metric, "higher"),
        *_part(_shown(place, -1), metric, "lower"),
        *_part([gap for gap in judged if not gap.differs], metric, "not shown to differ"),
        *_not_judged(place, metric),
    ]
    compared = "" if place.best or not place.base else f" compared with {place.base}"
    words = [_where(place), f"{plain(metric)}{compared}"]
    return _capital(f"{', '.join(filter(None, words))}: {'; '.join(parts)}.")


def gap_text(gap: Gap, metric: str) -> str:
    """Return a difference with its interval: +4.10 points (+3.05 to +5.15)."""
    unit = " points" if metric_of(metric).in_percent else ""
    value = metric_of(metric).text(gap.value, signed=True)
    if gap.low is None or gap.high is None:
        return f"{value}{unit}"
    return f"{value}{unit} {metric_of(metric).interval(gap.low, gap.high)}"


def method_notes(comparison: Comparison) -> list[str]:
    """Return how the differences were judged."""
    lines = method_lines(comparison.judgements, comparison.metric)
    return [f"{_capital(line)}." for line in lines]


def _where(place: Place) -> str:
    over = f"{place.over} ({place.note})" if place.note else place.over
    return ", ".join(filter(None, [place.table, over or place.column]))


def _best(place: Place, metric: str) -> list[str]:
    """Say what is best where no baseline was named."""
    if not place.best:
        return []
    if not place.base:
        return ["nothing finished that can be compared"]
    if not any(gap.value is not None for gap in place.gaps):
        return [f"{place.base} {_amount(place.mean, metric)}, and nothing to compare it with"]
    names = [place.base, *(gap.name for gap in place.gaps if gap.tied)]
    most = "lowest" if metric_of(metric).better < 0 else "highest"
    among = " of those judged" if any(gap.value is None for gap in place.gaps) else ""
    best = f"{'are' if len(names) > 1 else 'is'} {' and '.join(names)}"
    return [f"the {most}{among} {best} ({_amount(place.mean, metric)})"]


def _shown(place: Place, sign: int) -> list[Gap]:
    return [gap for gap in place.gaps if gap.differs and sign * (gap.value or 0) > 0]


def _part(gaps: Sequence[Gap], metric: str, words: str) -> list[str]:
    """Say the same of some differences, the largest first; nothing of none."""
    order = sorted(gaps, key=lambda gap: -abs(gap.value or 0))
    named = [
        gap.name if gap.value is None else f"{gap.name} {gap_text(gap, metric)}" for gap in order
    ]
    return [f"{_listed(named)} {'are' if len(named) > 1 else 'is'} {words}"] if named else []


def _not_judged(place: Place, metric: str) -> list[str]:
    """Say which rows have no interval, by the reason."""
    reasons: dict[str, list[Gap]] = {}
    for gap in place.gaps:
        if gap.problem and not gap.tied:
            reasons.setdefault(gap.problem, []).append(gap)
    return [
        part for why, gaps in reasons.items() for part in _part(gaps, metric, f"not judged ({why})")
    ]


def _trend(place: Place, metric: str) -> str:
    judged = [gap for gap in place.gaps if gap.low is not None and not gap.differs]
    parts = [
        *_part(_shown(place, 1), metric, "rising"),
        *_part(_shown(place, -1), metric, "falling"),
        *_part(judged, metric, "not shown to change"),
        *_not_judged(place, metric),
    ]
    return f"The difference to {place.base}: {'; '.join(parts)}."


def _at_chance(grids: Sequence[Grid], chance: Chance | None) -> list[Statement]:
    """Say which cells are no better than guessing, every seed of them."""
    words = [
        _cell_words(grid, row, column)
        for grid in grids
        for (row, column), cell in sorted(grid.cells.items())
        if chance and cell.values and chance.explains(cell.values.values())
    ]
    if chance is None or not words:
        return []
    text = f"{_listed(words, '; ')}: no better than guessing, {100 * chance.accuracy:g} %."
    return [Statement(about="At chance", text=text)]


def _lost(grids: Sequence[Grid]) -> list[Statement]:
    """Say which cells lost runs, and to what."""
    lost: dict[str, list[str]] = {}
    for grid in grids:
        for (row, column), cell in sorted(grid.cells.items()):
            for status, count in cell.statuses.items():
                words = f"{_cell_words(grid, row, column)} ({count} of {cell.statuses.total()})"
                lost.setdefault(status, []).append(words)
    return [
        Statement(
            about={"running": "Still running"}.get(status, status.capitalize()),
            text=f"{_listed(words, '; ')}.",
        )
        for status, words in lost.items()
        if status != "done"
    ]


def _cell_words(grid: Grid, row: Group, column: Group) -> str:
    keys = [*grid.row_keys, *grid.column_keys]
    return setting_words(dict(zip(keys, (*row, *column), strict=True)) | grid.layer)


def _amount(value: float | None, metric: str) -> str:
    how = metric_of(metric)
    return f"{how.text(value)}{f' {how.unit}' if how.in_percent else ''}"


def _listed(words: Sequence[str], between: str = ", ") -> str:
    more = len(words) - MOST_NAMES
    tail = [f"and {more} more"] if more > 0 else []
    return between.join([*words[:MOST_NAMES], *tail])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def default_title(comparison: Comparison) -> str:
    """Return what the tables show: Test accuracy by norm and batch size."""
    return f"{_capital(plain(comparison.metric))} by {_axes(comparison)}"


def default_question(comparison: Comparison) -> str:
    """Return the question that the tables answer."""
    return f"How does {plain(comparison.metric)} depend on {_axes(comparison)}?"


def _axes(comparison: Comparison) -> str:
    keys = [*comparison.layout.rows, *comparison.layout.columns, *comparison.layout.layers]
    *first, last = ["norm.at" if key == "norm.at" else plain(key) for key in keys]
    return f"{', '.join(first)} and {last}" if first else last
