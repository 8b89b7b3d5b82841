"""Batch renormalization: BatchNorm that is corrected towards its running statistics."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from nnexp.norms.kinds import NormSpec


class BatchRenorm(nn.BatchNorm2d):
    """y = γ_c ((x − μ_c) / σ_c · r_c + d_c) + β_c, with μ and σ = √(variance + ε) of the batch.

    r = clip(σ / s, 1 / r_max, r_max) and d = clip((μ − m) / s, −d_max, d_max), where m and
    s = √(running_var + ε) are the running statistics before this step; no gradient passes through
    r and d (Ioffe, 2017, https://arxiv.org/abs/1702.03275, algorithm 1). Where nothing is clipped,
    training computes what evaluation does, (x − m) / s.

    The limits move with the training batches that the layer has seen, t: with T =
    `norm.renorm_steps`, r_max is 1 and d_max 0 (which is BatchNorm) up to T, then both rise
    linearly, d_max until 5 T and r_max until 8 T. Deviations: the paper's T is 5000 at a momentum
    of 0.01; and running_var is an average of unbiased variances, as in every norm here, where the
    paper averages σ.

    Takes and returns NCHW; the output has the memory layout of the input.
    """

    def __init__(self, spec: "NormSpec") -> None:
        super().__init__(spec.channels, eps=spec.eps, momentum=spec.momentum, affine=spec.affine)
        self.r_max = spec.config.r_max
        self.d_max = spec.config.d_max
        self.steps = spec.config.renorm_steps

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized maps; in training mode, move the running statistics."""
        if not self.training:
            return super().forward(input)
        r_C, d_C = self._correction(input)
        weight_C, bias_C = r_C, d_C
        if self.affine:
            weight_C, bias_C = self.weight * r_C, self.weight * d_C + self.bias
        return F.batch_norm(input, None, None, weight_C, bias_C, training=True, eps=self.eps)

    @torch.no_grad()
    def _correction(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return r and d, each (C,), and move the running statistics."""
        running_mean, running_var = map(self.get_buffer, ("running_mean", "running_var"))
        batches = self.get_buffer("num_batches_tracked")
        mean, variance = torch.zeros_like(running_mean), torch.zeros_like(running_var)
        # With momentum 1, its kernel stores the batch's mean and unbiased variance.
        F.batch_norm(x_NCHW, mean, variance, training=True, momentum=1.0, eps=self.eps)
        num_values = x_NCHW.numel() // x_NCHW.shape[1]
        deviation = (variance * ((num_values - 1) / num_values) + self.eps).sqrt()
        running_deviation = (running_var + self.eps).sqrt()
        r_max, d_max = self._limits(batches.to(running_var.dtype))
        r = (deviation / running_deviation).clamp(1 / r_max, r_max)
        d = ((mean - running_mean) / running_deviation).clamp(-d_max, d_max)
        assert self.momentum is not None
        running_mean.lerp_(mean, self.momentum)
        running_var.lerp_(variance, self.momentum)
        batches.add_(1)
        return r, d

    def _limits(self, batches: Tensor) -> tuple[Tensor, Tensor]:
        """Return r_max and d_max at this step, on the device: no step waits for it."""
        passed = batches / self.steps - 1
        r_max = 1 + (self.r_max - 1) * (passed / 7).clamp(0, 1)
        return r_max, self.d_max * (passed / 4).clamp(0, 1)

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the parentheses."""
        limits = f"r_max={self.r_max}, d_max={self.d_max}, steps={self.steps}"
        return f"{super().extra_repr()}, {limits}"
