"""Two run folders → what differs between them: settings, results, epochs, environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnexp.compare.columns import SETTINGS, Row, shown
from nnexp.compare.load import read_rows
from nnexp.rundir import RunDir, read_json, read_table_cells
from nnexp.settings import NOT_IDENTITY

PLACE = {"run_id", "folder", "runs_dir"}  # where a run is, not what it is


TIMES = {"seconds"}  # never the same twice


OCCASION = {"command", "started", "resumed"}  # when and how it was called


ABSENT = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that two runs do not share."""

    part: str  # settings, results, epochs or environment
    name: str
    first: str
    second: str


def diff_runs(first: RunDir, second: RunDir) -> list[Difference]:
    """Return all that differs, in the order settings, results, epochs, environment.

    Epochs are compared where every setting that decides the result is equal: the first epoch whose
    row of `metrics.csv` is not the same, and the columns that differ in it. What no two runs share
    (folder, times, command line) is left out.

    Raises:
        ConfigError: A run's settings cannot be read.
    """
    rows = [_row(run) for run in (first, second)]
    settings = _differing("settings", *({key: row[key] for key in SETTINGS} for row in rows))
    results = _differing("results", *(_results(row) for row in rows))
    decisive = [one for one in settings if one.name not in NOT_IDENTITY]
    epochs = [] if decisive else _differing_epochs(first, second)
    environment = _differing("environment", *(_environment(run) for run in (first, second)))
    return [*settings, *results, *epochs, *environment]


def _row(run: RunDir) -> Row:
    (row,) = read_rows([run.path])
    return row


def _results(row: Row) -> dict[str, Any]:
    return {
        key: value
        for key, value in row.items()
        if key not in SETTINGS and key not in PLACE | TIMES and not key.startswith("environment.")
    }


def _environment(run: RunDir) -> dict[str, Any]:
    return {key: v for key, v in read_json(run.environment).items() if key not in OCCASION}


def _differing(part: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    return [
        Difference(part=part, name=key, first=_text(first, key), second=_text(second, key))
        for key in dict.fromkeys((*first, *second))
        if key not in PLACE and first.get(key) != second.get(key)
    ]


def _text(content: Mapping[str, Any], key: str) -> str:
    """Return a value in full, so that two that differ never look alike."""
    if key not in content:
        return ABSENT
    value = content[key]
    return repr(value) if isinstance(value, float) else shown(value)


def _differing_epochs(first: RunDir, second: RunDir) -> list[Difference]:
    tables = [_epochs(run) for run in (first, second)]
    for left, right in zip(*tables, strict=False):
        if left != right:
            names = [key for key in left if left[key] != right.get(key)]
            return [
                Difference(
                    part="epochs",
                    name=f"first in epoch {left.get('epoch', ABSENT)}: {name}",
                    first=left[name],
                    second=right.get(name) or ABSENT,
                )
                for name in names
            ]
    lengths = [str(len(table)) for table in tables]
    if lengths[0] == lengths[1]:
        return []
    return [Difference(part="epochs", name="finished", first=lengths[0], second=lengths[1])]


def _epochs(run: RunDir) -> Sequence[Mapping[str, str]]:
    head, *rows = read_table_cells(run.metrics) or [[]]
    return [dict(zip(head, row, strict=True)) for row in rows]
