"""What a study expects, in a line each → whether the runs agree, by the intervals of `compare`.

    norm=batch is above norm=none
    norm=batch is above norm=none by 5 where batch_size=32
    norm=group is within 3 of norm=batch
    norm=group gains on norm=batch as batch_size falls
    norm=batch is 93.86 ± 0.5 (where it was published)
    norm=none is at chance

Numbers are in the unit of the metric's table: points for accuracies.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nnexp.compare.against import Difference
from nnexp.compare.chance import chance_accuracy
from nnexp.compare.columns import Row
from nnexp.compare.comparison import Question, make_comparison
from nnexp.compare.grid import images_of
from nnexp.compare.intervals import with_intervals
from nnexp.compare.metrics import Metric, metric_of
from nnexp.compare.selection import filter_rows
from nnexp.rundir import is_at_chance
from nnexp.settings import ConfigError

AGREES, DISAGREES, OPEN = "agrees", "disagrees", "not shown"

SETTING, NUMBER = r"[\w.]+=[^\s()]+", r"-?\d+(?:\.\d+)?"
WHERE = rf"(?: where (?P<where>{SETTING}(?:, {SETTING})*))?(?: \((?P<source>.+)\))?"
FORMS = {  # a form → how it is written, after what it is about
    "value": rf"is (?P<number>{NUMBER}) ± (?P<within>{NUMBER})",
    "chance": r"is (?P<side>at|above) chance",
    "order": rf"is (?P<side>above|below) (?P<other>{SETTING})(?: by (?P<number>{NUMBER}))?",
    "near": rf"is within (?P<within>{NUMBER}) of (?P<other>{SETTING})",
    "trend": rf"gains on (?P<other>{SETTING}) as (?P<along>[\w.]+) (?P<side>falls|rises)",
}
NUMBERS = ("number", "within")
EXAMPLE = "such as: norm=batch is above norm=none where batch_size=32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One expectation of a study, as its file states it."""

    text: str
    form: str
    about: str  # key=value, the runs it is about
    other: str = ""  # key=value, the runs they are compared with
    side: str = ""
    along: str = ""  # the setting of a trend
    number: float = 0.0
    within: float = 0.0
    where: tuple[str, ...] = ()
    source: str = ""  # where it was published; empty for what the study itself expects


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the runs say of a check."""

    check: Check
    state: str  # agrees, disagrees, or not shown
    measured: str  # in words, with the interval that decides


def read_check(text: str) -> Check:
    """Return what a line expects.

    Raises:
        ConfigError: It has none of the forms.
    """
    for form, how in FORMS.items():
        if found := re.fullmatch(rf"(?P<about>{SETTING}) {how}{WHERE}", text):
            parts = {name: part for name, part in found.groupdict().items() if part is not None}
            where, numbers = parts.pop("where", ""), [parts.pop(name, 0) for name in NUMBERS]
            return Check(
                text=text,
                form=form,
                where=tuple(where.split(", ")) if where else (),
                number=float(numbers[0]),
                within=float(numbers[1]),
                **parts,
            )
    raise ConfigError(f"a check cannot be {text!r}", EXAMPLE)


def judge_check(check: Check, rows: Sequence[Row], metric: str) -> Verdict:
    """Return whether runs agree with a check.

    Only an interval (95 %, of all comparisons of its table at once) decides: one that reaches to
    both sides of what is expected shows nothing.

    Raises:
        ConfigError: The runs that the check is about are not there.
    """
    how = metric_of(metric)
    if check.form == "chance":
        return _judge_chance(check, filter_rows(rows, [check.about, *check.where]), metric)
    if check.form == "value":
        return _judge_value(check, rows, how)
    found = _difference(check, rows, metric)
    if found.low is None or found.high is None or found.difference is None:
        return Verdict(check=check, state=OPEN, measured="no interval: " + "; ".join(found.notes))
    scale = 100 if how.in_percent else 1
    low, high = scale * found.low, scale * found.high
    unit = " points" if how.in_percent else ""
    over = f" {found.over}" if found.over else ""
    measured = f"{scale * found.difference:+.2f}{unit} ({low:+.2f} to {high:+.2f}){over}"
    return Verdict(check=check, state=_side(check, low, high), measured=measured)


def _side(check: Check, low: float, high: float) -> str:
    """Return which side of what is expected an interval of a difference lies on."""
    if check.form == "near":
        if -check.within <= low and high <= check.within:
            return AGREES
        return DISAGREES if low > check.within or high < -check.within else OPEN
    # Towards smaller numbers, a gain is a negative slope.
    if check.side in ("below", "falls"):
        low, high = -high, -low
    if low > check.number:
        return AGREES
    return DISAGREES if high < check.number else OPEN


def _judge_chance(check: Check, rows: Sequence[Row], metric: str) -> Verdict:
    above = [_is_above_chance(row, metric) for row in rows]
    if not above or None in above:
        return Verdict(check=check, state=OPEN, measured="chance is not known of every run")
    number = sum(map(bool, above))
    expected = len(above) if check.side == "above" else 0
    state = {expected: AGREES, len(above) - expected: DISAGREES}.get(number, OPEN)
    measured = f"{number} of {len(above)} runs above chance"
    return Verdict(check=check, state=state, measured=measured)


def _is_above_chance(row: Row, metric: str) -> bool | None:
    """Return whether guessing does not explain a run's accuracy; None where that is not known."""
    if row["status"] == "diverged":
        return False
    chance, images, accuracy = chance_accuracy(row), images_of(row, metric), row.get(metric)
    if not chance or not images or accuracy is None:
        return None
    return not is_at_chance(accuracy, images, round(1 / chance))


def _judge_value(check: Check, rows: Sequence[Row], metric: Metric) -> Verdict:
    key, _, value = check.about.partition("=")
    question = Question(rows=[key], metric=metric.name, where=check.where)
    grids = make_comparison(rows, question).grids
    if any(
        cell.competes and len(cell.values) > 1 for grid in grids for cell in grid.cells.values()
    ):
        grids = with_intervals(grids)
    cells = [cell for grid in grids for (row, _), cell in grid.cells.items() if row == (value,)]
    if len(cells) != 1:
        raise _not_one(check, len(cells))
    (cell,), scale = cells, 100 if metric.in_percent else 1
    if cell.mean is None or cell.interval is None:
        return Verdict(check=check, state=OPEN, measured="no interval")
    low, high = (scale * end for end in cell.interval)
    unit = f" {metric.unit}" if metric.in_percent else ""
    measured = f"{scale * cell.mean:.2f}{unit} ({low:.2f} to {high:.2f})"
    least, most = check.number - check.within, check.number + check.within
    if least <= low and high <= most:
        return Verdict(check=check, state=AGREES, measured=measured)
    state = DISAGREES if high < least or low > most else OPEN
    return Verdict(check=check, state=state, measured=measured)


def _difference(check: Check, rows: Sequence[Row], metric: str) -> Difference:
    """Return the difference that a check is about, judged together with the others of its study."""
    key, _, value = check.about.partition("=")
    filter_rows(rows, [check.about, *check.where])  # says so where there are none
    wanted = dict(condition.split("=", 1) for condition in check.where)
    question = Question(
        rows=[key],
        columns=[check.along] if check.along else list(wanted),
        metric=metric,
        where=check.where if check.along else (),
        against=check.other,
    )
    against = make_comparison(rows, question).against
    assert against is not None
    found = [
        one
        for one in (against.trends if check.along else against.differences)
        if one.treatment.get(key) == value
        and all(one.settings.get(name, held) == held for name, held in wanted.items())
    ]
    if len(found) != 1:
        raise _not_one(check, len(found))
    return found[0]


def _not_one(check: Check, number: int) -> ConfigError:
    return ConfigError(
        f"the check {check.text!r} is about {number} comparisons of these runs, not one",
        "say where: … where batch_size=32" if number else "train the study's runs first",
    )
