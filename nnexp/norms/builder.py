"""Between settings and models: a model asks for the layers of a block, never for a norm."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace

from torch import nn

from nnexp.config import ConfigError, NormConfig
from nnexp.nearest import nearest
from nnexp.norms.kinds import NORMS, NormSpec

Activation = Callable[[], nn.Module]


def relu() -> nn.Module:
    """Return a ReLU that overwrites its input, so that the norm's output is not kept as well."""
    return nn.ReLU(inplace=True)


class Norms:
    """What the settings say about norms, as layers for the blocks of a model."""

    def __init__(self, config: NormConfig) -> None:
        self.config = config

    def for_block(self, block: str) -> "BlockLayers":
        """Return the layers of one block; its name is what `norm.at.<block>` is typed with."""
        assert "." not in block, f"{block}: a dot would split norm.at.{block}"
        return BlockLayers(block, self.config.at.get(block, self.config.name), self.config)

    def check_blocks(self, blocks: Iterable[str]) -> None:
        """Check that every block named in `norm.at` is among a model's blocks.

        Raises:
            ConfigError: One is not; lists those that are.
        """
        known = list(dict.fromkeys(blocks))
        for block, norm in self.config.at.items():
            if block not in known:
                listed = f"blocks: {', '.join(known)}"
                near = nearest(block, known)
                remedy = f"did you mean norm.at.{near}={norm} ({listed})" if near else listed
                raise ConfigError(f"no block {block!r}", remedy)


def make_norms(config: NormConfig) -> Norms:
    """Return the builder of every norm layer; that its names exist, `NormConfig` has checked."""
    return Norms(config)


class BlockLayers:
    """The layers of one block, with the norm that the settings chose for it.

    Whatever a norm replaces beside itself, such as the activation or the convolution before
    it, is decided here: a model names the textbook sequence and takes what it gets.
    """

    def __init__(self, block: str, norm: str, config: NormConfig) -> None:
        self._block = block
        self._norm = norm
        self._config = config

    def conv_norm_act(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: Activation | None = relu,
    ) -> nn.Sequential:
        """Return `conv`, `norm` and `act`; NCHW to NCHW, an odd kernel keeps H×W / stride."""
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=(kernel_size - 1) // 2,
            groups=groups,
            bias=self.bias(out_channels),
        )
        return _named(conv=conv, **self._norm_and_act(out_channels, activation))

    def linear_norm_act(
        self, in_features: int, out_features: int, *, activation: Activation | None = relu
    ) -> nn.Sequential:
        """Return `linear`, `norm` and `act`; rows of features to N×F×1×1, flattened again."""
        return _named(
            linear=nn.Linear(in_features, out_features, bias=self.bias(out_features)),
            maps=nn.Unflatten(1, (out_features, 1, 1)),
            **self._norm_and_act(out_features, activation),
            features=nn.Flatten(),
        )

    def norm_before_pool(self, channels: int) -> nn.Sequential:
        """Return `norm` for a place between the last convolution and the global average pooling.

        A norm that leaves every image the same channel means cannot stand there; `find_sites`
        refuses it.
        """
        return _named(norm=self._layer(replace(self._spec(channels), pooled=True)))

    def norm(self, channels: int) -> nn.Module:
        """Return the norm layer alone, NCHW to NCHW."""
        return self._layer(self._spec(channels))

    def _layer(self, spec: NormSpec) -> nn.Module:
        if self._config.implementation == "reference" and spec.kind.over:
            layer = _reference(spec)
        else:
            layer = spec.kind.build(spec)
        vars(layer)["spec"] = spec  # a plain attribute: no part of the state
        return layer

    def bias(self, channels: int) -> bool:
        """Return whether the convolution or linear layer before the norm has a bias.

        By default exactly when nothing after it supplies one: not before a norm that adds β,
        and not before one that takes the channel's mean away, where its gradient would be 0.
        """
        if self._config.conv_bias != "auto":
            return self._config.conv_bias == "always"
        spec = self._spec(channels)
        return not (spec.adds_bias or spec.removes_channel_mean)

    def _norm_and_act(self, channels: int, activation: Activation | None) -> dict[str, nn.Module]:
        layers = {"norm": self.norm(channels)}
        return layers if activation is None else layers | {"act": activation()}

    def _spec(self, channels: int) -> NormSpec:
        return NormSpec(
            norm=self._norm,
            block=self._block,
            channels=channels,
            groups=NORMS[self._norm].groups(channels, self._config, self._block),
            config=self._config,
        )


def _reference(spec: NormSpec) -> nn.Module:
    from nnexp.norms.reference import ReferenceNorm

    return ReferenceNorm(
        spec.norm,
        spec.channels,
        num_groups=spec.groups,
        eps=spec.config.eps,
        momentum=spec.config.momentum,
        affine=spec.config.affine,
    )


def _named(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))
