"""RMS norm, as a user adds it: docs/extend.md shows this file."""

import torch
from torch import Tensor, nn

from nnexp.norms import NORMS, NormKind, NormSpec, Statistic


class RMSNorm(nn.Module):
    """y = γ_c x / √(mean of x² over an image + ε); see Zhang & Sennrich, arXiv:1910.07467."""

    def __init__(self, spec: NormSpec) -> None:
        super().__init__()
        self.eps = spec.eps
        self.weight = nn.Parameter(torch.ones(spec.channels)) if spec.affine else None

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = x_NCHW * (x_NCHW.square().mean((1, 2, 3), keepdim=True) + self.eps).rsqrt()
        return y_NCHW if self.weight is None else y_NCHW * self.weight[:, None, None]


RMS = NormKind(
    build=RMSNorm, statistic=Statistic(over="CHW", per="image", centred=False), beta=False
)
NORMS["rms_chw"] = RMS
