"""EvoNorm-B0: an activation and a norm by the larger of two deviations, in one layer."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nnexp.norms.affine import AffineLayer
from nnexp.norms.moments import image_moments, merge_moments, unbiased

if TYPE_CHECKING:
    from nnexp.norms.kinds import NormSpec


class EvoNormB0(AffineLayer):
    """y = γ_c x / max(√(σ²_c + ε), v_c x + √(σ²_nc + ε)) + β_c; v starts at 1.

    σ²_c is the biased variance of a channel over the batch and σ²_nc that over one image; x itself
    is not centred (Liu, Brock, Simonyan & Le, 2020, https://arxiv.org/abs/2004.02967). Evaluation
    takes σ²_c from a running variance, the unbiased one as in every norm here, where the authors'
    code stores the biased one. The layer replaces the activation after it as well. Deviation: where
    no activation follows, the denominator is √(σ²_c + ε), and there is no v. The authors' code has
    γ x + β there, without any normalization.

    Takes and returns NCHW; the output has the memory layout of the input.
    """

    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, spec: "NormSpec") -> None:
        super().__init__(spec)
        self.momentum = spec.momentum
        self.v = nn.Parameter(torch.ones(spec.channels)) if spec.activated else None
        self.register_buffer("running_var", torch.ones(spec.channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the normalized maps; in training mode, move the running variance."""
        mean_NC11, variance_NC11 = image_moments(x_NCHW)
        if self.training:
            variance_C11 = merge_moments(mean_NC11, variance_NC11, axis=0)[1][0]
            self._track(variance_C11.detach(), x_NCHW.numel() // x_NCHW.shape[1])
        else:
            variance_C11 = self.running_var[:, None, None]
        deviation = (variance_C11 + self.eps).sqrt()
        if self.v is not None:
            # max(deviation, v x + that of the image), which is slower in its backward pass
            more_NC11 = (variance_NC11 + self.eps).sqrt() - deviation
            more_NCHW = torch.addcmul(more_NC11, x_NCHW, self.v[:, None, None])
            deviation = deviation + torch.relu_(more_NCHW)
        y_NCHW = x_NCHW / deviation
        if self.weight is None or self.bias is None:
            return y_NCHW
        return torch.addcmul(self.bias[:, None, None], y_NCHW, self.weight[:, None, None])

    @torch.no_grad()
    def _track(self, variance_C11: Tensor, num_values: int) -> None:
        newest_C = unbiased(variance_C11, num_values).flatten()
        self.running_var.lerp_(newest_C.to(self.running_var.dtype), self.momentum)
        self.num_batches_tracked.add_(1)

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the parentheses."""
        return f"eps={self.eps}, momentum={self.momentum}, activated={self.v is not None}"
