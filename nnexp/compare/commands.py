"""Choices of a best value → the commands that train what they lack."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

from nnexp.compare.best import Choice
from nnexp.compare.columns import SETTINGS, as_typed, shown
from nnexp.settings import ConfigError, list_settings, result_head
from nnexp.settings.sharing import shareable_command

GROUPS = ("model", "norm", "data", "optimizer", "schedule", "scale")
ALWAYS = ("model", "norm")
LEFT_OUT = ("study", "tags", "listeners", "code", "seed")  # say nothing of what is trained
SIGNIFICANT = 6  # digits of a value that was never typed

Words = dict[str, str]  # key → values with a comma between


def extending_commands(choices: Sequence[Choice]) -> list[str]:
    """Return commands that try the next value beyond each end of the values that was chosen.

    All cells that had the same values to choose from get it, so that budgets stay equal. None,
    where there is no next value, or its runs cannot be composed here.
    """
    alike: dict[tuple[str, ...], list[Choice]] = {}
    for choice in choices:
        alike.setdefault(tuple(choice.known), []).append(choice)
    cells = []
    for known, members in alike.items():
        seeds = sorted({seed for one in members for seed in one.seeds})
        edges = dict.fromkeys(one.chosen.edge for one in members if one.chosen.edge)
        values = [v for edge in edges for v in _beyond(members[0].chosen.key, known, edge)]
        cells += [(one, value, seeds) for one in members for value in dict.fromkeys(values)]
    return _commands(cells)


def confirming_commands(choices: Sequence[Choice]) -> list[str]:
    """Return commands that train each cell without a fresh seed at its chosen value with new ones.

    As many as chose, but two or more, so that a difference has an interval. None, where its runs
    cannot be composed here.
    """
    lacking = [
        (one, one.chosen.value) for one in choices if one.chosen.value is not None and not one.fresh
    ]
    first = 1 + max((one.last_seed for one, _ in lacking), default=0)
    return _commands(
        [(one, value, range(first, first + max(2, len(one.seeds)))) for one, value in lacking]
    )


def _beyond(key: str, known: Sequence[str], edge: str) -> list[str]:
    """Return the values next to an end of those known, in the same steps; those that can be."""
    numbers = sorted(map(float, known))
    last = numbers[0] if edge == "smallest" else numbers[-1]
    before = numbers[1] if edge == "smallest" else numbers[-2] if edge == "largest" else 0.0
    factors = [0.5, 2.0] if edge == "only" else [last / before if before > 0 else 2.0]
    setting = list_settings()[key]
    found = []
    for factor in factors:
        value = setting.kind(float(f"{last * factor:.{SIGNIFICANT}g}"))  # int leaves out the rest
        with suppress(ConfigError):
            setting.check(value)
            found += [shown(value)] if value != last else []
    return found


def _commands(cells: Sequence[tuple[Choice, str, Sequence[int]]]) -> list[str]:
    """Return the fewest commands that train cells at a value, each with its seeds.

    What one cell has to say, all say: so that batch sizes 32 and 128, the default, are one list.
    """
    settings = [{**choice.settings, choice.chosen.key: value} for choice, value, _ in cells]
    try:
        keys = {key for one in settings for key in _unusual(one)}
    except ConfigError:  # names of entries that are not here
        return []
    each = [
        {key: value for key, value in _typed(one).items() if key in keys}
        | {"seed": ",".join(map(str, seeds))}
        for one, (_, _, seeds) in zip(settings, cells, strict=True)
    ]
    return [
        shareable_command(["nnexp", "sweep", *(f"{key}={_at_home(v)}" for key, v in words.items())])
        for words in _merged(each)
    ]


def _at_home(value: str) -> str:
    """Return a path with its home folder, which is then written as a shell and Hydra take it."""
    return os.path.expanduser(value) if value.startswith("~/") else value  # noqa: PTH111


def _typed(settings: Mapping[str, str]) -> Words:
    """Return all that could be typed to get these settings: names of groups, then single values."""
    names = {group: settings.get(f"{group}.name") or settings[group] for group in GROUPS}
    kept = (
        key for key in SETTINGS if key not in LEFT_OUT and key.removesuffix(".name") not in names
    )
    return names | {key: settings[key] for key in kept}


def _unusual(settings: Mapping[str, str]) -> set[str]:
    """Return what has to be typed of it, since without it the value would be another."""
    words = _typed(settings)
    names = tuple(f"{group}={words[group]}" for group in GROUPS)
    without, usual = _typed(_composed(())), _typed(_composed(names))
    named = {group for group in GROUPS if words[group] != without[group]}
    return {*ALWAYS, *named, *(key for key in words if words[key] != usual[key])}


@lru_cache(256)
def _composed(words: tuple[str, ...]) -> Mapping[str, str]:
    from nnexp.settings.compose import compose_each  # Hydra takes a third of a second

    row = result_head(compose_each([list(words)])[0], "")
    return {key: shown(as_typed(value)) for key, value in row.items()}


def _merged(each: list[Words]) -> list[Words]:
    """Return words that differ in one key as one, with both values; as long as there are any."""
    merged: list[Words] = []
    for words in each:
        for other in merged:
            differing = [key for key in other if other[key] != words.get(key)]
            if other.keys() == words.keys() and len(differing) < 2:
                other |= {key: f"{other[key]},{words[key]}" for key in differing}
                break
        else:
            merged.append(dict(words))
    return merged if len(merged) == len(each) else _merged(merged)
