"""Run folders, folders of runs, `results.csv` files → one row per run."""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nnexp.compare.columns import HEAD, BrokenRun, Row
from nnexp.compare.duplicates import each_once
from nnexp.compare.metrics import METRICS
from nnexp.compare.sources import DEFAULT, WAYS, find_run, read_source
from nnexp.compare.study import WORD, keep_studies
from nnexp.rundir import RunDir, read_table_columns
from nnexp.settings import ConfigError
from nnexp.settings.values import is_number, quoted

if TYPE_CHECKING:
    import pandas as pd

    Runs = str | Path | Sequence[str] | Sequence[Path] | Sequence[Row] | pd.DataFrame

Say = Callable[[str], None]

TEXT_COLUMNS = ("layer", "quantity")  # of the tables of a run
MOST_NAMED = 5  # folders, rows or cells that one message names


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
        table[key] = table[key].astype("Int64" if None in [*table[key]] else "int64")
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
        ConfigError: A source holds no run, or a table is not what `load_runs` returns.
    """
    if isinstance(runs, (str, Path)):
        return read_rows([runs], say or _ignore)
    if hasattr(runs, "to_dict"):
        columns = getattr(runs, "columns", ())  # a Series has none
        if missing := [key for key in (*HEAD, "folder") if key not in columns]:
            raise ConfigError(
                f"a table of runs needs the column {missing[0]}",
                "give a DataFrame with all columns that load_runs returned; rows may be left out",
            )
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
    found = list(chain.from_iterable(map(read_source, folders)))
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
