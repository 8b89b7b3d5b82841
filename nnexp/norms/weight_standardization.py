"""The convolution of `group_ws`: weights are standardized before they are used."""

from typing import Any

import torch
from torch import Tensor, nn

from nnexp.settings import ConfigError

EPS = 1e-5  # the convolution is built without the settings, so `norm.eps` does not reach it


class StandardizedConv2d(nn.Conv2d):
    """A convolution by weights with mean 0 and variance 1 in each filter.

    ŵ_o = (w_o − mean(w_o)) / √(var(w_o) + 1e-5) for each output channel o, with mean and biased
    variance over all its weights (Qiao, Wang, Liu, Shen & Yuille, 2019,
    https://arxiv.org/abs/1903.10520). Gradients pass through both. Deviation: only the convolutions
    right before a norm are of this kind.

    Raises:
        ConfigError: A filter has a single weight, which would always be 0.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        if self.weight[0].numel() == 1:
            raise ConfigError(
                "a convolution with one weight in each filter cannot be standardized",
                "its weights would be 0: use another norm there, or another model",
            )

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution by the standardized weights."""
        return self._conv_forward(input, self.standardized(), self.bias)

    def standardized(self) -> Tensor:
        """Return the weights that are used, in the shape and memory layout of `weight`."""
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        return (self.weight - mean) * (variance + EPS).rsqrt()
