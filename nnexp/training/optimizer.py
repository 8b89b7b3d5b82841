"""The optimizer, by name, and what weight decay pulls on."""

import inspect
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import nn

from nnexp.models.branches import Multiplier, Shift
from nnexp.norms import parts_of_norms
from nnexp.settings import OptimizerConfig, Table

FIXUP_RATE = 0.1  # of the learning rate, for the scalars of init=fixup
GUARDED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict", "step")
Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


def build_optimizer(
    model: nn.Module, config: OptimizerConfig, peak: float
) -> torch.optim.Optimizer:
    """Return the optimizer over every parameter of `model`.

    Weight decay pulls on the weights of convolutions and linear layers. γ, β and biases are
    left alone for every norm alike, unless `config.decay_norm_and_bias`. Fixup's scalars are a
    group with an `lr_scale` of its own.
    """
    decayed, spared, scalars = _split_parameters(model, config.decay_norm_and_bias)
    decay_of_scalars = config.weight_decay if config.decay_norm_and_bias else 0.0
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": spared, "weight_decay": 0.0},
        {"params": scalars, "weight_decay": decay_of_scalars, "lr_scale": FIXUP_RATE},
    ]
    return OPTIMIZERS[config.name]([group for group in groups if group["params"]], config, peak)


def _split_parameters(
    model: nn.Module, decay_all: bool
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    decayed, spared, scalars, in_norms = [], [], [], parts_of_norms(model)
    for module in model.modules():
        if isinstance(module, Multiplier | Shift) and module.slow:
            scalars.append(module.scalar)
            continue
        for name, parameter in module.named_parameters(recurse=False):
            of_layer = isinstance(module, (nn.Conv2d, nn.Linear)) and module not in in_norms
            is_weight = of_layer and name == "weight"
            (decayed if is_weight or decay_all else spared).append(parameter)
    return decayed, spared, scalars


def _unguarded(kind: type[Kind]) -> type[Kind]:
    """Return an optimizer without the guards that keep `torch.compile` out of its methods.

    They do nothing else where no step is compiled with its optimizer, but the first of them imports
    the compiler, `torch._dynamo`, which takes a second. The one of `step` also turns gradients off.
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in GUARDED}
    methods["step"] = torch.no_grad()(methods["step"])
    return cast("type[Kind]", type(kind.__name__, (kind,), methods))


SGD = _unguarded(torch.optim.SGD)
AdamW = _unguarded(torch.optim.AdamW)


def _sgd(groups: list[dict], config: OptimizerConfig, peak: float) -> torch.optim.Optimizer:
    return SGD(groups, lr=peak, momentum=config.momentum, fused=True)


def _adamw(groups: list[dict], config: OptimizerConfig, peak: float) -> torch.optim.Optimizer:
    return AdamW(groups, lr=peak, betas=(config.beta1, config.beta2), fused=True)


OPTIMIZERS: Table[Callable[[list[dict], OptimizerConfig, float], torch.optim.Optimizer]] = Table(
    "optimizer",
    {
        "sgd": _sgd,
        "adamw": _adamw,
    },
)
