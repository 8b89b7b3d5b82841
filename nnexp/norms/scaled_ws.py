"""Scaled weight standardization: its convolution, and the gain of the activation after it."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nnexp.norms.weight_standardization import StandardizedConv2d

if TYPE_CHECKING:
    from nnexp.norms.kinds import NormSpec

SMALLEST = 1e-4  # of the sum of squares that divides
RELU_GAIN = math.sqrt(2 / (1 - 1 / math.pi))  # of N(0, 1), ReLU leaves the variance (1 − 1/π) / 2


class ScaledStandardizedConv2d(StandardizedConv2d):
    """A convolution by weights with mean 0 and sum of squares g² in each filter.

    ŵ_o = g_o (w_o − mean(w_o)) / √max(I var(w_o), 1e-4) for each output channel o, with mean and
    biased variance over its I weights; the gain g_o is learned and starts at 1 (Brock, De & Smith,
    2021, https://arxiv.org/abs/2101.08692; the floor is that of Brock, De, Smith & Simonyan, 2021,
    https://arxiv.org/abs/2102.06171). Gradients pass through mean and variance.

    Raises:
        ConfigError: A filter has a single weight, which would always be 0.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))

    def standardized(self) -> Tensor:
        """Return the weights that are used, in the shape of `weight`."""
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        sum_of_squares = variance * self.weight[0].numel()
        return (self.weight - mean) * (sum_of_squares.clamp(min=SMALLEST).rsqrt() * self.gain)


class ActivationGain(nn.Module):
    """Multiply by √(2 / (1 − 1/π)) where a ReLU follows, so that it keeps a variance of 1.

    The papers scale the output of the activation; scaling its input is the same for ReLU.
    Takes and returns NCHW.
    """

    def __init__(self, spec: "NormSpec") -> None:
        super().__init__()
        self.gain = RELU_GAIN if spec.activated else 1.0

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the scaled maps."""
        return x_NCHW * self.gain if self.gain != 1 else x_NCHW

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the parentheses."""
        return f"gain={self.gain:.4f}"
