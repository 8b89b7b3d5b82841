"""Rows → the rows and columns that a table is about, found by the words a user types."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from nnexp.compare.load import SETTINGS, Row, figures
from nnexp.config import NOT_IDENTITY, ConfigError
from nnexp.nearest import nearest, nearest_keys

OTHER_COLUMNS = ("status", "run_id")  # what --where knows beside the settings


def shown(value: Any) -> str:
    """Return a setting's value as it is typed after its `=`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


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
    known = figures(rows)
    if word in known:
        return word
    if not known:
        raise ConfigError("no run here is finished", "nnexp runs shows how far they are")
    near = nearest(word, known)
    listed = ", ".join(known)
    raise ConfigError(
        f"no metric {word!r}", f"did you mean {near} ({listed})" if near else f"metrics: {listed}"
    )


def filter_rows(rows: Sequence[Row], conditions: Iterable[str]) -> list[Row]:
    """Return the rows that meet every `key=value[,value]`; `tags=word` finds it among the tags.

    Raises:
        ConfigError: There is no such setting, or no run with such a value.
    """
    kept = list(rows)
    for condition in conditions:
        word, equals, values = condition.partition("=")
        if not equals or not values:
            raise ConfigError(f"--where cannot be {condition!r}", "it is written norm=batch,none")
        key = find_setting(word, OTHER_COLUMNS)
        chosen = values.split(",")
        for value in chosen:
            _check_value(rows, key, value)
        kept = [row for row in kept if any(matches(row, key, value) for value in chosen)]
    if not kept:
        raise ConfigError("no run meets every --where", "leave one out, or see nnexp runs")
    return kept


def matches(row: Row, key: str, word: str) -> bool:
    """Return whether a row's setting is what `word` says; numbers by their value."""
    value = row[key]
    if key == "tags":
        return word in json.loads(value or "[]")
    if isinstance(value, float):
        try:
            return value == float(word)
        except ValueError:
            return False
    return shown(value) == word


def varying(rows: Sequence[Row]) -> list[str]:
    """Return the settings that decide a result and are not the same in all rows, seed aside."""
    return [
        key
        for key in SETTINGS
        if key not in NOT_IDENTITY and key != "seed" and len({shown(row[key]) for row in rows}) > 1
    ]


def goes_with(rows: Sequence[Row], key: str, axes: Sequence[str]) -> bool:
    """Return whether `key` has one value for each value of `axes`, so that they tell it."""
    seen: dict[tuple[str, ...], str] = {}
    return all(
        seen.setdefault(values_of(row, axes), shown(row[key])) == shown(row[key]) for row in rows
    )


def values_of(row: Row, keys: Sequence[str]) -> tuple[str, ...]:
    """Return a row's settings as they are typed, to group by."""
    return tuple(shown(row[key]) for key in keys)


def in_order(values: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return groups in the order a reader expects: numbers by size, then words."""
    return sorted(set(values), key=lambda group: [_rank(value) for value in group])


def _rank(value: str) -> tuple[int, float, str]:
    try:
        return (0, float(value), "")
    except ValueError:
        return (1, 0.0, value)


def _check_value(rows: Sequence[Row], key: str, value: str) -> None:
    if any(matches(row, key, value) for row in rows):
        return
    if key == "tags":
        there = sorted({tag for row in rows for tag in json.loads(row[key] or "[]")})
    else:
        there = [group[0] for group in in_order(values_of(row, [key]) for row in rows)]
    listed = f"{key}: {', '.join(there[:12])}{', …' if len(there) > 12 else ''}"
    near = nearest(value, there)
    remedy = f"did you mean {key}={near} ({listed})" if near else listed
    raise ConfigError(f"no run has {key}={value}", remedy)
