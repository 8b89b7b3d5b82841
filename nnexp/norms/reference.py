"""Every norm as a textbook writes it, forward and backward, in float64.

Read from top to bottom. A norm takes each value of a convolution's output x, subtracts the mean
of the set S that it belongs to, divides by that set's standard deviation, and lets each channel
learn its own scale γ and shift β:

    μ = mean of x over S        σ² = mean of (x − μ)² over S        (biased: divided by |S|)
    x̂ = (x − μ) / √(σ² + ε)     y = γ·x̂ + β

The norms differ in S alone, that is in the axes of NCHW over which a mean is taken: that is the
table `STATISTIC_AXES`. Each formula is a pair of functions on float64 tensors, forward and
backward; `d_y` is the gradient of the loss with respect to `y`.

The fast layers are checked against these functions, which do not replace them: they keep copies
in float64, and need a device that has it (the CPU, CUDA).
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nnexp.settings.sizes import batch_sizes

if TYPE_CHECKING:
    from nnexp.norms.kinds import NormSpec

STATISTIC_AXES: dict[str, tuple[int, ...]] = {
    "batch": (0, 2, 3),  # N, H, W: one mean a channel
    "layer": (1,),  # C: one mean a position, of one sample
    "layer_chw": (1, 2, 3),  # C, H, W: one mean a sample
    "instance": (2, 3),  # H, W: one mean a channel, of one sample
    "group": (2, 3, 4),  # D, H, W of x_NGDHW: one mean a group of D = C/G channels, of one sample
}


class Cache(NamedTuple):
    """What the forward pass keeps for the backward pass: x̂, 1/√(σ² + ε) and the axes of S."""

    x_hat: Tensor
    inverse_std: Tensor
    axes: tuple[int, ...]


def moments(x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance over `axes`, which stay as axes of length 1."""
    mean = x.mean(axes, keepdim=True)
    variance = (x - mean).square().mean(axes, keepdim=True)
    return mean, variance


def normalize(x: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Cache]:
    """Return x̂ = (x − μ) / √(σ² + ε), of the shape of x, and what its backward pass needs."""
    mean, variance = moments(x, axes)
    inverse_std = (variance + eps).rsqrt()
    x_hat = (x - mean) * inverse_std
    return x_hat, Cache(x_hat, inverse_std, axes)


def normalize_backward(d_x_hat: Tensor, cache: Cache) -> Tensor:
    """Return dx = (dx̂ − mean(dx̂) − x̂·mean(dx̂·x̂)) / √(σ² + ε), the means taken over S.

    x reaches the loss by three paths: directly, through μ and through σ². The path through μ
    takes away the mean of dx̂, the path through σ² its part along x̂: to first order, the loss
    does not change when all of S is shifted or (up to ε) scaled.
    """
    x_hat, inverse_std, axes = cache
    through_mean = d_x_hat.mean(axes, keepdim=True)
    through_variance = x_hat * (d_x_hat * x_hat).mean(axes, keepdim=True)
    return inverse_std * (d_x_hat - through_mean - through_variance)


def normalize_stored(
    x_NCHW: Tensor, mean_C: Tensor, variance_C: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Return x̂ from stored statistics, and the 1/√(σ² + ε) that its backward pass needs."""
    inverse_std = (per_channel(variance_C) + eps).rsqrt()
    return (x_NCHW - per_channel(mean_C)) * inverse_std, inverse_std


def normalize_stored_backward(d_x_hat: Tensor, inverse_std: Tensor) -> Tensor:
    """Return dx = dx̂ / √(σ² + ε): stored statistics are constants, so one path is left."""
    return d_x_hat * inverse_std


def scale_and_shift(x_hat_NCHW: Tensor, weight_C: Tensor, bias_C: Tensor) -> Tensor:
    """Return y = γ·x̂ + β with one γ (weight) and one β (bias) a channel."""
    return per_channel(weight_C) * x_hat_NCHW + per_channel(bias_C)


def scale_and_shift_backward(
    d_y: Tensor, x_hat_NCHW: Tensor, weight_C: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dx̂ = γ·dy, dγ = Σ dy·x̂ and dβ = Σ dy, the sums over N, H and W."""
    d_x_hat = per_channel(weight_C) * d_y
    d_weight = (d_y * x_hat_NCHW).sum((0, 2, 3))
    d_bias = d_y.sum((0, 2, 3))
    return d_x_hat, d_weight, d_bias


def unbiased(variance: Tensor, count: int) -> Tensor:
    """Return σ²·m/(m − 1), Bessel's estimate from a biased variance of m = `count` values.

    NaN for a single value, of which no variance can be estimated.
    """
    return variance * count / (count - 1)


def moving_average(old: Tensor, batch: Tensor, momentum: float) -> Tensor:
    """Return (1 − m)·old + m·batch: the momentum m is the weight of the newest batch."""
    return (1 - momentum) * old + momentum * batch


def per_channel(values_C: Tensor) -> Tensor:
    """Return a view of shape (1, C, 1, 1), which meets NCHW channel by channel."""
    return values_C.view(1, -1, 1, 1)


def split_groups(x_NCHW: Tensor, num_groups: int) -> Tensor:
    """Return x as (N, G, C/G, H, W): neighbouring channels share a group."""
    return x_NCHW.unflatten(1, (num_groups, -1))


class ReferenceNorm(nn.Module):
    """The norm `kind` by the formulas above, its gradients derived by hand, all in float64.

        y = γ·(x − μ)/√(σ² + ε) + β        (N, C, H, W) → (N, C, H, W), in the dtype of x

    Autograd sees two steps whose backward passes are the functions of this file; it derives
    nothing but casts and reshapes. Gradients of gradients are not offered. γ is `weight`, β is
    `bias`, both of shape (C,) and float32, from 1 and 0; None without `affine`. The state dict is
    that of the PyTorch layer of the same kind.

    - `batch`: S = N, H, W. Ioffe & Szegedy 2015, arXiv:1502.03167. Evaluation uses running
      statistics: new = (1 − momentum)·old + momentum·batch, the variance unbiased, from 0 and 1.
      Deviation: the paper estimates them after training; this is the moving average of PyTorch.
    - `layer`: S = C, at each position. Ba et al. 2016, arXiv:1607.06450, as used in ConvNeXt, Liu
      et al. 2022, arXiv:2201.03545. Deviation: ε is 1e-5, as in every norm here, not their 1e-6.
    - `layer_chw`: S = C, H, W. Ba et al. 2016, as read by Wu & He. Deviation: γ and β have C
      values, not C·H·W, so that every norm learns the same number of parameters.
    - `instance`: S = H, W. Ulyanov et al. 2016, arXiv:1607.08022. Deviation: the paper's formula
      has no γ and β.
    - `group`: S = C/G, H, W for each of `num_groups` = G groups. Wu & He 2018, arXiv:1803.08494.
      No deviation.

    Args:
        kind: A key of `STATISTIC_AXES`.
        num_channels: C.
        num_groups: G, which divides C; used by `group` alone.
        eps: ε.
        momentum: Weight of the newest batch in the running statistics; used by `batch` alone.
        affine: Whether γ and β are learned.

    Attributes:
        batch_size: Images of a batch that share a statistic in `batch`; None for all of them.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        kind: str,
        num_channels: int,
        *,
        num_groups: int = 1,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
    ) -> None:
        super().__init__()
        assert num_channels % num_groups == 0, f"{num_groups} does not divide {num_channels}"
        self.kind = kind
        self.axes = STATISTIC_AXES[kind]
        self.num_channels = num_channels
        self.num_groups = num_groups
        self.eps = eps
        self.momentum = momentum
        self.batch_size: int | None = None
        self.weight = nn.Parameter(torch.ones(num_channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_channels)) if affine else None
        if kind == "batch":
            self.register_buffer("running_mean", torch.zeros(num_channels))
            self.register_buffer("running_var", torch.ones(num_channels))
            self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return y; in training mode, `batch` also moves its running statistics."""
        x = x_NCHW.double()
        if self.training and self.batch_size:
            chunks = x.split(batch_sizes(len(x), self.batch_size))
            y = torch.cat([self._normalize(chunk) for chunk in chunks])
        else:
            y = self._normalize(x)
        if self.weight is not None and self.bias is not None:
            y = _ScaleAndShift.apply(y, self.weight.double(), self.bias.double())
        return y.to(x_NCHW.dtype)

    def _normalize(self, x: Tensor) -> Any:
        if self.kind == "batch" and self.training:
            self._track(x.detach())
        if self.kind == "batch" and not self.training:
            mean, variance = self.running_mean.double(), self.running_var.double()
            return _NormalizeStored.apply(x, mean, variance, self.eps)
        if self.kind == "group":
            x_NGDHW = split_groups(x, self.num_groups)
            return _Normalize.apply(x_NGDHW, self.axes, self.eps).flatten(1, 2)
        return _Normalize.apply(x, self.axes, self.eps)

    @torch.no_grad()
    def _track(self, x: Tensor) -> None:
        mean, variance = (value.flatten() for value in moments(x, self.axes))
        variance = unbiased(variance, count=x.numel() // self.num_channels)
        self.running_mean.copy_(moving_average(self.running_mean.double(), mean, self.momentum))
        self.running_var.copy_(moving_average(self.running_var.double(), variance, self.momentum))
        self.num_batches_tracked.add_(1)

    def extra_repr(self) -> str:
        """Return the settings that PyTorch prints beside the layer's name."""
        groups = f", num_groups={self.num_groups}" if self.kind == "group" else ""
        return (
            f"{self.kind}, {self.num_channels}{groups}, eps={self.eps}, "
            f"affine={self.weight is not None}"
        )


# What follows only hands the pairs above to autograd. `once_differentiable` hides the names of a
# backward pass's parameters from pyright:
# pyright: reportIncompatibleMethodOverride=false


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
        x_hat, cache = normalize(x, axes, eps)
        ctx.save_for_backward(cache.x_hat, cache.inverse_std)
        ctx.axes = axes
        return x_hat

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_x_hat: Tensor) -> tuple[Tensor, None, None]:
        x_hat, inverse_std = ctx.saved_tensors
        return normalize_backward(d_x_hat, Cache(x_hat, inverse_std, ctx.axes)), None, None


class _NormalizeStored(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
        x_hat, inverse_std = normalize_stored(x, mean, variance, eps)
        ctx.save_for_backward(inverse_std)
        return x_hat

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_x_hat: Tensor) -> tuple[Tensor, None, None, None]:
        return normalize_stored_backward(d_x_hat, *ctx.saved_tensors), None, None, None


class _ScaleAndShift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_hat: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x_hat, weight)
        return scale_and_shift(x_hat, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return scale_and_shift_backward(d_y, *ctx.saved_tensors)


def reference_layer(spec: "NormSpec", kind: str = "") -> ReferenceNorm:
    """Return the float64 layer of a spec, or that of another kind at its place."""
    return ReferenceNorm(
        kind or spec.norm,
        spec.channels,
        num_groups=spec.groups,
        eps=spec.eps,
        momentum=spec.momentum,
        affine=spec.affine,
    )


def reference_ghost(spec: "NormSpec") -> ReferenceNorm:
    """Return the float64 layer of batch norm over chunks."""
    layer = reference_layer(spec, "batch")
    vars(layer)["batch_size"] = spec.config.batch_size
    return layer


def reference_group(spec: "NormSpec") -> ReferenceNorm:
    """Return the float64 layer of group norm, whatever convolution is before it."""
    return reference_layer(spec, "group")
