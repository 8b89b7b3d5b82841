"""Two runs of the command line, computed again by a plain loop that knows the docs alone.

Steps run the same kernels in the same order on one thread, so the weights at the end have to be
equal bit by bit.
"""

import csv
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from plain_loop import (
    BATCH_SIZE,
    CLASSES,
    DROPOUT,
    EPOCHS,
    SEED,
    SPLIT,
    STEPS,
    WARMUP,
    WARMUP_STEPS,
    Case,
    Replay,
    replayed,
)
from processes import Starter
from safetensors.torch import load_file
from torch import nn

PICTURES = {"train": 50, "test": 100}  # of each class
# A sum of float32 in another order, and the CSV's own rounding: some units of 2⁻²⁴ = 6e-8.
ROUNDING = 1e-6


def warmed_up(step: int, peak: float, afterwards: Callable[[int], float]) -> float:
    if step < WARMUP_STEPS:
        return peak * (step + 1) / WARMUP_STEPS
    return peak * afterwards(step)


def cosine(step: int) -> float:
    return (1 + math.cos(math.pi * (step - WARMUP_STEPS) / (STEPS - WARMUP_STEPS))) / 2


def two_drops(step: int) -> float:
    return 0.3 ** ((step >= 0.4 * STEPS) + (step >= 0.8 * STEPS))


SGD = Case(
    words=(
        *("norm=batch", "norm.momentum=0.3", "norm.eps=0.001"),
        *("optimizer=sgd", "optimizer.learning_rate=0.4", "optimizer.momentum=0.6"),
        *("optimizer.weight_decay=0.02", "optimizer.clip_norm=3"),
        "schedule=cosine",
    ),
    norm=lambda channels: nn.BatchNorm2d(channels, eps=0.001, momentum=0.3),
    optimizer=lambda weights, others: torch.optim.SGD(
        [{"params": weights, "weight_decay": 0.02}, {"params": others}], momentum=0.6, fused=True
    ),
    learning_rate=lambda step: warmed_up(step, 0.4 * BATCH_SIZE / 128, cosine),
    clip_norm=3.0,
)
ADAMW = Case(
    words=(
        *(
            "norm=group",
            "norm.channels_per_group=8",
            "optimizer=adamw",
            "optimizer.learning_rate=0.01",
        ),
        *("optimizer.learning_rate_scaling=sqrt", "optimizer.beta1=0.6", "optimizer.beta2=0.8"),
        *("optimizer.weight_decay=0.3", "optimizer.decay_norm_and_bias=true"),
        *("schedule=step", "schedule.milestones=[0.4,0.8]", "schedule.factor=0.3"),
    ),
    norm=lambda channels: nn.GroupNorm(channels // 8, channels),
    optimizer=lambda weights, others: torch.optim.AdamW(
        [*weights, *others], betas=(0.6, 0.8), weight_decay=0.3, fused=True
    ),
    learning_rate=lambda step: warmed_up(step, 0.01 * math.sqrt(BATCH_SIZE / 128), two_drops),
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw noisy pictures whose brightness tells the class often, but not always."""
    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for half, count in PICTURES.items():
        for label, name in enumerate(CLASSES):
            (root / half / name).mkdir(parents=True)
            for k in range(count):
                centre = 85 + 35 * label + random.integers(-40, 40)
                pixels = (centre + random.integers(-60, 60, (32, 32, 3))).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(root / half / name / f"{k:03}.png")
    return root


@pytest.fixture
def _without_denormals() -> Iterator[None]:
    """Compute as runs do: denormal numbers are 0."""
    torch.set_flush_denormal(True)
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_flush_denormal(False)


def run_by_command_line(nnexp: Starter, case: Case, root: Path, folder: Path) -> Path:
    """Train `case` in a process of its own, and return its run folder."""
    words = [
        *("model=baseline", "model.width=0.25", f"model.dropout={DROPOUT}", *case.words),
        *("data=folder", f"data.root={root}", "data.augment=true"),
        *(f"data.{name}_images={count}" for name, count in SPLIT.items()),
        *(f"batch_size={BATCH_SIZE}", f"epochs={EPOCHS}", f"seed={SEED}"),
        *(f"schedule.warmup={WARMUP}", "probe.points=3", "device=cpu", "threads=1"),
        f"runs_dir={folder}",
    ]
    done = nnexp("train", *words)
    assert done.returncode == 0, done.stderr
    (run,) = (path.parent for path in folder.glob("*/result.json"))
    return run


def assert_every_part_counts(case: Case, replay: Replay) -> None:
    """Check that the case would show a clipped step for an unclipped one, one split for another.

    Accuracies strictly inside 0 to 1 differ: 70, 71 and 271 images have no other share in common.
    """
    assert case.clip_norm == math.inf or 0 < replay.clipped < STEPS
    accuracies = [row["val_accuracy"] for row in replay.rows]
    accuracies += [replay.result["test_accuracy"], replay.result["clean_train_accuracy"]]
    assert all(0 < accuracy < 1 for accuracy in accuracies)


@pytest.mark.usefixtures("_without_denormals")
@pytest.mark.parametrize("case", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_a_plain_loop_written_from_the_docs_gives_the_numbers_of_a_run(
    case, pictures, nnexp, tmp_path
):
    run = run_by_command_line(nnexp, case, pictures, tmp_path / "runs")
    replay = replayed(case, pictures)
    assert_every_part_counts(case, replay)

    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [{key: float(cell) for key, cell in row.items()} for row in csv.DictReader(file)]
    assert [row.keys() for row in rows] == [row.keys() for row in replay.rows]
    for row, expected in zip(rows, replay.rows, strict=True):
        assert row == pytest.approx(expected, rel=ROUNDING)

    result = json.loads((run / "result.json").read_text("utf-8"))
    found = {key: result[key] for key in replay.result}
    assert found == pytest.approx(replay.result, rel=ROUNDING)

    weights = load_file(run / "checkpoint" / "weights.safetensors")
    expected = replay.network.state_dict()
    assert weights.keys() == expected.keys()
    assert [name for name in weights if not torch.equal(weights[name], expected[name])] == []
