"""Rows → every cell at its own best value of one setting, chosen by validation images alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nnexp.compare.columns import SETTINGS, Row, shown
from nnexp.compare.grid import BEST, NEAR, Cell, Chosen, make_cell
from nnexp.compare.judgement import judge_with_best
from nnexp.compare.linear_model import ROUNDING
from nnexp.compare.load import metrics_in
from nnexp.compare.selection import grouped, varying
from nnexp.settings import NOT_IDENTITY, ConfigError

JUDGE = "val_accuracy"  # what chooses: the test images are for what is left
AT_BEST = f"each cell's best by {JUDGE}"  # what stands for the chosen setting's values
UNCHOSEN = "unchosen"  # the status of a cell's seeds where no value could be chosen
TRAINS = 0.5  # share of the cell's best that every seed must reach at a value that still trains


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What one cell had to choose from, and what it chose."""

    settings: dict[str, str]  # every setting of the cell, the chosen one left out
    tried: dict[str, Cell]  # value → validation accuracy over the cell's seeds, by size
    chosen: Chosen


def choose(rows: Sequence[Row], key: str) -> tuple[list[Row], list[Choice]]:
    """Return the rows at each cell's best value of `key`, and how each cell chose.

    The best has the highest mean validation accuracy over the seeds, among the values at which
    every seed of the cell is done; of equal ones the smallest. The rows returned differ in
    `key` no more, and have a `chosen`. A cell without a choice keeps a row a seed, `unchosen`.

    Raises:
        ConfigError: `key` cannot be chosen, or has one value.
    """
    _check(rows, key)
    kept: list[Row] = []
    choices = []
    for _, members in grouped(rows, [name for name in varying(rows) if name != key]):
        choice = _choose(members, key)
        choices.append(choice)
        kept += _at_best(members, choice.chosen)
    return kept, choices


def uneven(choices: Sequence[Choice]) -> list[str]:
    """Return a line if some cells had other values to choose from than others."""
    counts: dict[tuple[str, ...], int] = {}
    for choice in choices:
        values = tuple(_outcomes(choice.tried))
        counts[values] = counts.get(values, 0) + 1
    if len(counts) < 2:
        return []
    listed = "; ".join(
        f"{', '.join(values) or 'none'} in {n} cell{'s' if n > 1 else ''}"
        for values, n in counts.items()
    )
    key = choices[0].chosen.key
    return [f"not a fair comparison: {key} was chosen among different values: {listed}"]


def _check(rows: Sequence[Row], key: str) -> None:
    if key in NOT_IDENTITY or key == "seed":
        raise ConfigError(
            f"--best cannot choose {key}", "name a setting that is tuned: optimizer.learning_rate"
        )
    if key not in varying(rows):
        raise ConfigError(
            f"all runs have {key}={shown(rows[0][key])}", "there is nothing to choose: omit --best"
        )
    if JUDGE not in metrics_in(rows):
        raise ConfigError(f"no run here has {JUDGE}", f"--best chooses by {JUDGE}")


def _choose(rows: Sequence[Row], key: str) -> Choice:
    seeds = {row["seed"] for row in rows}
    tried = {value: _cell(members, seeds) for (value,), members in grouped(rows, [key])}
    complete = {value: cell for value, cell in tried.items() if _is_complete(cell)}
    top = max((cell.mean or 0.0 for cell in complete.values()), default=0.0)
    best = [value for value, cell in complete.items() if top - (cell.mean or 0.0) <= ROUNDING]
    judged = judge_with_best(
        {("", value): cell.values for value, cell in complete.items()},
        {("", value): cell.floor for value, cell in complete.items()},
        1,
    )
    for value, cell in complete.items() if best else ():
        one = judged.at("", value)
        if value == best[0]:
            tried[value] = replace(cell, mark=BEST)
        elif one and one.p is not None and not one.differs:
            tried[value] = replace(cell, mark=NEAR)
    chosen = Chosen(
        key=key,
        value=best[0] if best else None,
        ties=tuple(best[1:]),
        edge=_edge(tried, best[0]) if best else "",
        largest=_largest(tried, top) if best else "",
    )
    settings = {name: shown(rows[0][name]) for name in SETTINGS if name != key}
    return Choice(settings=settings, tried=tried, chosen=chosen)


def _cell(rows: Sequence[Row], seeds: set[int]) -> Cell:
    cell = make_cell(rows, JUDGE)
    if missing := len(seeds) - len({row["seed"] for row in rows}):
        cell.statuses["missing"] = missing
    return cell


def _is_complete(cell: Cell) -> bool:
    return len(cell.values) == cell.statuses.total()


def _outcomes(tried: Mapping[str, Cell]) -> dict[str, Cell]:
    """Return the values whose outcome is known: every seed done, or one diverged."""
    return {
        value: cell
        for value, cell in tried.items()
        if _is_complete(cell) or cell.statuses["diverged"]
    }


def _edge(tried: Mapping[str, Cell], best: str) -> str:
    """Return which end of the values with an outcome the best is at, if values have ends."""
    if not all(map(_is_number, tried)):
        return ""
    known = list(_outcomes(tried))
    if len(known) == 1:
        return "only"
    return {known[0]: "smallest", known[-1]: "largest"}.get(best, "")


def _largest(tried: Mapping[str, Cell], top: float) -> str:
    """Return the largest value at which every seed reaches TRAINS of the best mean.

    It begins with ≥ where no larger value is known not to train.
    """
    if not all(map(_is_number, tried)):
        return ""
    known = _outcomes(tried)
    training = [
        value
        for value, cell in known.items()
        if _is_complete(cell) and min(cell.values.values()) >= TRAINS * top - ROUNDING
    ]
    if not training:
        return ""
    return training[-1] if training[-1] != list(known)[-1] else f"≥ {training[-1]}"


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def _at_best(rows: Sequence[Row], chosen: Chosen) -> list[Row]:
    """Return the cell's rows at the chosen value; without one, a row for each of its seeds."""
    told = {chosen.key: AT_BEST, "chosen": chosen}
    if chosen.value is None:
        seeds = {row["seed"]: row for row in rows}
        return [{**row, **told, "status": UNCHOSEN} for row in seeds.values()]
    return [{**row, **told} for row in rows if shown(row[chosen.key]) == chosen.value]
