"""What layers with γ and β have in common."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from nnexp.norms.kinds import NormSpec


class AffineLayer(nn.Module):
    """A layer with ε and, unless `norm.affine=false`, a γ and a β a channel: `weight`, `bias`."""

    def __init__(self, spec: "NormSpec") -> None:
        super().__init__()
        self.eps = spec.eps
        self.weight = nn.Parameter(torch.ones(spec.channels)) if spec.affine else None
        self.bias = nn.Parameter(torch.zeros(spec.channels)) if spec.affine else None

    def scaled(self, x_NCHW: Tensor, scale_NC11: Tensor) -> Tensor:
        """Return γ_c · scale · x + β_c, with a scale of each channel of each image."""
        if self.weight is None or self.bias is None:
            return x_NCHW * scale_NC11
        scale_NC11 = scale_NC11 * self.weight[:, None, None]
        return torch.addcmul(self.bias[:, None, None], x_NCHW, scale_NC11)
