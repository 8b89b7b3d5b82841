"""Parts that several architectures share: scaled widths, global pooling, stochastic depth."""

from torch import Tensor, nn


def scale_channels(channels: int, width: float) -> int:
    """Return the paper's channel count times `width`, then a multiple of 8 and at least 8."""
    if width == 1:
        return channels
    return max(8, round(channels * width / 8) * 8)


class GlobalAveragePool(nn.Module):
    """Average each channel over its map: NCHW to NC."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the channel means."""
        # AdaptiveAvgPool2d's backward is not deterministic on CUDA.
        return x_NCHW.mean(dim=(2, 3))


class StochasticDepth(nn.Module):
    """Drop the residual branch of single images while training.

    Each image's branch is 0 with probability p and divided by 1 − p otherwise, so that its
    expectation stays; Huang et al., 2016, https://arxiv.org/abs/1603.09382, who scale while
    evaluating instead.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.scale = 1 / (1 - p) if p < 1 else 0.0

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the branch, NCHW, with the dropped images at 0."""
        if not self.training or self.p == 0:
            return x_NCHW
        kept_N111 = x_NCHW.new_empty((x_NCHW.shape[0], 1, 1, 1)).bernoulli_(1 - self.p)
        return x_NCHW * kept_N111.mul_(self.scale)

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the parentheses."""
        return f"p={self.p}"


def stochastic_depths(p: float, num_blocks: int) -> list[float]:
    """Return each block's chance to be dropped, from 0 at the first, linearly, to `p`."""
    return [p * index / (num_blocks - 1) for index in range(num_blocks)]
