"""Sweeps of tiny runs: their words, their processes, and what they leave on disk."""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nnexp.cli.app import main
from nnexp.rundir import RunDir, read_json
from nnexp.settings.compose import compose_jobs
from nnexp.sweeps.jobs import Job, make_jobs

TINY = [
    "data=synthetic",
    *("data.train_images=48", "data.val_images=40", "data.test_images=40"),
    *("model=baseline", "model.width=0.25", "batch_size=16", "epochs=3"),
    *("device=cpu", "threads=1"),
]
PATIENCE = 300.0  # seconds after which a wait is taken for a hang


def jobs_of(*words: str) -> list[Job]:
    """Return the runs of a sweep of tiny runs, and where each stands."""
    return make_jobs(compose_jobs([*TINY, *words]))


def runs_of(*words: str) -> list[RunDir]:
    """Return the folders of a sweep of tiny runs."""
    return [job.run for job in jobs_of(*words)]


def swept(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Return exit code, output and messages of a sweep of tiny runs in this process."""
    with pytest.raises(SystemExit) as end:
        main(["sweep", *TINY, *argv])
    assert isinstance(end.value.code, int)
    return end.value.code, *capsys.readouterr()


def sweep_command(*argv: str) -> list[str]:
    """Return the command of a sweep of tiny runs."""
    return [sys.executable, "-m", "nnexp", "sweep", *TINY, *argv]


def start_sweep(*argv: str) -> subprocess.Popen[bytes]:
    """Start a sweep of tiny runs in a process of its own."""
    return subprocess.Popen(sweep_command(*argv), stdout=subprocess.DEVNULL)


def wait_until(holds: Callable[[], object]) -> None:
    """Look again and again until something holds."""
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.005)


def statuses_of(*words: str) -> list[str]:
    """Return where each run of a sweep of tiny runs stands."""
    return [job.status for job in jobs_of(*words)]


def log_of(run: RunDir) -> str:
    """Return what a run has said; nothing where it has not begun."""
    return run.log.read_text("utf-8") if run.log.exists() else ""


def rows_of(folder: Path | str) -> dict[str, dict[str, str]]:
    """Return the rows of `results.csv` by the run's name."""
    with (Path(folder) / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    named = {row["run_id"]: row for row in rows}
    assert len(named) == len(rows)
    return named


def assert_row_is_the_result(run: RunDir) -> None:
    """Compare a run's row in `results.csv` with its `result.json`, figure by figure."""
    row, result = rows_of(run.path.parent)[run.path.name], read_json(run.result)
    for key in ("status", "seed", "test_accuracy", "val_loss", "steps", "seconds", "parameters"):
        assert row[key] == ("" if result[key] is None else str(result[key])), (run.path, key)


def processes_with(text: str) -> list[int]:
    """Return the processes whose environment holds a text; where the system shows none, none."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "environ").read_bytes() and folder.name != str(
                os.getpid()
            ):
                found.append(int(folder.name))
        except OSError:
            continue
    return found
