"""The learning rate at a step."""

import math
from collections.abc import Callable

from nnexp.settings import OptimizerConfig, ScheduleConfig, Table

REFERENCE_BATCH_SIZE = 128  # where every scaling rule leaves the learning rate as it is


SCALINGS: dict[str, Callable[[float], float]] = {
    "none": lambda ratio: 1.0,
    "linear": lambda ratio: ratio,
    "sqrt": math.sqrt,
}


def peak_learning_rate(config: OptimizerConfig, batch_size: int) -> float:
    """Return the schedule's highest learning rate, scaled from batch size 128 by the rule."""
    scale = SCALINGS[config.learning_rate_scaling]
    return config.learning_rate * scale(batch_size / REFERENCE_BATCH_SIZE)


def learning_rate_at(step: int, total_steps: int, peak: float, config: ScheduleConfig) -> float:
    """Return the learning rate of the step after `step` finished ones.

    Over the first `config.warmup` of all steps it rises linearly from `peak / warmup_steps` to
    `peak`; from there the schedule takes it on.
    """
    warmup_steps = round(config.warmup * total_steps)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * SCHEDULES[config.name](step, total_steps, warmup_steps, config)


def _cosine(step: int, total_steps: int, warmup_steps: int, config: ScheduleConfig) -> float:
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))


def _step(step: int, total_steps: int, warmup_steps: int, config: ScheduleConfig) -> float:
    passed = sum(step >= share * total_steps for share in config.milestones)
    return config.factor**passed


def _constant(step: int, total_steps: int, warmup_steps: int, config: ScheduleConfig) -> float:
    return 1.0


SCHEDULES: Table[Callable[[int, int, int, ScheduleConfig], float]] = Table(
    "schedule",
    {
        "cosine": _cosine,
        "step": _step,
        "constant": _constant,
    },
)
