"""Filter response norm, with the thresholded linear unit that replaces the activation."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nnexp.norms.affine import AffineLayer

if TYPE_CHECKING:
    from nnexp.norms.kinds import NormSpec


class FilterResponseNorm(AffineLayer):
    """z = max(γ_c x / √(mean of x² over h, w + ε) + β_c, τ_c), for each image; τ starts at 0.

    Singh & Krishnan, 2020, https://arxiv.org/abs/1911.09737. Where no activation follows, such as
    before the sum of a residual block, the layer ends at β. Deviations: ε is `norm.eps`, not the
    paper's 1e-6, and is never learned; the paper learns it for maps of a single position, where
    x / √(x² + ε) is close to ±1. Its warm-up of the learning rate is that of every norm here.

    Takes and returns NCHW; the output has the memory layout of the input.
    """

    def __init__(self, spec: "NormSpec") -> None:
        super().__init__(spec)
        self.threshold = nn.Parameter(torch.zeros(spec.channels)) if spec.activated else None

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the normalized maps, cut off below where there is a threshold."""
        scale_NC11 = (x_NCHW.square().mean((2, 3), keepdim=True) + self.eps).rsqrt()
        y_NCHW = self.scaled(x_NCHW, scale_NC11)
        if self.threshold is None:
            return y_NCHW
        # max(y, τ), whose backward pass takes four times as long on a CPU
        threshold_C11 = self.threshold[:, None, None]
        return torch.relu(y_NCHW - threshold_C11) + threshold_C11

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the parentheses."""
        return f"eps={self.eps}, activated={self.threshold is not None}"
