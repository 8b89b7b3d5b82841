"""Run folders, folders of runs, `results.csv` files → one row per run."""

import csv
import glob
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnexp.compare.columns import ENVIRONMENT, HEAD, Row, as_typed
from nnexp.compare.study import WORD, keep_studies
from nnexp.config import ConfigError, ExperimentConfig, flatten, from_yaml, result_head
from nnexp.rundir import FINAL, RunDir, read_json, read_status

if TYPE_CHECKING:
    import pandas as pd

Say = Callable[[str], None]

DEFAULT = ("runs",)  # where nnexp train puts runs
WORDS = {"run_id", "status", "reason", "folder", "model", "norm", "data.root", "data.cache_dir"} | {
    key for key, value in flatten(ExperimentConfig()).items() if isinstance(value, str)
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
WAYS = "name folders of runs, single runs, or a results.csv; nnexp train makes a run"


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
    """Return one row per run: id, status, every setting, figures, reason, folder, environment.

    Sources are folders of runs, run folders, names of runs under `runs/`, `results.csv` files, and
    globs of these; `study=NAME` keeps of them, or of `runs/`, what belongs to the study. A run that
    is not finished has its settings and its status, and no figures. A run in several sources is
    taken once, the finished one first; `say` hears of those that disagree, and of folders that
    cannot be read. Lists and mappings are text, as typed.

    Raises:
        ConfigError: A source holds no run, or there is no such study.
    """
    words = [str(source) for source in sources]
    studies = [word.removeprefix(WORD) for word in words if word.startswith(WORD)]
    folders = [word for word in words if not word.startswith(WORD)]
    rows = _read_sources(folders or DEFAULT, say)
    return keep_studies(rows, studies, say) if studies else rows


def _read_sources(sources: Sequence[str], say: Say) -> list[Row]:
    kept: dict[str, Row] = {}
    disagreeing: list[str] = []
    for source in sources:
        for row in _read_source(source, say):
            name = row["run_id"]
            if name in kept and _disagree(kept[name], row):
                disagreeing.append(f"{name} ({_places(kept[name], row)})")
            kept[name] = _merged(kept[name], row) if name in kept else row
    if disagreeing:
        more = f" and {len(disagreeing) - 1} more" if len(disagreeing) > 1 else ""
        say(f"the same run with different figures, the first is taken: {disagreeing[0]}{more}")
    return list(kept.values())


def figures(rows: Sequence[Row]) -> list[str]:
    """Return the columns that hold measured numbers, in the order of the results."""
    columns = dict.fromkeys(key for row in rows for key in row)
    return [
        key
        for key in columns
        if key not in HEAD
        and key not in ("reason", "folder")
        and not key.startswith("environment.")
        and all(isinstance(row.get(key), (int, float, type(None))) for row in rows)
    ]


def find_run(name: str) -> RunDir:
    """Return the run that a folder or a name under `runs/` means.

    Raises:
        ConfigError: There is none.
    """
    for path in (Path(name), Path(DEFAULT[0]) / name):
        if _is_run(path):
            return RunDir(path)
    raise ConfigError(f"no run at {name}", "name a folder under runs/; nnexp runs lists them")


def _read_source(source: str, say: Say) -> Iterator[Row]:
    paths = _existing(source)
    found = False
    for path in paths:
        for row in _read_path(path, say):
            found = True
            yield row
    if not found:
        raise ConfigError(f"no runs in {source}" if paths else f"no runs at {source}", WAYS)


def _existing(source: str) -> list[Path]:
    """Return what a source names: itself, a run of that name under `runs/`, or a glob's matches."""
    for path in (Path(source), Path(DEFAULT[0]) / source):
        if path.exists():
            return [path]
    matches = glob.glob(source, recursive=True)  # noqa: PTH207  Path.glob refuses absolute patterns
    return [Path(match) for match in sorted(matches)]


def _read_path(path: Path, say: Say) -> Iterator[Row]:
    if path.is_file():
        if path.suffix == ".csv":
            yield from _read_results(path)
        return
    if _is_run(path):
        yield from _read_run(RunDir(path), say)
        return
    runs = [child for child in sorted(path.iterdir()) if child.is_dir() and _is_run(child)]
    for child in runs:
        yield from _read_run(RunDir(child), say)
    if not runs and (path / "results.csv").is_file():
        yield from _read_results(path / "results.csv")


def _is_run(path: Path) -> bool:
    run = RunDir(path)
    return run.result.is_file() or run.config.is_file()


def _read_run(run: RunDir, say: Say) -> Iterator[Row]:
    """Yield the run's one row; nothing, and a word about it, where its settings are unreadable."""
    row = read_json(run.result)
    if not row:
        status = read_status(run)
        try:
            row = result_head(
                from_yaml(run.config.read_text("utf-8")), status.get("status", "unknown")
            )
        except (ConfigError, OSError, UnicodeDecodeError) as error:
            problem = error.problem if isinstance(error, ConfigError) else str(error)
            say(f"{run.path} is left out: {problem}")
            return
        row["reason"] = status.get("reason")
    environment = read_json(run.environment)
    row["folder"] = str(run.path)
    yield _complete(row, {name: environment.get(name) for name in ENVIRONMENT})


def _read_results(path: Path) -> Iterator[Row]:
    """Yield the rows of a `results.csv`.

    Raises:
        ConfigError: It is another kind of table.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if not {"run_id", "status", "norm", "batch_size", "seed"} <= set(reader.fieldnames or ()):
            raise ConfigError(f"{path} is no results.csv", "nnexp writes one beside its runs")
        for cells in reader:
            row = {key: _value(key, cell) for key, cell in cells.items()}
            yield _complete({**row, "folder": str(path)}, {})


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
    except ValueError:
        return cell


def _complete(row: Row, environment: Mapping[str, Any]) -> Row:
    """Return the row with every column; a setting it was made without is at its default."""
    row = {**HEAD, "run_id": Path(row["folder"]).name, "reason": None, **row}
    row = {key: as_typed(value) for key, value in row.items()}
    return {**row, **{f"environment.{name}": environment.get(name) for name in ENVIRONMENT}}


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
