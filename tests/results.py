"""Run folders as nnexp leaves them, without the training."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nnexp.cli.app import main
from nnexp.rundir import RunDir, write_json
from nnexp.settings import ExperimentConfig, NormConfig, result_head, run_id, to_yaml

HERE = {"nnexp": "0.1.0", "torch": "2.15.0", "device": "cpu", "images_sha256": "a" * 64}
# seed → test accuracy
BATCH = {0: 0.80, 1: 0.82, 2: 0.81, 3: 0.85}
LAYER = {0: 0.78, 1: 0.81, 2: 0.77, 3: 0.80}
GROUP = {0: 0.79, 1: 0.83, 2: 0.80, 3: 0.85}
HEADER = "epoch,step,val_loss,val_accuracy"


def settings(norm: str = "batch", **changes: Any) -> ExperimentConfig:
    """Return settings with a norm of that name."""
    return replace(ExperimentConfig(norm=NormConfig(name=norm), epochs=3), **changes)


def write_run(
    folder: Path,
    config: ExperimentConfig,
    accuracy: float | None = None,
    status: str = "done",
    **figures: Any,
) -> RunDir:
    """Write a run that ended in `status`; only `done` and `diverged` have a result."""
    run = RunDir(folder / run_id(config))
    run.path.mkdir(parents=True)
    run.config.write_text(to_yaml(config), "utf-8")
    write_json(run.environment, {**HERE, **figures.pop("environment", {})})
    reason = {"reason": figures.pop("reason")} if "reason" in figures else {}
    write_json(run.status, {"status": status, **reason})
    if status in ("done", "diverged"):
        head = result_head(config, status)
        diverged = 7 if status == "diverged" else None
        row = {**head, "test_accuracy": accuracy, "diverged_at_step": diverged}
        write_json(run.result, {**row, "steps": 24, "epochs_finished": 3, **figures})
    return run


def write_seeds(folder: Path, accuracies: dict[int, float], norm: str, **changes: Any) -> None:
    """Write a finished run for each seed."""
    for seed, accuracy in accuracies.items():
        write_run(folder, settings(norm, seed=seed, **changes), accuracy)


def write_epochs(run: RunDir, *rows: str) -> None:
    """Write a short `metrics.csv`."""
    run.metrics.write_text("\n".join([HEADER, *rows, ""]), "utf-8")


def compared(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Return exit code, output and messages of `nnexp compare`."""
    with pytest.raises(SystemExit) as end:
        main(["compare", *argv])
    assert isinstance(end.value.code, int)
    return end.value.code, *capsys.readouterr()


def cells(capsys: pytest.CaptureFixture[str], *argv: str) -> list[dict[str, str]]:
    """Return the rows that `nnexp compare --csv` prints."""
    return list(csv.DictReader(io.StringIO(compared(capsys, *argv, "--csv")[1])))
