"""The tables of a run and its last measurements → its one row, `result.json`."""

import statistics
from typing import Any

from nnexp.experiment.environment import environment_columns
from nnexp.probes import summarize_probes
from nnexp.rundir import RunDir, read_json, read_table
from nnexp.settings import ExperimentConfig, result_head
from nnexp.training import TrainState, count_parameters


def make_result(
    run: RunDir,
    config: ExperimentConfig,
    state: TrainState,
    measured: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """Return the run's one row.

    Args:
        run: Its tables, `images.json` and `environment.json` are read.
        config: The settings that it ran with.
        state: As it is after the last step.
        measured: What is in no table: accuracies after the last epoch, or the step of divergence.
        seconds: Of the unfinished epoch.
    """
    images = read_json(run.images)
    classes = images.get("classes")
    return {
        **result_head(config, "diverged" if "diverged_at_step" in measured else "done"),
        **dict.fromkeys(("test_accuracy", "test_loss", "diverged_at_step")),
        **measured,
        **_last_epochs(run, seconds),
        **(_probed(run, measured) if config.probe.points else {}),
        "parameters": count_parameters(state.model),
        "steps": state.step,
        "chance_accuracy": 1 / len(classes) if classes else None,
        "test_images": images.get("counts", {}).get("test"),
        **environment_columns(read_json(run.environment)),
    }


def _last_epochs(run: RunDir, seconds: float) -> dict[str, Any]:
    epochs, times = read_table(run.metrics), read_table(run.timing)
    accuracies = [row["val_accuracy"] for row in epochs]
    last = epochs[-1] if epochs else {}
    return {
        "epochs_finished": len(epochs),
        "val_accuracy": last.get("val_accuracy"),
        "val_accuracy_median5": statistics.median(accuracies[-5:]) if epochs else None,
        "mean_val_accuracy": statistics.fmean(accuracies) if epochs else None,
        "val_loss": last.get("val_loss"),
        "train_accuracy": last.get("train_accuracy"),
        "train_loss": last.get("train_loss"),
        "seconds": sum(row["seconds"] for row in times) + seconds,
    }


def _probed(run: RunDir, measured: dict[str, Any]) -> dict[str, Any]:
    accuracy = measured.get("clean_train_accuracy")
    return {
        "clean_train_accuracy": accuracy,
        "generalization_gap": None if accuracy is None else accuracy - measured["test_accuracy"],
        **summarize_probes(read_table(run.probes, words={"layer", "quantity"})),
    }
