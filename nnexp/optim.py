"""The optimizer, and the learning rate at a step."""

import math
from collections.abc import Callable

import torch
from torch import nn

from nnexp.config import OptimizerConfig, ScheduleConfig
from nnexp.norms import parts_of_norms

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


SCHEDULES: dict[str, Callable[[int, int, int, ScheduleConfig], float]] = {
    "cosine": _cosine,
    "step": _step,
    "constant": _constant,
}


def build_optimizer(
    model: nn.Module, config: OptimizerConfig, peak: float
) -> torch.optim.Optimizer:
    """Return the optimizer over every parameter of `model`.

    Weight decay pulls on the weights of convolutions and linear layers. γ, β and biases are
    left alone for every norm alike, unless `config.decay_norm_and_bias`.
    """
    decayed, spared = _split_parameters(model, config.decay_norm_and_bias)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return OPTIMIZERS[config.name]([group for group in groups if group["params"]], config, peak)


def _split_parameters(
    model: nn.Module, decay_all: bool
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    decayed, spared, in_norms = [], [], parts_of_norms(model)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            of_layer = isinstance(module, (nn.Conv2d, nn.Linear)) and module not in in_norms
            is_weight = of_layer and name == "weight"
            (decayed if is_weight or decay_all else spared).append(parameter)
    return decayed, spared


def _sgd(groups: list[dict], config: OptimizerConfig, peak: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=peak, momentum=config.momentum, fused=True)


def _adamw(groups: list[dict], config: OptimizerConfig, peak: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=peak, betas=(config.beta1, config.beta2), fused=True)


OPTIMIZERS: dict[str, Callable[[list[dict], OptimizerConfig, float], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adamw": _adamw,
}
