"""Group, instance and layer norm where PyTorch's ways are slow: in NHWC order, and in bfloat16.

On a CPU, PyTorch copies the maps of instance norm to NCHW and back, and its kernel of group norm
runs over the few channels of one group. Here each image is H·W rows of C values: sums over its
rows are fast, and what channels of one group share is averaged after that.

Maps in bfloat16 are computed in float32 and rounded once: by PyTorch's kernels, which read
bfloat16 and hold sums, γ and β in float32, without autocast, which would copy the maps.

Outputs are no views of others: a ReLU that overwrites a view costs copies in the backward pass.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FEW_CHANNELS = 8  # a group with fewer is slow in PyTorch's kernel
FEW_CHANNELS_BF16 = 16  # of bfloat16, which that kernel reads by vectors of 16
MANY_VALUES = 100_000  # below it, PyTorch's kernel takes less time than the operations here
# Standard deviations that a group's mean may be from 0. PyTorch's kernel for NHWC takes the mean
# of squares less the squared mean: in float32 y is off by 1e-4 at 10 of them, and by all at 1000.
LARGE_MEAN = 4


class GroupNorm(nn.GroupNorm):
    """PyTorch's GroupNorm, with a faster way for maps in NHWC order that have small groups.

    y = γ_c (x − μ) / √(σ² + ε) + β_c, with μ and the biased σ² over a group's channels and all
    positions of one image (Wu & He, 2018, https://arxiv.org/abs/1803.08494). NCHW to NCHW.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized maps."""
        if input.device.type == "cpu" and is_nhwc(input):
            return self._of_nhwc(input)
        if input.device.type == "cpu" and input.dtype == torch.bfloat16:
            with without_autocast():
                return super().forward(input)
        return super().forward(input)

    def _of_nhwc(self, x_NCHW: Tensor) -> Tensor:
        channels = self.num_channels // self.num_groups
        learned = self.weight, self.bias
        if channels < FEW_CHANNELS and x_NCHW.numel() >= MANY_VALUES:
            return _normalize(x_NCHW, *learned, self.num_groups, self.eps)
        x = widened(x_NCHW) if channels < FEW_CHANNELS_BF16 else x_NCHW
        sizes = len(x), self.num_channels, x.shape[2:].numel(), self.num_groups
        y_NCHW, mean, inverse_std = torch.native_group_norm(x, *learned, *sizes, self.eps)
        if (mean * inverse_std).abs().max().item() > LARGE_MEAN:
            return _normalize(x_NCHW, *learned, self.num_groups, self.eps)
        return y_NCHW.to(x_NCHW.dtype)


class InstanceNorm(nn.InstanceNorm2d):
    """PyTorch's InstanceNorm2d without running statistics, faster for maps in NHWC order.

    y = γ_c (x − μ) / √(σ² + ε) + β_c, with μ and the biased σ² over all positions of one channel
    of one image (Ulyanov et al., 2016, https://arxiv.org/abs/1607.08022). NCHW to NCHW.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized maps."""
        if input.device.type == "cpu" and is_nhwc(input):
            return _normalize(input, self.weight, self.bias, self.num_features, self.eps)
        if input.device.type == "cpu" and input.dtype == torch.bfloat16:
            with without_autocast():  # its kernel is the faster one for many small maps
                return F.group_norm(input, self.num_features, self.weight, self.bias, self.eps)
        return super().forward(input)


def without_autocast() -> torch.autocast:
    """Return the context in which layers take a CPU's maps in bfloat16 as they are."""
    return torch.autocast("cpu", enabled=False)


def is_nhwc(x_NCHW: Tensor) -> bool:
    """Return whether maps lie in NHWC order, and not in NCHW order as well."""
    return not x_NCHW.is_contiguous() and x_NCHW.is_contiguous(memory_format=torch.channels_last)


def widened(x: Tensor) -> Tensor:
    """Return bfloat16 as float32, and what is wider as it is."""
    return x.float() if x.dtype == torch.bfloat16 else x


def channel_layer_norm(
    x_NCHW: Tensor, gamma_C: Tensor | None, beta_C: Tensor | None, eps: float
) -> Tensor:
    """Return maps in NHWC order with the channels at each position normalized, in that order."""
    y_NCHW: Any = _LayerNorm.apply(x_NCHW, gamma_C, beta_C, eps)
    return y_NCHW


class _LayerNorm(torch.autograd.Function):
    """PyTorch's kernel of layer norm over the channels of NHWC.

    Of maps in bfloat16 its backward pass would add up the gradients of γ and β in bfloat16: errors
    of up to 8 % in maps of 4×4 to 32×32. So that pass is in float32.
    """

    @staticmethod
    def forward(ctx: Any, x_NCHW: Tensor, gamma_C: Any, beta_C: Any, eps: float) -> Tensor:
        x_NHWC = x_NCHW.permute(0, 2, 3, 1)
        shape = list(x_NHWC.shape[3:])
        y_NHWC, mean, inverse_std = torch.native_layer_norm(x_NHWC, shape, gamma_C, beta_C, eps)
        ctx.save_for_backward(x_NHWC, mean, inverse_std, gamma_C, beta_C)
        return _in_place_of(x_NCHW, y_NHWC)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x_NHWC, mean, inverse_std, gamma_C, beta_C = ctx.saved_tensors
        d_x_NHWC, d_gamma_C, d_beta_C = torch.ops.aten.native_layer_norm_backward(
            widened(d_outputs[0].permute(0, 2, 3, 1).contiguous()),
            *(widened(x_NHWC), list(x_NHWC.shape[3:]), mean, inverse_std, gamma_C, beta_C),
            [True, gamma_C is not None, beta_C is not None],
        )
        return d_x_NHWC.to(x_NHWC.dtype).permute(0, 3, 1, 2), d_gamma_C, d_beta_C, None


class _Normalize(torch.autograd.Function):
    """x̂ = (x − μ) / √(σ² + ε) over groups of channels of an image, and its backward pass.

    In float32 whatever the input is in; see `reference.py` for the formulas.
    """

    @staticmethod
    def forward(ctx: Any, x_NCHW: Tensor, gamma_C: Tensor, beta_C: Tensor, *how: Any) -> Tensor:
        groups, eps = how
        x_NPC = _rows(x_NCHW)
        centred = x_NPC - _mean_of_groups(x_NPC.sum(1, dtype=torch.float32), groups, x_NPC)
        squares = centred.square().sum(1)
        inverse_std = (_mean_of_groups(squares, groups, x_NPC) + eps).rsqrt_()
        ctx.save_for_backward(centred, inverse_std, gamma_C)
        ctx.groups = groups
        y_NPC = torch.addcmul(beta_C, centred, inverse_std * gamma_C).to(x_NCHW.dtype)
        return _in_place_of(x_NCHW, y_NPC)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        centred, inverse_std, gamma_C = ctx.saved_tensors
        d_y = _rows(d_outputs[0]).float()
        d_beta_NC, along_NC = d_y.sum(1), (d_y * centred).sum(1)
        d_gamma_C = (along_NC * inverse_std[:, 0]).sum(0)
        through_mean = _mean_of_groups(d_beta_NC * gamma_C, ctx.groups, centred)
        through_variance = _mean_of_groups(along_NC * gamma_C, ctx.groups, centred)
        d_x = torch.addcmul(-inverse_std * through_mean, d_y, inverse_std * gamma_C)
        d_x.addcmul_(centred, -(inverse_std**3) * through_variance)
        d_x_NHWC = d_x.to(d_outputs[0].dtype).unflatten(1, d_outputs[0].shape[2:])
        return d_x_NHWC.permute(0, 3, 1, 2), d_gamma_C, d_beta_NC.sum(0), None, None


def _normalize(
    x_NCHW: Tensor, gamma_C: Tensor | None, beta_C: Tensor | None, groups: int, eps: float
) -> Tensor:
    if gamma_C is None or beta_C is None:
        gamma_C, beta_C = torch.ones(x_NCHW.shape[1]), torch.zeros(x_NCHW.shape[1])
    y_NCHW: Any = _Normalize.apply(x_NCHW, gamma_C, beta_C, groups, eps)
    return y_NCHW


def _rows(x_NCHW: Tensor) -> Tensor:
    """Return maps as a row of C values for each position, N×P×C; a view where they are NHWC."""
    return x_NCHW.permute(0, 2, 3, 1).flatten(1, 2)


def _in_place_of(x_NCHW: Tensor, y_NHWC: Tensor) -> Tensor:
    """Return the same memory as maps with the shape and order of `x_NCHW`, as no view of it."""
    y_NCHW = y_NHWC.new_empty(0)
    return y_NCHW.set_(y_NHWC.untyped_storage(), 0, x_NCHW.shape, x_NCHW.stride())


def _mean_of_groups(sums_NC: Tensor, groups: int, x_NPC: Tensor) -> Tensor:
    """Return sums over positions as means over groups, N×1×C: each channel has its group's."""
    means_NG = sums_NC.unflatten(1, (groups, -1)).mean(2) / x_NPC.shape[1]
    return means_NG.repeat_interleave(sums_NC.shape[1] // groups, 1)[:, None]
