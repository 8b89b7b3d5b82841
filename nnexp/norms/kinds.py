"""The table of norms: what each one computes and learns, and how its layer is built."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from nnexp.norms.batch_renorm import BatchRenorm
from nnexp.norms.channels_last import GroupNorm, InstanceNorm
from nnexp.norms.dynamic_tanh import DynamicTanh
from nnexp.norms.evonorm_b0 import EvoNormB0
from nnexp.norms.evonorm_s0 import EvoNormS0
from nnexp.norms.filter_response import FilterResponseNorm
from nnexp.norms.ghost import GhostNorm
from nnexp.norms.groups import num_groups_for
from nnexp.norms.layers import ChannelLayerNorm, NoNorm
from nnexp.norms.reference import reference_ghost, reference_group, reference_layer
from nnexp.norms.rms import RootMeanSquareNorm
from nnexp.norms.scaled_ws import ActivationGain, ScaledStandardizedConv2d
from nnexp.norms.statistic import Statistic
from nnexp.norms.switchable import SwitchableNorm
from nnexp.norms.weight_standardization import StandardizedConv2d
from nnexp.settings import ConfigError, NormConfig, Table

REFERENCE_BATCH_SIZE = 128  # where norm.scale_momentum leaves the momentum as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class NormKind:
    """What one norm is; where layers get a bias, what is refused and what is shown follow from it.

    For example y = γ_c (x − μ) / √(σ² + ε) + β_c, with μ and the biased σ² over `statistic`.
    """

    build: Callable[["NormSpec"], nn.Module]  # the layer, NCHW to NCHW
    statistic: Statistic | None = None  # None: nothing is normalized
    gamma: bool = True  # a scale is learned, the layer's parameter `weight`, unless affine=False
    beta: bool = True  # a shift is learned, the layer's parameter `bias`, unless affine=False
    others: tuple[str, ...] = ()  # what else is learned, in words, whatever affine says
    own_activation: bool = False  # the layer applies it, exactly where `spec.activated` is true
    activates_input: bool = False  # that activation is of the input, whose scale it depends on
    convolution: type[nn.Conv2d] = nn.Conv2d  # the class of the convolution before the norm
    # The layer in float64, for norm.implementation=reference. None: it has no reference.
    reference: Callable[["NormSpec"], nn.Module] | None = None

    def __post_init__(self) -> None:
        # Initialization, weight decay and probes know a convolution by its class.
        if not (isinstance(self.convolution, type) and issubclass(self.convolution, nn.Conv2d)):
            raise ConfigError(
                f"convolution={self.convolution!r} is no class of convolutions",
                "it needs nn.Conv2d or a class derived from it",
            )

    @property
    def axes(self) -> str:
        """The statistic in words, such as "N,H,W per channel"."""
        if self.statistic is None:
            return "nothing"
        return f"{','.join(self.statistic.over)} per {self.statistic.per}"

    def learned(self, affine: bool) -> str:
        """Return what is learned, in words; empty for nothing."""
        pair = ["γ"] * self.gamma + ["β"] * self.beta if affine else []
        *names, last = ["", *pair, *self.others]
        return " and ".join(filter(None, [", ".join(filter(None, names)), last]))


@dataclass(frozen=True, slots=True, kw_only=True)
class NormSpec:
    """One normalization layer: all that is decided before any map has a size.

    The layer built from it carries it as `layer.spec`.
    """

    norm: str
    block: str
    channels: int
    config: NormConfig
    batch_size: int = REFERENCE_BATCH_SIZE  # images a step
    activated: bool = False  # the block has an activation right after the norm
    pooled: bool = False  # each channel's mean over the map is all that is read of the output

    @property
    def kind(self) -> NormKind:
        """The norm's entry in the table."""
        return NORMS[self.norm]

    @property
    def setting(self) -> str:
        """The setting that chose the norm: `norm`, or `norm.at.` and the block."""
        return f"norm.at.{self.block}" if self.block in self.config.at else "norm"

    @property
    def eps(self) -> float:
        """ε, added to a variance or mean square."""
        return self.config.eps

    @property
    def momentum(self) -> float:
        """Weight of the newest batch in running statistics.

        With `norm.scale_momentum`, as many images are forgotten a step as at batch size 128: a
        batch of N counts as N / 128 steps there. A shorter last batch or chunk weighs the same.
        """
        momentum, statistic = self.config.momentum, self.kind.statistic
        if not self.config.scale_momentum or statistic is None:
            return momentum
        num_images = statistic.images(self.config, self.batch_size)
        return 1 - (1 - momentum) ** (num_images / REFERENCE_BATCH_SIZE)

    @property
    def affine(self) -> bool:
        """Whether the layer learns its γ and β."""
        return self.config.affine

    @property
    def groups(self) -> int:
        """How many groups the channels are split into; 1 for a norm without groups."""
        statistic = self.kind.statistic
        if statistic is None or statistic.groups is None:
            return 1
        return statistic.groups(self.channels, self.config, self.block)

    @property
    def adds_bias(self) -> bool:
        """Whether the layer adds a learned β to every channel."""
        return self.kind.beta and self.affine

    @property
    def removes_channel_mean(self) -> bool:
        """Whether a constant added to a channel before the layer is lost in it."""
        statistic = self.kind.statistic
        if statistic is None or not statistic.centred:
            return False
        return "C" not in statistic.over or self.groups == self.channels

    @property
    def removes_channel_scale(self) -> bool:
        """Whether a factor that a channel is multiplied by before the layer is lost in it."""
        statistic = self.kind.statistic
        if statistic is None or statistic.mixed or (self.kind.activates_input and self.activated):
            return False
        return "C" not in statistic.over or self.groups == self.channels

    def removes_image_means(self, batch_size: int) -> bool:
        """Whether each channel's mean over the map becomes β, whatever the image."""
        statistic = self.kind.statistic
        if statistic is None or not self.removes_channel_mean:
            return False
        return "N" not in statistic.over or statistic.images(self.config, batch_size) == 1

    def values_per_statistic(self, batch_size: int, height: int, width: int) -> int:
        """Return how many values each mean and variance is taken over; 0 where there is none."""
        statistic = self.kind.statistic
        if statistic is None:
            return 0
        sizes = {
            "N": statistic.images(self.config, batch_size),
            "C": self.channels // self.groups,
            "H": height,
            "W": width,
        }
        return math.prod(sizes[axis] for axis in statistic.over)


def _batch(spec: NormSpec) -> nn.Module:
    return nn.BatchNorm2d(spec.channels, eps=spec.eps, momentum=spec.momentum, affine=spec.affine)


def _layer(spec: NormSpec) -> nn.Module:
    return ChannelLayerNorm(spec.channels, eps=spec.eps, affine=spec.affine)


def _instance(spec: NormSpec) -> nn.Module:
    # PyTorch's default has no γ and β, which would make this arm smaller than the others.
    return InstanceNorm(spec.channels, eps=spec.eps, affine=spec.affine)


def _group(spec: NormSpec) -> nn.Module:
    return GroupNorm(spec.groups, spec.channels, eps=spec.eps, affine=spec.affine)


def _none(spec: NormSpec) -> nn.Module:
    return NoNorm()


def _ghost_size(config: NormConfig) -> int:
    return config.batch_size


NORMS: Table[NormKind] = Table(
    "norm",
    {
        "batch": NormKind(
            build=_batch,
            statistic=Statistic(over="NHW", per="channel", stored=True),
            reference=reference_layer,
        ),
        "layer": NormKind(
            build=_layer, statistic=Statistic(over="C", per="position"), reference=reference_layer
        ),
        "layer_chw": NormKind(
            build=_group, statistic=Statistic(over="CHW", per="image"), reference=reference_layer
        ),
        "instance": NormKind(
            build=_instance,
            statistic=Statistic(over="HW", per="channel and image"),
            reference=reference_layer,
        ),
        "group": NormKind(
            build=_group,
            statistic=Statistic(over="CHW", per="group and image", groups=num_groups_for),
            reference=reference_layer,
        ),
        "ghost": NormKind(
            build=GhostNorm,
            statistic=Statistic(
                over="NHW", per="channel and chunk", stored=True, chunk=_ghost_size
            ),
            reference=reference_ghost,
        ),
        "group_ws": NormKind(
            build=_group,
            statistic=Statistic(over="CHW", per="group and image", groups=num_groups_for),
            convolution=StandardizedConv2d,
            reference=reference_group,
        ),
        "rms": NormKind(
            build=RootMeanSquareNorm,
            statistic=Statistic(over="C", per="position", centred=False),
            beta=False,
        ),
        "evonorm_s0": NormKind(
            build=EvoNormS0,
            statistic=Statistic(
                over="CHW",
                per="group and image",
                centred=False,
                variance=True,
                groups=num_groups_for,
            ),
            others=("v of its activation",),
            own_activation=True,
            activates_input=True,
        ),
        "frn": NormKind(
            build=FilterResponseNorm,
            statistic=Statistic(over="HW", per="channel and image", centred=False),
            others=("τ of its activation",),
            own_activation=True,
        ),
        "batch_renorm": NormKind(
            build=BatchRenorm, statistic=Statistic(over="NHW", per="channel", stored=True)
        ),
        "dynamic_tanh": NormKind(build=DynamicTanh, others=("α",)),
        "switchable": NormKind(
            build=SwitchableNorm,
            statistic=Statistic(
                over="NHW",
                per="channel, mixed with instance and layer_chw",
                centred=False,  # of what it mixes, no mean is subtracted whole
                variance=True,
                mixed=True,
                stored=True,
            ),
            others=("the mix",),
        ),
        "evonorm_b0": NormKind(
            build=EvoNormB0,
            statistic=Statistic(
                over="NHW", per="channel", centred=False, variance=True, stored=True
            ),
            others=("v of its activation",),
            own_activation=True,
        ),
        "scaled_ws": NormKind(
            build=ActivationGain,
            gamma=False,
            beta=False,
            others=("the gain of each filter",),
            convolution=ScaledStandardizedConv2d,
        ),
        "none": NormKind(build=_none, gamma=False, beta=False, reference=_none),
    },
    NormKind,
)
