"""Run folders, folders of runs, `results.csv` files → one row per run."""

import glob
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnexp.compare.columns import ENVIRONMENT, HEAD, MEASURED, Row, as_typed, blocks
from nnexp.compare.study import WORD, keep_studies
from nnexp.rundir import (
    FINAL,
    LARGEST_TABLE,
    SAVE_AS_UTF8,
    RunDir,
    UnreadableError,
    parse_cells,
    printable,
    read_config,
    read_object,
    read_result,
    read_text,
    with_lock,
    wrong_type,
)
from nnexp.settings import ConfigError, column_types, fits, result_head, shareable
from nnexp.settings.values import is_number, quoted

if TYPE_CHECKING:
    import pandas as pd

Say = Callable[[str], None]

DEFAULT = ("runs",)  # where nnexp train puts runs
WORDS = {"reason", "folder"} | {
    key for key, hint in column_types().items() if fits("", hint)
}  # columns that are text even where they look like a number
DECIDED = (
    "status",
    "test_accuracy",
    "test_loss",
    "val_accuracy",
    "val_loss",
    "train_loss",
    "steps",
)
REQUIRED = ("run_id", "status", "norm", "batch_size", "seed")  # columns of a results.csv
MOST_NAMED = 5  # folders, rows or cells that one message names
WAYS = "name folders of runs, single runs, or a results.csv; nnexp train makes a run"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenRun:
    """A run folder, or a row of a `results.csv`, that cannot be read."""

    name: str
    reason: str
    kind: str = "folder"

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def load_runs(sources: Sequence[str | Path] = DEFAULT, say: Say = lambda _: None) -> "pd.DataFrame":
    """Return one DataFrame row per run, with the columns of `read_rows`; absent values are None.

    Figures are numbers, and NaN where a run has none.

    Raises:
        ConfigError: A source holds no run.
    """
    import pandas as pd

    rows = read_rows(sources, say)
    columns = [*rows[0], *dict.fromkeys(key for row in rows for key in row if key not in rows[0])]
    table = pd.DataFrame([[row.get(key) for key in columns] for row in rows], columns=columns)
    table = table.astype(object).where(table.notna(), None)
    for key in figures(rows):
        table[key] = pd.to_numeric(table[key])
    for key in ("batch_size", "seed", "epochs"):
        table[key] = table[key].astype("int64")
    return table


def read_rows(sources: Sequence[str | Path] = DEFAULT, say: Say = lambda _: None) -> list[Row]:
    """Return the rows of the runs that can be read; `say` hears of the others in one line.

    Raises:
        ConfigError: A source holds no run, none can be read, or there is no such study.
    """
    rows, broken = read_runs(sources, say)
    if not rows:
        raise ConfigError(broken_in_words(broken), WAYS)
    if broken:
        say(broken_in_words(broken))
    return rows


def read_runs(
    sources: Sequence[str | Path] = DEFAULT, say: Say = lambda _: None
) -> tuple[list[Row], list[BrokenRun]]:
    """Return one row per run: id, status, every setting, figures, reason, folder, environment.

    Sources are folders of runs, run folders, names of runs under `runs/`, `results.csv` files, and
    globs of these; `study=NAME` keeps of them, or of `runs/`, what belongs to the study. A run that
    is not finished has its settings and its status, and no figures. A run in several sources is
    taken once, the finished one first; `say` hears of those that disagree, and of figures that are
    no numbers. Lists and mappings are text, as typed. What cannot be read is returned beside.

    Raises:
        ConfigError: A source holds no run, the only run named cannot be read, or there is no such
            study.
    """
    words = [str(source) for source in sources]
    studies = [word.removeprefix(WORD) for word in words if word.startswith(WORD)]
    folders = [word for word in words if not word.startswith(WORD)] or list(DEFAULT)
    found = list(chain.from_iterable(map(_read_source, folders)))
    broken = [one for one in found if isinstance(one, BrokenRun)]
    if len(found) == len(folders) == len(broken) == 1 and _is_named(broken[0], folders[0]):
        raise ConfigError(f"{broken[0].name} cannot be read: {broken[0].reason}", WAYS)
    rows = [one for one in found if not isinstance(one, BrokenRun)]
    _drop_odd_figures(rows, say)
    rows = _each_once(rows, say)
    return (keep_studies(rows, studies, say) if studies and rows else rows), broken


def _is_named(broken: BrokenRun, source: str) -> bool:
    return Path(broken.name).name == Path(source).name


def broken_in_words(broken: Sequence[BrokenRun]) -> str:
    """Return one line that names what cannot be read, and why."""
    kinds = {one.kind for one in broken}
    kind = kinds.pop() if len(kinds) == 1 else "run"
    return f"{len(broken)} {kind}{'s' * (len(broken) > 1)} cannot be read: {_listed(broken)}"


def _listed(things: Sequence[object]) -> str:
    more = len(things) - MOST_NAMED
    return ", ".join(map(str, things[:MOST_NAMED])) + (f" and {more} more" if more > 0 else "")


def _each_once(rows: Sequence[Row], say: Say) -> list[Row]:
    kept: dict[str, Row] = {}
    disagreeing: list[str] = []
    for row in rows:
        name = row["run_id"]
        if name in kept and _disagree(kept[name], row):
            disagreeing.append(f"{name} ({_places(kept[name], row)})")
        kept[name] = _merged(kept[name], row) if name in kept else row
    if disagreeing:
        more = f" and {len(disagreeing) - 1} more" if len(disagreeing) > 1 else ""
        say(f"the same run with different figures, the first is taken: {disagreeing[0]}{more}")
    return list(kept.values())


def _drop_odd_figures(rows: Sequence[Row], say: Say) -> None:
    """Take out of columns of figures what is no finite number, so that it counts as missing."""
    odd = []
    for key in dict.fromkeys(key for row in rows for key in row if _may_be_figure(key)):
        held = [row for row in rows if row.get(key) is not None]
        wrong = [row for row in held if not is_number(row[key])]
        words = [row for row in wrong if not isinstance(row[key], float)]
        if key not in MEASURED and len(words) * 2 > len(held):
            continue  # a column of words
        for row in wrong:
            odd.append(f"{key} {quoted(row[key])} of {row['run_id']}")
            row[key] = None
    if odd:
        say(f"no number, so taken as missing: {_listed(odd)}")


def figures(rows: Sequence[Row]) -> list[str]:
    """Return the columns that hold measured numbers, in the order of the results."""
    columns = dict.fromkeys(key for row in rows for key in row)
    return [
        key
        for key in columns
        if _may_be_figure(key)
        and all(isinstance(row.get(key), (int, float, type(None))) for row in rows)
    ]


def _may_be_figure(key: str) -> bool:
    return (
        key not in HEAD and key not in ("reason", "folder") and not key.startswith("environment.")
    )


def find_run(name: str) -> RunDir:
    """Return the run that a folder or a name under `runs/` means.

    Raises:
        ConfigError: There is none.
    """
    for path in (Path(name), Path(DEFAULT[0]) / name):
        if _is_run(path):
            return RunDir(path)
    raise ConfigError(f"no run at {name}", "name a folder under runs/; nnexp runs lists them")


def _read_source(source: str) -> list[Row | BrokenRun]:
    try:
        paths = _existing(source)
        found = list(chain.from_iterable(map(_read_path, paths)))
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        raise ConfigError(f"no runs in {source}: {problem}", WAYS) from None
    if not found:
        raise ConfigError(f"no runs in {source}" if paths else f"no runs at {source}", WAYS)
    return found


def _existing(source: str) -> list[Path]:
    """Return what a source names: itself, a run of that name under `runs/`, or a glob's matches."""
    for path in (Path(source), Path(DEFAULT[0]) / source):
        if path.exists():
            return [path]
    matches = glob.glob(source, recursive=True)  # noqa: PTH207  Path.glob refuses absolute patterns
    return [Path(match) for match in sorted(matches)]


def _read_path(path: Path) -> Iterator[Row | BrokenRun]:
    if path.is_file() and path.suffix == ".csv":
        yield from _read_results(path)
    if not path.is_dir():
        return
    if _is_run(path):
        yield _read_run(RunDir(path))
        return
    runs = [child for child in sorted(path.iterdir()) if child.is_dir() and _is_run(child)]
    yield from (_read_run(RunDir(child)) for child in runs)
    if not runs and (path / "results.csv").is_file():
        yield from _read_results(path / "results.csv")


def _is_run(path: Path) -> bool:
    """Return whether a folder has what only runs have, be it readable or not."""
    run = RunDir(path)
    return os.path.lexists(run.result) or os.path.lexists(run.config)


def _read_run(run: RunDir) -> Row | BrokenRun:
    try:
        row = read_result(run) or _unfinished(run)
        environment = read_object(run.environment) or {}
        for name in ENVIRONMENT:
            if not fits(environment.get(name), str | None):
                problem = f"{name} is {quoted(environment[name])}"
                raise UnreadableError(run.environment, problem)
    except UnreadableError as error:
        return BrokenRun(name=str(run.path), reason=error.reason)
    return _complete({**row, "folder": str(run.path)}, environment)


def _unfinished(run: RunDir) -> Row:
    """Return the row of a run without a result: its settings, where it stands, and why."""
    status = read_object(run.status) or {}
    state, reason = status.get("status", "unknown"), status.get("reason")
    if not isinstance(state, str):
        raise UnreadableError(run.status, f"status is {quoted(state)}")
    config = read_config(run)
    if config is None:
        raise UnreadableError(run.config, "there is none")
    state = with_lock(run, {"status": state})["status"]
    return {**result_head(config, state), "reason": None if reason is None else str(reason)}


def _read_results(path: Path) -> Iterator[Row | BrokenRun]:
    """Yield the rows of a `results.csv`, in UTF-8 or UTF-16, with commas, semicolons or tabs.

    Raises:
        ConfigError: It is another kind of table, or cannot be read.
    """
    try:
        header, *lines = _cells_of_results(path)
    except UnreadableError as error:
        raise ConfigError(error.problem, SAVE_AS_UTF8) from error
    for number, line in enumerate(lines, 2):
        row = {key: _value(key, cell) for key, cell in zip(header, line, strict=True)}
        row = {key: value for key, value in row.items() if value is not None or _is_kept(key)}
        if problem := wrong_type(row):
            yield BrokenRun(name=f"row {number} of {path}", reason=problem, kind="row")
        else:
            yield _complete({**row, "folder": str(path)}, {})


def _cells_of_results(path: Path) -> list[list[str]]:
    text = read_text(path, LARGEST_TABLE) or ""
    head = text.partition("\n")[0]
    for delimiter in (",", ";", "\t"):
        if set(REQUIRED) <= {name.strip('\r" ') for name in head.split(delimiter)}:
            return parse_cells(path, text, delimiter)
    raise ConfigError(f"{path} is no results.csv", "nnexp writes one beside its runs")


def _is_kept(key: str) -> bool:
    """Return whether an empty cell says something; else the run was made without the setting."""
    return key in REQUIRED or key not in column_types() or fits(None, column_types()[key])


def _value(key: str, cell: str) -> Any:
    """Return what a cell of `results.csv` was before it was written."""
    if cell == "":
        return None
    if key in WORDS:
        return cell
    if cell in ("True", "False"):
        return cell == "True"
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return blocks(cell) if key == "norm.at" else cell  # as load_runs gives it


def _complete(row: Row, environment: Mapping[str, Any]) -> Row:
    """Return the row with every column; a setting it was made without is at its default.

    Texts are as they can be printed and shared; the folder alone stays as it is.
    """
    folder = row["folder"]
    row = {**HEAD, "run_id": Path(folder).name, "reason": None, **row}
    row |= {f"environment.{name}": environment.get(name) for name in ENVIRONMENT}
    row = {key: as_typed(value) for key, value in (row | shareable(row)).items()}
    row = {k: printable(value) if isinstance(value, str) else value for k, value in row.items()}
    return {**row, "folder": folder}


def _merged(first: Row, second: Row) -> Row:
    """Return the row of a run that two sources hold: a finished one first, gaps filled."""
    if first["status"] not in FINAL and second["status"] in FINAL:
        first, second = second, first
    if _disagree(first, second):
        return first
    return {**first, **{k: v for k, v in second.items() if first.get(k) is None}}


def _disagree(first: Row, second: Row) -> bool:
    if not {first["status"], second["status"]} <= FINAL:
        return False
    return any(first.get(key) != second.get(key) for key in DECIDED)


def _places(first: Row, second: Row) -> str:
    key = next(key for key in DECIDED if first.get(key) != second.get(key))
    sides: Iterable[str] = (f"{key} {row.get(key)} in {row['folder']}" for row in (first, second))
    return ", ".join(sides)
