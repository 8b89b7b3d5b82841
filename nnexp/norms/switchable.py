"""Switchable norm: learns how to mix the statistics of instance, layer and batch norm."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nnexp.norms.affine import AffineLayer
from nnexp.norms.moments import image_moments, merge_moments, unbiased

if TYPE_CHECKING:
    from nnexp.norms.kinds import NormSpec


class SwitchableNorm(AffineLayer):
    """y = γ_c (x − Σ w_k μ_k) / √(Σ v_k σ²_k + ε) + β_c over k = instance, layer, batch.

    μ_k and the biased σ²_k are those of a channel of an image, of an image (`layer_chw`), and of a
    channel over the batch. w and v are softmax functions of three learned numbers each, which
    start at 1, so each k begins with a third (Luo, Ren, Peng, Zhang & Li, 2019,
    https://arxiv.org/abs/1806.10779). Evaluation takes the batch's μ and σ² from running
    statistics. Deviation: these are BatchNorm's, with an unbiased variance; the authors' code
    stores the biased one.

    Takes and returns NCHW; the output has the memory layout of the input.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, spec: "NormSpec") -> None:
        super().__init__(spec)
        self.momentum = spec.momentum
        self.mean_shares = nn.Parameter(torch.ones(3))  # before the softmax
        self.variance_shares = nn.Parameter(torch.ones(3))
        self.register_buffer("running_mean", torch.zeros(spec.channels))
        self.register_buffer("running_var", torch.ones(spec.channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the normalized maps; in training mode, move the running statistics."""
        instance = image_moments(x_NCHW)
        layer = merge_moments(*instance, axis=1)
        if self.training:
            batch = merge_moments(*instance, axis=0)
            self._track(*batch, num_values=x_NCHW.numel() // x_NCHW.shape[1])
        else:
            batch = self.running_mean[:, None, None], self.running_var[:, None, None]
        means, variances = zip(instance, layer, batch, strict=True)
        mean_NC11 = _mix(self.mean_shares, means)
        scale_NC11 = (_mix(self.variance_shares, variances) + self.eps).rsqrt()
        return self.scaled(x_NCHW - mean_NC11, scale_NC11)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, *, num_values: int) -> None:
        newest = unbiased(variance, num_values).flatten()
        self.running_mean.lerp_(mean.flatten().to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(newest.to(self.running_var.dtype), self.momentum)
        self.num_batches_tracked.add_(1)

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the parentheses."""
        return f"eps={self.eps}, momentum={self.momentum}"


def _mix(shares: Tensor, parts: tuple[Tensor, ...]) -> Tensor:
    first, second, third = shares.softmax(0)
    return first * parts[0] + second * parts[1] + third * parts[2]
