"""Rows → every cell at its own best value of one setting, chosen by validation images alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from nnexp.compare.chance import chance_accuracy
from nnexp.compare.columns import SETTINGS, Row, shown
from nnexp.compare.grid import BEST, NEAR, Cell, Chosen, images_of, make_cell
from nnexp.compare.judgement import judge_with_best
from nnexp.compare.linear_model import ROUNDING
from nnexp.compare.load import is_metric
from nnexp.compare.selection import grouped, varying
from nnexp.console import counted
from nnexp.rundir import FINAL, is_at_chance
from nnexp.settings import NOT_IDENTITY, ConfigError
from nnexp.settings.values import is_typed_number

JUDGE = "val_accuracy"  # what chooses: the test images are for what is left
AT_BEST = f"each cell's best by {JUDGE}"  # what stands for the chosen setting's values
UNCHOSEN = "unchosen"  # the status of a cell's seeds where no value could be chosen
UNCONFIRMED = "unconfirmed"  # the same where all seeds took part in choosing
FEWEST_SEEDS = 2  # that values share where they can: one seed does not compete, as in every table
NOWHERE = "none"  # what stands for the largest value that trains, where none does


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What one cell had to choose from, and what it chose."""

    settings: dict[str, str]  # every setting of the cell, the chosen one left out
    tried: dict[str, Cell]  # value → validation accuracy over the seeds that chose, by size
    chosen: Chosen
    seeds: list[int] = field(default_factory=list)  # that all values which could be chosen have
    left_out: list[str] = field(default_factory=list)  # values with too few of these seeds
    runs: dict[str, int] = field(default_factory=dict)  # value → runs that ended, of its budget
    fresh: list[int] = field(default_factory=list)  # seeds that confirm, where it was asked for
    last_seed: int = 0  # the largest of all runs of the cell

    @property
    def known(self) -> list[str]:
        """The values with an outcome: they could be chosen, or have a diverged run."""
        return [value for value in self.runs if value not in self.left_out]

    @property
    def budget(self) -> str:
        """How much was tried: values × seeds, or where seeds are unequal the runs."""
        counts, values = set(self.runs.values()), counted(len(self.runs), "value")
        if len(counts) == 1:
            return f"{values} × {counted(counts.pop(), 'seed')}"
        return f"{values}, {counted(sum(self.runs.values()), 'run')}"


def choose(
    rows: Sequence[Row], key: str, *, confirm: bool = False
) -> tuple[list[Row], list[Choice]]:
    """Return the rows at each cell's best value of `key`, and how each cell chose.

    The best has the highest mean validation accuracy over the seeds that all values share; of equal
    ones it is the smallest. A value with a diverged run cannot be chosen. All other runs of the
    best are returned; they differ in `key` no more, and have a `chosen`. A cell without a choice
    keeps a row a seed, `unchosen`.

    Args:
        rows: The runs.
        key: The setting that is chosen.
        confirm: Whether to return only runs of seeds that took no part in choosing; a cell without
            any keeps one row, `unconfirmed`.

    Raises:
        ConfigError: `key` cannot be chosen, or has one value.
    """
    _check(rows, key)
    kept: list[Row] = []
    choices = []
    for _, members in grouped(rows, [name for name in varying(rows) if name != key]):
        judges = _shared_rows(members, key) if confirm else members
        settings = {name: shown(members[0][name]) for name in SETTINGS if name != key}
        choice = _choose(judges, key, settings)
        chosen = replace(choice.chosen, largest=_largest(members, key))
        shown_rows = _at_best(members, chosen, judges if confirm else ())
        fresh = {row["seed"] for row in shown_rows if confirm and row["status"] in FINAL}
        last = max(row["seed"] for row in members)
        choices.append(replace(choice, chosen=chosen, fresh=sorted(fresh), last_seed=last))
        kept += shown_rows
    return kept, choices


def uneven(choices: Sequence[Choice]) -> list[str]:
    """Return a line if some cells had other values or more runs to choose from than others."""
    counts: dict[str, int] = {}
    for choice in choices:
        budget = f"{', '.join(choice.runs) or 'nothing'} ({choice.budget})"
        counts[budget] = counts.get(budget, 0) + 1
    if len(counts) < 2:
        return []
    listed = "; ".join(f"{budget} in {counted(n, 'cell')}" for budget, n in counts.items())
    key = choices[0].chosen.key
    return [f"not a fair comparison: {key} was chosen with unequal budgets: {listed}"]


def _check(rows: Sequence[Row], key: str) -> None:
    if key in NOT_IDENTITY or key == "seed":
        raise ConfigError(
            f"--best cannot choose {key}", "name a setting that is tuned: optimizer.learning_rate"
        )
    if key not in varying(rows):
        raise ConfigError(
            f"all runs have {key}={shown(rows[0][key])}", "there is nothing to choose: omit --best"
        )
    if not is_metric(JUDGE, rows):
        raise ConfigError(f"no run here has {JUDGE}", f"--best chooses by {JUDGE}")


def _choose(rows: Sequence[Row], key: str, settings: dict[str, str]) -> Choice:
    by_value = {value: members for (value,), members in grouped(rows, [key])}
    healthy = {
        value: {row["seed"] for row in members if _is_measured(row)}
        for value, members in by_value.items()
        if all(row["status"] != "diverged" for row in members)
    }
    rivals, seeds = _rivals(healthy)
    tried = {
        value: _cell(members, seeds if value in rivals else None)
        for value, members in by_value.items()
    }
    top = max((tried[value].mean or 0.0 for value in rivals), default=0.0)
    best = [value for value in rivals if top - (tried[value].mean or 0.0) <= ROUNDING]
    ended = {value: [row for row in by_value[value] if row["status"] in FINAL] for value in tried}
    known = [value for value in tried if value in rivals or value not in healthy]
    chosen = Chosen(
        key=key,
        value=best[0] if best else None,
        ties=tuple(best[1:]),
        edge=_edge(known, best[0]) if best else "",
    )
    return Choice(
        settings=settings,
        tried={**tried, **_marked({value: tried[value] for value in rivals}, chosen)},
        chosen=chosen,
        seeds=sorted(seeds),
        left_out=[value for value in healthy if healthy[value] and value not in rivals],
        runs={value: len(members) for value, members in ended.items() if members},
    )


def _is_measured(row: Row) -> bool:
    return row["status"] == "done" and row.get(JUDGE) is not None


def _rivals(seeds: Mapping[str, set[int]]) -> tuple[list[str], set[int]]:
    """Return the values that are compared, and the seeds that each of them has.

    While these are too few, the value leaves that shares the fewest with all others: a value that
    was tried on one other seed must not decide on which seeds the others are compared. Where all
    share equally few, there is nothing to compare them on.
    """
    kept = {value: own for value, own in seeds.items() if own}
    most = max((len(one & other) for one, other in combinations(kept.values(), 2)), default=1)
    needed = min(FEWEST_SEEDS, max(most, 1))  # one, where no two values share more
    while kept:
        shared = set.intersection(*kept.values())
        if len(shared) >= needed:
            return list(kept), shared
        common = {v: sum(len(own & other) for other in kept.values()) for v, own in kept.items()}
        if len(set(common.values())) == 1:
            break
        del kept[min(reversed(common), key=lambda value: common[value])]
    return [], set()


def _cell(rows: Sequence[Row], seeds: set[int] | None) -> Cell:
    """Return the runs of a value, of those that are done only these seeds."""
    return make_cell(
        [row for row in rows if seeds is None or row["status"] != "done" or row["seed"] in seeds],
        JUDGE,
    )


def _marked(rivals: Mapping[str, Cell], chosen: Chosen) -> dict[str, Cell]:
    """Return the cells with the chosen marked, and those that are not shown to differ from it."""
    judged = judge_with_best(
        {("", value): cell.values for value, cell in rivals.items()},
        {("", value): cell.floor for value, cell in rivals.items()},
        1,
    )
    marked = {}
    for value, cell in rivals.items():
        one = judged.at("", value)
        near = one is not None and one.p is not None and not one.differs
        marked[value] = replace(cell, mark=BEST if value == chosen.value else NEAR if near else "")
    return marked


def _edge(known: Sequence[str], best: str) -> str:
    """Return which end of the values with an outcome the best is at, if values have ends."""
    if not all(map(is_typed_number, known)):
        return ""
    if len(known) == 1:
        return "only"
    return {known[0]: "smallest", known[-1]: "largest"}.get(best, "")


def _largest(rows: Sequence[Row], key: str) -> str:
    """Return the largest value of `key` at which every seed that ended is above chance.

    It begins with ≥ where no larger value is known not to train. Nothing, where chance is unknown.
    """
    ended = [row for row in rows if row["status"] == "diverged" or _is_measured(row)]
    known = {value: members for (value,), members in grouped(ended, [key])}
    if not ended or not all(map(is_typed_number, known)) or not all(map(chance_accuracy, ended)):
        return ""
    training = [value for value, members in known.items() if all(map(_trains, members))]
    if not training:
        return NOWHERE
    return training[-1] if training[-1] != list(known)[-1] else f"≥ {training[-1]}"


def _trains(row: Row) -> bool:
    """Return whether a run is done and guessing does not explain its validation accuracy."""
    chance, images = chance_accuracy(row), images_of(row, JUDGE)
    if not _is_measured(row) or not chance or not images:
        return False
    return not is_at_chance(row[JUDGE], images, round(1 / chance))


def _shared_rows(rows: Sequence[Row], key: str) -> list[Row]:
    """Return the rows of the seeds that decide where others are to confirm: all values have them.

    A diverged run has a seed too: what becomes of fresh seeds must not change the choice.
    """
    ended = [row for row in rows if row["status"] in FINAL]
    seeds = {value: {row["seed"] for row in one} for (value,), one in grouped(ended, [key])}
    _, shared = _rivals(seeds)
    return [row for row in rows if row["seed"] in shared]


def _at_best(rows: Sequence[Row], chosen: Chosen, judges: Sequence[Row]) -> list[Row]:
    """Return the cell's rows at the chosen value but for judges' seeds; or what stands for them."""
    told = {chosen.key: AT_BEST, "chosen": chosen}
    if chosen.value is None:
        seeds = {row["seed"]: row for row in rows}
        return [{**row, **told, "status": UNCHOSEN} for row in seeds.values()]
    here = [row for row in rows if shown(row[chosen.key]) == chosen.value]
    used = {row["seed"] for row in judges}
    fresh = [{**row, **told} for row in here if row["seed"] not in used]
    return fresh or [{**here[0], **told, "status": UNCONFIRMED}]
