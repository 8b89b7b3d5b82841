"""Dynamic tanh: what stands in the place of a norm and takes no statistic."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from nnexp.norms.kinds import NormSpec


class DynamicTanh(nn.Module):
    """y = γ_c tanh(α x) + β_c, with one learned α a layer, which starts at `norm.alpha`.

    Zhu, Chen, He, LeCun & Liu, 2025, https://arxiv.org/abs/2503.10622, who use it where
    transformers and ConvNeXt have layer norm. Deviation: α starts at 1. The paper's 0.5 halves the
    signal at every layer without a shortcut: in VGG16 13 times, and nothing is left to learn from.

    Takes and returns NCHW; the output has the memory layout of the input.
    """

    def __init__(self, spec: "NormSpec") -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(spec.config.alpha))
        self.weight = nn.Parameter(torch.ones(spec.channels)) if spec.affine else None
        self.bias = nn.Parameter(torch.zeros(spec.channels)) if spec.affine else None

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the squashed maps."""
        y_NCHW = torch.tanh(self.alpha * x_NCHW)
        if self.weight is None or self.bias is None:
            return y_NCHW.clone()  # a ReLU may overwrite it, and tanh's gradient needs it
        return torch.addcmul(self.bias[:, None, None], y_NCHW, self.weight[:, None, None])
