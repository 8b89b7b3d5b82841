"""Ghost batch norm: BatchNorm of chunks of a batch, each with statistics of its own."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nnexp.settings.sizes import batch_sizes

if TYPE_CHECKING:
    from nnexp.norms.kinds import NormSpec


class GhostNorm(nn.BatchNorm2d):
    """BatchNorm of each `norm.batch_size` images on their own, in their order in the batch.

    y = γ_c (x − μ_kc) / √(σ²_kc + ε) + β_c, with μ and the biased σ² of channel c over the images
    of chunk k and their positions (Hoffer, Hubara & Soudry, 2017,
    https://arxiv.org/abs/1705.08741, algorithm 1). Evaluation uses running statistics, which move
    once a chunk as if each were a batch: r ← (1 − m) r + m b, the variance unbiased. So all that
    differs from BatchNorm at that batch size is how often the weights are updated. Deviation: the
    paper leaves open what becomes of images that fill no chunk; see `batch_sizes`.

    Takes and returns NCHW; the output has the memory layout of the input.
    """

    def __init__(self, spec: "NormSpec") -> None:
        super().__init__(spec.channels, eps=spec.eps, momentum=spec.momentum, affine=spec.affine)
        self.batch_size = spec.config.batch_size

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized maps; in training mode, move the running statistics."""
        if not self.training or len(input) <= self.batch_size:
            return super().forward(input)
        chunks = input.split(batch_sizes(len(input), self.batch_size))
        return torch.cat([super(GhostNorm, self).forward(chunk) for chunk in chunks])

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the parentheses."""
        return f"{super().extra_repr()}, batch_size={self.batch_size}"
