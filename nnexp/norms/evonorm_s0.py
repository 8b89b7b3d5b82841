"""EvoNorm-S0: an activation and a norm by the variance of groups of channels, in one layer."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nnexp.norms.affine import AffineLayer
from nnexp.norms.moments import image_moments, merge_moments

if TYPE_CHECKING:
    from nnexp.norms.kinds import NormSpec


class EvoNormS0(AffineLayer):
    """y = γ_c x σ(v_c x) / √(σ²_ng + ε) + β_c; σ(·) is the logistic function, v starts at 1.

    σ²_ng is the biased variance over a group's channels and all positions of one image; x itself
    is not centred (Liu, Brock, Simonyan & Le, 2020, https://arxiv.org/abs/2004.02967). The layer
    replaces the activation after it as well. Deviation: where no activation follows, such as before
    the sum of a residual block, x takes the place of x σ(v x), and there is no v. The authors' code
    has γ x + β there, without any normalization.

    Takes and returns NCHW; the output has the memory layout of the input.
    """

    def __init__(self, spec: "NormSpec") -> None:
        super().__init__(spec)
        self.num_groups = spec.groups
        self.v = nn.Parameter(torch.ones(spec.channels)) if spec.activated else None

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the normalized, and where `v` is, activated maps."""
        moments = (one.unflatten(1, (self.num_groups, -1)) for one in image_moments(x_NCHW))
        variance_NGD = merge_moments(*moments, axis=2)[1].expand(
            -1, -1, x_NCHW.shape[1] // self.num_groups, -1, -1
        )
        scale_NC11 = (variance_NGD.flatten(1, 2) + self.eps).rsqrt()
        y_NCHW = x_NCHW
        if self.v is not None:
            y_NCHW = x_NCHW * torch.sigmoid(self.v[:, None, None] * x_NCHW)
        return self.scaled(y_NCHW, scale_NC11)

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the parentheses."""
        return f"num_groups={self.num_groups}, eps={self.eps}, activated={self.v is not None}"
