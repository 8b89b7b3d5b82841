"""The loss along the gradient: its range, and how far the gradient can be relied upon."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nnexp.probes.forward_passes import Weights
from nnexp.probes.time_points import TimePoint
from nnexp.probes.weights import length

RATES = tuple(0.01 * 2**power for power in range(7))  # 0.01 to 0.64, the same for every run

# The loss at given weights, and its gradient by each of them, in their order.
LossAndGradient = Callable[[Weights], tuple[Tensor, Sequence[Tensor]]]


def note_landscape(point: TimePoint, weights: Weights, look: LossAndGradient) -> None:
    """Note the loss and the gradient at the weights less η times their gradient, at all `RATES`.

    With g the gradient of all weights and g_η that after the step η, the largest ‖g − g_η‖ is the
    gradient predictiveness and the largest ‖g − g_η‖ / (η ‖g‖) the effective smoothness: Santurkar,
    Tsipras, Ilyas & Mądry, 2018 (https://arxiv.org/abs/1805.11604), figure 4.
    """
    _, gradient = look(weights)
    size = length(*gradient)
    losses, changes, ratios = [], [], []
    for rate in RATES:
        steps = zip(weights.items(), gradient, strict=True)
        loss, other = look({name: weight - rate * part for (name, weight), part in steps})
        change = length(*(b - a for a, b in zip(gradient, other, strict=True)))
        losses.append(loss.detach())
        changes.append(change)
        ratios.append(change / (rate * size))
    lowest, highest = torch.stack(losses).aminmax()
    for quantity, value in (
        ("lowest_loss", lowest),
        ("highest_loss", highest),
        ("loss_range", highest - lowest),
        ("gradient_predictiveness", torch.stack(changes).amax()),
        ("effective_smoothness", torch.stack(ratios).amax()),
    ):
        point.note("", quantity, value)
