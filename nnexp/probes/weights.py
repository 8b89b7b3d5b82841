"""What a step does to single weight layers: lengths, effective rates, steps of equal length."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nnexp.norms import StandardizedConv2d, norm_layers, parts_of_norms, spec_of
from nnexp.probes.forward_passes import Weights

MATCHED_LENGTH = (
    1e-3  # of a weight, relative to its own: about what a step of SGD with BatchNorm is
)
RESHAPES = (nn.Identity, nn.Flatten, nn.Unflatten)


def length(*parts: Tensor) -> Tensor:
    """Return the Euclidean norm of all values together, a scalar on their device.

    It is in float64: squares of a run that diverges leave float32.
    """
    norms = [torch.linalg.vector_norm(part, dtype=torch.float64) for part in parts]
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))


def is_weight_layer(module: nn.Module) -> bool:
    """Return whether a module is a convolution or a linear layer."""
    return isinstance(module, (nn.Conv2d, nn.Linear))


def effective_rate(weight: Tensor, rate: float | Tensor, *, by_filter: bool) -> Tensor:
    """Return η / ‖w‖², or the mean of η / ‖w_k‖² over the filters w_k, a scalar (float64).

    Args:
        weight: w, whose first axis counts the filters.
        rate: η, with momentum included.
        by_filter: The length of each filter is lost in what follows, not only that of all of w.
    """
    if not by_filter:
        return rate / length(weight).square()
    return (rate / weight.double().flatten(1).square().sum(1)).mean()


def rate_of_step(optimizer: torch.optim.Optimizer) -> float | Tensor:
    """Return the learning rate of the last step; for SGD divided by 1 − momentum.

    A gradient enters 1 + m + m² + … times in the steps of SGD with momentum m.
    """
    group = optimizer.param_groups[0]  # a step sets the same rate for every group
    momentum = group["momentum"] if isinstance(optimizer, torch.optim.SGD) else 0.0
    return group["lr"] / (1 - momentum)


def normalized_by_filter(model: nn.Module, finished: Sequence[str]) -> set[str]:
    """Return the weight layers where what is learned does not depend on any filter's length.

    They are those that a norm comes right after whose statistic is of one channel alone, and those
    that standardize each filter themselves.

    Args:
        model: The network.
        finished: Paths of its modules, in the order in which they were done.
    """
    modules, norms, found = dict(model.named_modules()), dict(norm_layers(model)), set()
    inside = parts_of_norms(model) - set(norms.values())
    newest = ""  # the weight layer whose output nothing has changed yet
    for path in finished:
        module = modules[path]
        if module in inside:
            continue
        if is_weight_layer(module):
            newest = path
            found |= {path} if isinstance(module, StandardizedConv2d) else set()
        elif path in norms:
            found |= {newest} if newest and spec_of(module).removes_channel_scale else set()
            newest = ""
        elif not isinstance(module, RESHAPES) and not any(True for _ in module.children()):
            newest = ""
    return found


def matched_step(model: nn.Module, old: Weights, new: Weights, finished: Sequence[str]) -> Weights:
    """Return weights moved from `old` towards `new`, each w by `MATCHED_LENGTH` ‖w‖.

    What else is learned moves by the factor of the last weight layer that was done before it. A
    weight that the step leaves where it is stays there, and so does what comes before any.

    Args:
        model: The network.
        old: Its parameters before the step.
        new: Its parameters after it.
        finished: Paths of its modules, in the order in which they were done.
    """
    modules, moved = dict(model.named_modules()), dict(old)
    factor = None
    for path in finished:
        module = modules[path]
        if is_weight_layer(module):
            before = old[f"{path}.weight"]
            step = length(new[f"{path}.weight"] - before)
            factor = torch.where(step > 0, MATCHED_LENGTH * length(before) / step, 0)
        if factor is None:
            continue
        prefix = f"{path}." if path else ""
        for name, _ in module.named_parameters(prefix.rstrip("."), recurse=False):
            moved[name] = old[name] + factor.to(old[name].dtype) * (new[name] - old[name])
    return moved
