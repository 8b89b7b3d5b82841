"""Rows → the rows and columns that a table is about, found by the words a user types."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter

from nnexp.compare.columns import SETTINGS, Row, blocks, shown
from nnexp.compare.load import is_metric, metrics_in
from nnexp.settings import NOT_IDENTITY, ConfigError, nearest, nearest_keys

Group = tuple[str, ...]  # values of settings, as typed

OTHER_COLUMNS = ("status", "run_id")  # what --where knows beside the settings
CONDITION = re.compile(r"([^=!]+)(!?)=(.+)")
# What `code` says more of.
NAMES = ("model", "norm", "norm.at", "data.name", "optimizer.name", "schedule.name")
VALUE = re.compile(r"\{[^}]*\}|\[[^]]*\]|[^,]+")  # a comma in a mapping or a list divides nothing


def find_setting(word: str, more: Sequence[str] = ()) -> str:
    """Return the column that a word names: `data` is `data.name`, `norm.name` is `norm`.

    Raises:
        ConfigError: There is no such setting.
    """
    known = [*SETTINGS, *more]
    for key in (word, f"{word}.name", word.removesuffix(".name")):
        if key in known:
            return key
    near = nearest_keys(word, known)
    remedy = f"did you mean {' or '.join(near[:3])}" if near else "nnexp configs lists the settings"
    raise ConfigError(f"no setting {word!r}", remedy)


def find_metric(word: str, rows: Sequence[Row]) -> str:
    """Return `word` where it is a figure of the runs.

    Raises:
        ConfigError: It is none.
    """
    if is_metric(word, rows):
        return word
    known = metrics_in(rows)
    if not known:
        raise ConfigError("no run here is finished", "nnexp runs shows how far they are")
    near = nearest(word, known)
    listed = ", ".join(known)
    raise ConfigError(
        f"no metric {word!r}", f"did you mean {near} ({listed})" if near else f"metrics: {listed}"
    )


def filter_rows(rows: Sequence[Row], conditions: Iterable[str]) -> list[Row]:
    """Return the rows that meet every `key=value[,value]`, and none of `key!=value[,value]`.

    `tags=word` finds it among the tags, `norm.at.conv1=layer` what a block has of its own.

    Raises:
        ConfigError: There is no such setting, or no run with such a value.
    """
    kept = list(rows)
    for condition in conditions:
        read = CONDITION.fullmatch(condition)
        if read is None:
            raise ConfigError(
                f"--where cannot be {condition!r}", "it is written norm=batch,none or norm!=none"
            )
        key, chosen = _find_column(read[1]), VALUE.findall(read[3])
        for value in chosen:
            _check_value(rows, key, value)
        kept = [
            row
            for row in kept
            if any(matches(row, key, value) for value in chosen) != bool(read[2])
        ]
    if not kept:
        raise ConfigError("no run meets every --where", "leave one out, or see nnexp runs")
    return kept


def check_one_value(option: str, text: str) -> None:
    """Refuse several values, as `key=value,value` or without a key.

    Raises:
        ConfigError: There is more than one.
    """
    word, equals, values = text.partition("=")
    found = VALUE.findall(values if equals else word)
    if len(found) > 1:
        before = f"{word}=" if equals else ""
        raise ConfigError(
            f"{option} takes one value, and {text} has {len(found)}",
            f"name one of them: {option} {before}{found[0]}",
        )


def matches(row: Row, key: str, word: str) -> bool:
    """Return whether a row's setting is what `word` says; numbers by their value."""
    parent, _, block = key.rpartition(".")
    if _is_mapping(parent):
        return blocks(row[parent]).get(block) == word
    value = row[key]
    if _is_mapping(key):
        return blocks(value) == blocks(word)
    if key == "tags":
        return word in json.loads(value or "[]")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return value == float(word)
        except ValueError:
            return False
    return shown(value) == word


def _find_column(word: str) -> str:
    """Return the column that a condition is on; `norm.at.conv1` is inside one."""
    return word if _is_mapping(word.rpartition(".")[0]) else find_setting(word, OTHER_COLUMNS)


def _is_mapping(key: str) -> bool:
    return isinstance(SETTINGS.get(key), dict)


def varying(rows: Sequence[Row]) -> list[str]:
    """Return the settings that decide a result and are not the same in all rows, seed aside.

    The code of plug-ins is one of them only where one name stands for several texts.
    """
    found = changing(rows, [key for key in SETTINGS if key not in NOT_IDENTITY and key != "seed"])
    return [key for key in found if key != "code" or not goes_with(rows, key, NAMES)]


def changing(rows: Sequence[Row], keys: Sequence[str]) -> list[str]:
    """Return those of several settings that are not the same in all rows."""
    kinds = set(map(itemgetter(*keys), rows))  # few, so that text is cheap
    values = map(set, zip(*kinds, strict=True))
    return [key for key, own in zip(keys, values, strict=True) if len(set(map(shown, own))) > 1]


def goes_with(rows: Sequence[Row], key: str, axes: Sequence[str]) -> bool:
    """Return whether `key` has one value for each value of `axes`, so that they tell it."""
    seen: dict[Group, str] = {}
    return all(
        seen.setdefault(values_of(row, axes), shown(row[key])) == shown(row[key]) for row in rows
    )


def values_of(row: Row, keys: Sequence[str]) -> Group:
    """Return a row's settings as they are typed, to group by."""
    return tuple(shown(row[key]) for key in keys)


def in_words(settings: Mapping[str, str]) -> str:
    """Return settings as they are typed, with commas between."""
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def grouped(rows: Iterable[Row], keys: Sequence[str]) -> list[tuple[Group, list[Row]]]:
    """Return the rows of each combination of values, in a reader's order."""
    groups: dict[Group, list[Row]] = {}
    for row in rows:
        groups.setdefault(values_of(row, keys), []).append(row)
    return [(group, groups[group]) for group in in_order(groups)]


def in_order(values: Iterable[Group]) -> list[Group]:
    """Return groups in the order a reader expects: numbers by size, then words."""
    return sorted(set(values), key=lambda group: [_rank(value) for value in group])


@lru_cache(1 << 12)
def _rank(value: str) -> tuple[int, float, str]:
    try:
        return (0, float(value), "")
    except ValueError:
        return (1, 0.0, value.rstrip("}"))  # {} before {conv1: layer}


def _check_value(rows: Sequence[Row], key: str, value: str) -> None:
    if any(matches(row, key, value) for row in rows):
        return
    there = _there(rows, key)
    listed = f"{key}: {', '.join(there[:12]) or 'in no run'}{', …' if len(there) > 12 else ''}"
    near = nearest(value, there)
    remedy = f"did you mean {key}={near} ({listed})" if near else listed
    raise ConfigError(f"no run has {key}={value}", remedy)


def _there(rows: Sequence[Row], key: str) -> list[str]:
    """Return the values that a condition on `key` can find."""
    parent, _, block = key.rpartition(".")
    if _is_mapping(parent):
        return sorted({own[block] for row in rows if block in (own := blocks(row[parent]))})
    if key == "tags":
        return sorted({tag for row in rows for tag in json.loads(row[key] or "[]")})
    return [group[0] for group in in_order(values_of(row, [key]) for row in rows)]
