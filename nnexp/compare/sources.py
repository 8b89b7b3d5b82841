"""What a user names → the rows of its runs: run folders, folders of runs, `results.csv`, globs."""

import glob
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from nnexp.compare.columns import BrokenRun, Row, complete_row
from nnexp.compare.results_csv import read_results
from nnexp.rundir import (
    ENVIRONMENT,
    RunDir,
    UnreadableError,
    read_config,
    read_object,
    read_result,
    with_lock,
)
from nnexp.settings import ConfigError, fits, result_head
from nnexp.settings.values import quoted

DEFAULT = ("runs",)  # where nnexp train puts runs
WAYS = "name folders of runs, single runs, or a results.csv; nnexp train makes a run"


def find_run(name: str | Path) -> RunDir:
    """Return the run that a folder or a name under `runs/` means.

    Raises:
        ConfigError: There is none.
    """
    for path in (Path(name), Path(DEFAULT[0]) / name):
        if _is_run(path):
            return RunDir(path)
    raise ConfigError(f"no run at {name}", "name a folder under runs/; nnexp runs lists them")


def read_source(source: str) -> list[Row | BrokenRun]:
    """Return a row of each run that a source names, or what cannot be read of it.

    Raises:
        ConfigError: It names no run.
    """
    try:
        paths = _existing(source)
        found = list(chain.from_iterable(map(_read_path, paths)))
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        raise ConfigError(f"no runs in {source}: {problem}", WAYS) from None
    if not found:
        remedy = f"a condition is written --where {source}" if "=" in source and not paths else WAYS
        raise ConfigError(f"no runs {'in' if paths else 'at'} {source}", remedy)
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
