"""Run folders, folders of runs, `results.csv` files → one row per run."""

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nnexp.compare.columns import HEAD, BrokenRun, Row, complete_row
from nnexp.compare.duplicates import each_once
from nnexp.compare.metrics import METRICS
from nnexp.compare.results_csv import read_results
from nnexp.compare.study import WORD, keep_studies
from nnexp.rundir import (
    ENVIRONMENT,
    RunDir,
    UnreadableError,
    read_config,
    read_object,
    read_result,
    read_table_columns,
    with_lock,
)
from nnexp.settings import ConfigError, fits, result_head
from nnexp.settings.values import is_number, quoted

if TYPE_CHECKING:
    import pandas as pd

    Runs = str | Path | Sequence[str] | Sequence[Path] | Sequence[Row] | pd.DataFrame

Say = Callable[[str], None]

DEFAULT = ("runs",)  # where nnexp train puts runs
TEXT_COLUMNS = ("layer", "quantity")  # of the tables of a run
MOST_NAMED = 5  # folders, rows or cells that one message names
WAYS = "name folders of runs, single runs, or a results.csv; nnexp train makes a run"


def load_runs(
    *sources: str | Path, on_problem: Say | None = None, config_dir: str | None = None
) -> "pd.DataFrame":
    """Return one row per run: id, status, every setting, metrics, reason, folder, environment.

    Args:
        sources: Folders of runs, run folders, names of runs under `runs/`, `results.csv` files and
            globs of these; `study=NAME` keeps the runs of that study. By default `runs`.
        on_problem: Is called with a line for each problem that leaves other runs to return.
        config_dir: Another folder of configs, where a study may be.

    Returns:
        A DataFrame. Metrics are numbers, NaN where a run has none; other absent values are None.

    Raises:
        ConfigError: A source holds no run that can be read, or there is no such study.
    """
    import pandas as pd

    rows = read_rows(sources or DEFAULT, on_problem or _ignore, config_dir)
    table = pd.DataFrame(rows, dtype=object)
    table = table.where(table.notna(), None)
    for key in metrics_in(rows):
        table[key] = pd.to_numeric(table[key])
    for key in ("batch_size", "seed", "epochs"):
        table[key] = table[key].astype("int64")
    return table


def load_epochs(run: str | Path | RunDir) -> "pd.DataFrame":
    """Return `metrics.csv` of a run, its folder or its name given: a row per finished epoch.

    Raises:
        ConfigError: There is no such run, or its table cannot be read.
    """
    return _load_table(run, "metrics")


def load_traces(run: str | Path | RunDir) -> "pd.DataFrame":
    """Return `traces.csv` of a run: a row per layer and quantity at each traced step.

    It is empty where the run traced nothing.

    Raises:
        ConfigError: There is no such run, or its table cannot be read.
    """
    return _load_table(run, "traces")


def load_channels(run: str | Path | RunDir) -> "pd.DataFrame":
    """Return `channels.csv` of a run: a row per channel and quantity at each traced step.

    It is empty where the run traced no channel.

    Raises:
        ConfigError: There is no such run, or its table cannot be read.
    """
    return _load_table(run, "channels")


def load_probes(run: str | Path | RunDir) -> "pd.DataFrame":
    """Return `probes.csv` of a run: a row per layer and quantity at each probed step.

    It is empty where the run was not probed.

    Raises:
        ConfigError: There is no such run, or its table cannot be read.
    """
    return _load_table(run, "probes")


def _load_table(run: str | Path | RunDir, name: str) -> "pd.DataFrame":
    import pandas as pd

    folder = run if isinstance(run, RunDir) else find_run(run)
    return pd.DataFrame(read_table_columns(folder.tables[name], TEXT_COLUMNS))


def as_rows(runs: "Runs", say: Say | None = None) -> list[Row]:
    """Return the rows of what a user names: sources as of `load_runs`, or what it returned.

    Raises:
        ConfigError: A source holds no run.
    """
    if isinstance(runs, (str, Path)):
        return read_rows([runs], say or _ignore)
    if hasattr(runs, "to_dict"):
        known = cast("pd.DataFrame", runs).astype(object)
        return cast("list[Row]", known.where(known.notna(), None).to_dict("records"))
    named: list[Any] = list(runs)
    if named and isinstance(named[0], dict):
        return named
    return read_rows(named or DEFAULT, say or _ignore)


def _ignore(problem: str) -> None:
    """Hear of a problem without a word."""


def read_rows(
    sources: Sequence[str | Path] = DEFAULT, say: Say = _ignore, config_dir: str | None = None
) -> list[Row]:
    """Return the rows of the runs that can be read; `say` hears of the others in one line.

    Raises:
        ConfigError: A source holds no run, none can be read, or there is no such study.
    """
    rows, broken = read_runs(sources, say, config_dir)
    if not rows:
        raise ConfigError(broken_in_words(broken), WAYS)
    if broken:
        say(broken_in_words(broken))
    return rows


def read_runs(
    sources: Sequence[str | Path] = DEFAULT, say: Say = _ignore, config_dir: str | None = None
) -> tuple[list[Row], list[BrokenRun]]:
    """Return one row per run: id, status, every setting, metrics, reason, folder, environment.

    Sources are folders of runs, run folders, names of runs under `runs/`, `results.csv` files, and
    globs of these; `study=NAME` keeps of them, or of `runs/`, what belongs to the study. A run that
    is not finished has its settings and its status, and no metrics. A run in several sources is
    taken once, the finished one first; `say` hears of those that disagree, and of metrics that are
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
    _drop_odd_values(rows, say)
    rows = each_once(rows, say)
    if studies and rows:
        rows = keep_studies(rows, studies, say, config_dir)
    return rows, broken


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


def _drop_odd_values(rows: Sequence[Row], say: Say) -> None:
    """Take out of columns of metrics what is no finite number, so that it counts as missing."""
    odd = []
    for key in filter(_may_be_metric, dict.fromkeys(chain.from_iterable(rows))):
        held = [row for row in rows if row.get(key) is not None]
        wrong = [row for row in held if not is_number(row[key])]
        words = [row for row in wrong if not isinstance(row[key], float)]
        if key not in METRICS and len(words) * 2 > len(held):
            continue  # a column of words
        for row in wrong:
            odd.append(f"{key} {quoted(row[key])} of {row['run_id']}")
            row[key] = None
    if odd:
        say(f"no number, so taken as missing: {_listed(odd)}")


def metrics_in(rows: Sequence[Row]) -> list[str]:
    """Return the columns that hold measured numbers, in the order of the results."""
    return [key for key in dict.fromkeys(chain.from_iterable(rows)) if is_metric(key, rows)]


def is_metric(key: str, rows: Sequence[Row]) -> bool:
    """Return whether a column is there and holds measured numbers."""
    if not _may_be_metric(key) or not any(key in row for row in rows):
        return False
    kinds = {type(row.get(key)) for row in rows}
    return all(issubclass(kind, (int, float, type(None))) for kind in kinds)


def _may_be_metric(key: str) -> bool:
    return (
        key not in HEAD and key not in ("reason", "folder") and not key.startswith("environment.")
    )


def find_run(name: str | Path) -> RunDir:
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
        yield from read_results(path)
    if not path.is_dir():
        return
    if _is_run(path):
        yield _read_run(RunDir(path))
        return
    runs = [child for child in sorted(path.iterdir()) if child.is_dir() and _is_run(child)]
    yield from (_read_run(RunDir(child)) for child in runs)
    if not runs and (path / "results.csv").is_file():
        yield from read_results(path / "results.csv")


def _is_run(path: Path) -> bool:
    """Return whether a folder has what only runs have, be it readable or not."""
    run = RunDir(path)
    return os.path.lexists(run.result) or os.path.lexists(run.config)


def _read_run(run: RunDir) -> Row | BrokenRun:
    try:
        row = read_result(run) or _unfinished(run)
        environment = read_object(run.environment) or {}
        for name in ENVIRONMENT:
            if not fits(environment.get(name), str | int | bool | None):
                problem = f"{name} is {quoted(environment[name])}"
                raise UnreadableError(run.environment, problem)
    except UnreadableError as error:
        return BrokenRun(name=str(run.path), reason=error.reason)
    return complete_row({**row, "folder": str(run.path)}, environment)


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
