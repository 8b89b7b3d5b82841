"""Run folders with all the tables that figures and reports read, without the training."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from results import settings, write_run

from nnexp.rundir import RunDir
from nnexp.settings import ModelConfig, OptimizerConfig

GAINS = {"batch": 0.06, "group": 0.03, "none": 0.0}
MADE_WITH = {
    "command": "nnexp train norm=batch data.root='my photos'",
    "python": "3.12.1",
    "commit": "c0ffee00" * 5,
    "dirty": False,
}
STEPS = (0, 1, 3, 8, 24)


def write_study(
    folder: Path,
    batch_sizes: Sequence[int] = (2, 32),
    rates: Sequence[float] = (0.02,),
    seeds: Sequence[int] = (0, 1, 2),
) -> None:
    """Write a grid of finished runs over norms, batch sizes, learning rates and seeds."""
    for number, (norm, gain) in enumerate(GAINS.items(), 7):
        for batch_size in batch_sizes:
            for rate in rates:
                for seed in seeds:
                    off = 0.02 * abs(math.log(rate / 0.02)) + (norm == "batch" and batch_size < 4)
                    accuracy = 0.4 + gain - 0.1 * off + 0.001 * ((number * seed + batch_size) % 5)
                    write_full(folder, norm, accuracy, batch_size, rate=rate, seed=seed)


def write_full(  # noqa: PLR0913  what a run is
    folder: Path,
    norm: str,
    accuracy: float | None,
    batch_size: int = 32,
    *,
    rate: float = 0.02,
    seed: int = 0,
    status: str = "done",
    **figures: Any,
) -> RunDir:
    """Write one run with its curves, traces and environment."""
    config = replace(
        settings(norm, batch_size=batch_size, seed=seed, model=ModelConfig(name="baseline")),
        optimizer=OptimizerConfig(learning_rate=rate),
    )
    validated = accuracy and accuracy - 0.01
    run = write_run(
        folder, config, accuracy, status, val_accuracy=validated, environment=MADE_WITH, **figures
    )
    write_curves(run, [0.5, 0.8, 1.0], accuracy or 0.1)
    write_traces(run, "traces")
    return run


def write_curves(run: RunDir, shares: Sequence[float], accuracy: float) -> None:
    """Write a `metrics.csv` whose accuracies are shares of the last."""
    names = "epoch,step,train_loss,train_accuracy,val_loss,val_accuracy"
    lines = [
        f"{epoch},{8 * epoch},{2.3 - share},{share * accuracy},{2.4 - share},{share * accuracy}"
        for epoch, share in enumerate(shares, 1)
    ]
    run.metrics.write_text("\n".join([names, *lines, ""]), "utf-8")


def write_traces(run: RunDir, kind: str) -> None:
    """Write `traces.csv` of two layers, or `channels.csv` of four channels each."""
    parts = [(layer, name) for layer in ("conv1.norm", "conv2.norm") for name in ("mean", "var")]
    if kind == "traces":
        names = "epoch,step,layer,quantity,channels,mean,std,min,max"
        lines = [
            f"0,{step},{layer},running_{part},4,{0.1 + step / 30},0,0,1"
            for step in STEPS
            for layer, part in parts
        ]
    else:
        names = "epoch,step,layer,quantity,channel,value"
        lines = [
            f"0,{step},{layer},running_{part},{channel},{0.5 + channel * step / 30}"
            for step in STEPS
            for layer, part in parts
            for channel in range(4)
        ]
    run.path.joinpath(f"{kind}.csv").write_text("\n".join([names, *lines, ""]), "utf-8")
