"""Layers that PyTorch lacks: the norm over channels for NCHW maps, and the one without effect."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnexp.norms.channels_last import channel_layer_norm, is_nhwc, widened


class ChannelLayerNorm(nn.Module):
    """Normalize the channels at each position of each image.

    y_nchw = γ_c (x_nchw − μ_nhw) / √(σ²_nhw + ε) + β_c, with μ and the biased σ² over the
    channels at one position: what ConvNeXt calls LayerNorm (Liu et al., 2022,
    https://arxiv.org/abs/2201.03545). Ba, Kiros & Hinton (2016,
    https://arxiv.org/abs/1607.06450) leave open what a layer of a convolutional network is;
    the other reading, over channels and positions together, is `layer_chw`.

    Takes and returns NCHW; the output has the memory layout of the input.
    """

    def __init__(self, num_channels: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.num_channels = num_channels
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_channels)) if affine else None

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the normalized maps."""
        if is_nhwc(x_NCHW):
            return channel_layer_norm(x_NCHW, self.weight, self.bias, self.eps)
        # Two copies and the fused kernel take half the time of the formula in tensor operations.
        x_NHWC = widened(x_NCHW).permute(0, 2, 3, 1)
        y_NHWC = F.layer_norm(x_NHWC, (self.num_channels,), self.weight, self.bias, self.eps)
        # Left as it is, the NHWC result would send every later convolution another way.
        return y_NHWC.permute(0, 3, 1, 2).to(x_NCHW.dtype).contiguous()

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the parentheses."""
        return f"{self.num_channels}, eps={self.eps}, affine={self.weight is not None}"


class NoNorm(nn.Identity):
    """Return the input: the arm without normalization, a class of its own so that it is found."""
