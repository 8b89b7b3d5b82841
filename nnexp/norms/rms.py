"""Root mean square norm over the channels at each position."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from nnexp.norms.kinds import NormSpec


class RootMeanSquareNorm(nn.Module):
    """Divide the channels at each position by their root mean square.

    y_nchw = γ_c x_nchw / √(mean over c of x²_nchw + ε): no mean is subtracted, no shift is learned
    (Zhang & Sennrich, 2019, https://arxiv.org/abs/1910.07467). Deviation: the paper's formula has
    no ε; here it is `norm.eps`, and not the precision of the type, which `torch.nn.RMSNorm` takes
    by default.

    Takes and returns NCHW; the output has the memory layout of the input.
    """

    def __init__(self, spec: "NormSpec") -> None:
        super().__init__()
        self.num_channels = spec.channels
        self.eps = spec.eps
        self.weight = nn.Parameter(torch.ones(spec.channels)) if spec.affine else None

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the normalized maps."""
        # F.rms_norm is no faster here: on a CPU it is these operations, and wants NHWC.
        mean_square_N1HW = x_NCHW.square().mean(1, keepdim=True)
        y_NCHW = x_NCHW * (mean_square_N1HW + self.eps).rsqrt()
        return y_NCHW if self.weight is None else y_NCHW * self.weight[:, None, None]

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the parentheses."""
        return f"{self.num_channels}, eps={self.eps}, affine={self.weight is not None}"
