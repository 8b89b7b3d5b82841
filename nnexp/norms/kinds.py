"""The table of norms: what each one is over, and how its layer is built."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from nnexp.config import NormConfig
from nnexp.norms.groups import num_groups_for
from nnexp.norms.layers import ChannelLayerNorm, NoNorm


def one_group(channels: int, config: NormConfig, block: str) -> int:
    """Return 1: the channels are not cut into groups."""
    return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NormSpec:
    """One normalization layer: all that is decided before any map has a size.

    The layer built from it carries it as `layer.spec`.
    """

    norm: str
    block: str
    channels: int
    groups: int  # 1 for every norm but group
    config: NormConfig
    pooled: bool = False  # each channel's mean over the map is all that is read of the output

    @property
    def kind(self) -> "NormKind":
        """The norm's entry in the table."""
        return NORMS[self.norm]

    @property
    def adds_bias(self) -> bool:
        """Whether the layer adds a learned β to every channel."""
        return bool(self.kind.over) and self.config.affine

    @property
    def removes_channel_mean(self) -> bool:
        """Whether a constant added to a channel before the layer is lost in it."""
        return bool(self.kind.over) and ("C" not in self.kind.over or self.groups == self.channels)

    def removes_image_means(self, batch_size: int) -> bool:
        """Whether each channel's mean over the map becomes β, whatever the image."""
        of_one_image = batch_size == 1 or "N" not in self.kind.over
        return self.removes_channel_mean and of_one_image

    def values_per_statistic(self, batch_size: int, height: int, width: int) -> int:
        """Return how many values each mean and variance is taken over; 0 where there is none."""
        sizes = {"N": batch_size, "C": self.channels // self.groups, "H": height, "W": width}
        return math.prod(sizes[axis] for axis in self.kind.over) if self.kind.over else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NormKind:
    """One norm: y = γ_c (x − μ) / √(σ² + ε) + β_c, with μ and the biased σ² over `over`."""

    build: Callable[[NormSpec], nn.Module]
    over: str  # the axes of NCHW that a statistic is taken over; empty: nothing is normalized
    per: str  # what has a statistic of its own
    groups: Callable[[int, NormConfig, str], int] = one_group  # of channels, config, block

    @property
    def axes(self) -> str:
        """The statistic in words, such as "N,H,W per channel"."""
        return f"{','.join(self.over)} per {self.per}" if self.over else "nothing"


def _batch(spec: NormSpec) -> nn.Module:
    config = spec.config
    return nn.BatchNorm2d(
        spec.channels, eps=config.eps, momentum=config.momentum, affine=config.affine
    )


def _layer(spec: NormSpec) -> nn.Module:
    return ChannelLayerNorm(spec.channels, eps=spec.config.eps, affine=spec.config.affine)


def _instance(spec: NormSpec) -> nn.Module:
    # PyTorch's default has no γ and β, which would make this arm smaller than the others.
    return nn.InstanceNorm2d(spec.channels, eps=spec.config.eps, affine=spec.config.affine)


def _group(spec: NormSpec) -> nn.Module:
    return nn.GroupNorm(spec.groups, spec.channels, eps=spec.config.eps, affine=spec.config.affine)


def _none(spec: NormSpec) -> nn.Module:
    return NoNorm()


NORMS: dict[str, NormKind] = {
    "batch": NormKind(build=_batch, over="NHW", per="channel"),
    "layer": NormKind(build=_layer, over="C", per="position"),
    "layer_chw": NormKind(build=_group, over="CHW", per="image"),
    "instance": NormKind(build=_instance, over="HW", per="channel and image"),
    "group": NormKind(build=_group, over="CHW", per="group and image", groups=num_groups_for),
    "none": NormKind(build=_none, over="", per=""),
}
