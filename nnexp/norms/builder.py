"""Makes the layers of a model's blocks, with the norm that the settings chose for each."""

from collections import OrderedDict
from collections.abc import Callable, Iterable

from torch import nn

from nnexp.norms.kinds import NORMS, REFERENCE_BATCH_SIZE, NormKind, NormSpec
from nnexp.settings import ConfigError, NormConfig, nearest
from nnexp.settings.values import quoted

Activation = Callable[[], nn.Module]


def relu() -> nn.Module:
    """Return a ReLU that overwrites its input, so that the norm's output is not kept as well."""
    return nn.ReLU(inplace=True)


class Norms:
    """What the settings say about norms, as layers for the blocks of a model."""

    def __init__(self, config: NormConfig, batch_size: int = REFERENCE_BATCH_SIZE) -> None:
        self.config = config
        self.batch_size = batch_size

    def for_block(self, block: str) -> "BlockLayers":
        """Return the layers of one block; its name is what `norm.at.<block>` is typed with."""
        assert "." not in block, f"{block}: a dot would split norm.at.{block}"
        norm = self.config.at.get(block, self.config.name)
        return BlockLayers(block, norm, self.config, self.batch_size)

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


def make_norms(config: NormConfig, batch_size: int = REFERENCE_BATCH_SIZE) -> Norms:
    """Return the builder of every norm layer; that its names exist, `NormConfig` has checked.

    The images a step, `batch_size`, count only with `norm.scale_momentum`.
    """
    return Norms(config, batch_size)


class BlockLayers:
    """The layers of one block, with the norm that the settings chose for it.

    Whatever a norm replaces beside itself, such as the activation or the convolution before
    it, is decided here: a model names the textbook sequence and takes what it gets.
    """

    def __init__(self, block: str, norm: str, config: NormConfig, batch_size: int) -> None:
        self._block = block
        self._norm = norm
        self._config = config
        self._batch_size = batch_size

    @property
    def kind(self) -> NormKind:
        """What the block's norm is."""
        return NORMS[self._norm]

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
        """Return `conv`, `norm` and `act`; NCHW to NCHW, an odd kernel keeps H×W / stride.

        A norm that brings its own activation leaves out `act`.
        """
        conv = self.kind.convolution(
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
        """Return `linear`, `norm` and `act`; rows of features to N×F×1×1, flattened again.

        Raises:
            ConfigError: The norm brings a convolution, which has no place here.
        """
        if self.kind.convolution is not nn.Conv2d:
            setting = self._spec(out_features).setting
            raise ConfigError(
                f"{setting}={self._norm} cannot work at {self._block}, a linear layer",
                "it brings a convolution of its own: use another norm or another model",
            )
        return _named(
            linear=nn.Linear(in_features, out_features, bias=self.bias(out_features)),
            maps=nn.Unflatten(1, (out_features, 1, 1)),
            **self._norm_and_act(out_features, activation),
            features=nn.Flatten(),
        )

    def norm(self, channels: int, *, activated: bool = False, pooled: bool = False) -> nn.Module:
        """Return the norm layer alone, NCHW to NCHW.

        Args:
            channels: C.
            activated: The layer stands for norm and activation; a norm that brings its own
                activation then applies it, after any other norm the caller has to.
            pooled: Global average pooling comes right after the layer. `find_sites` refuses a
                norm there that leaves every image the same channel means.
        """
        spec = self._spec(channels, activated=activated, pooled=pooled)
        reference = self._config.implementation == "reference"
        build = self.kind.reference if reference else self.kind.build
        if build is None:
            having = ", ".join(name for name, kind in NORMS.items() if kind.reference)
            raise ConfigError(
                f"norm.implementation=reference has no formula for norm={self._norm}",
                f"leave it out, or use one of {having}",
            )
        layer = build(spec)
        _check_declaration(spec, layer)
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
        layers = {"norm": self.norm(channels, activated=activation is not None)}
        if activation is not None and not self.kind.own_activation:
            layers["act"] = activation()
        return layers

    def _spec(self, channels: int, **place: bool) -> NormSpec:
        return NormSpec(
            norm=self._norm,
            block=self._block,
            channels=channels,
            config=self._config,
            batch_size=self._batch_size,
            **place,
        )


def _check_declaration(spec: NormSpec, layer: nn.Module) -> None:
    """Check that the layer learns and stores what its entry in the table says.

    Raises:
        ConfigError: It does not; names the field of `NormKind` or `Statistic`.
    """
    if not isinstance(layer, nn.Module):
        raise ConfigError(
            f"build of NORMS[{spec.norm!r}] returns {quoted(layer)}", "it must return an nn.Module"
        )
    kind, weighted = spec.kind, (nn.Conv2d, nn.Linear)  # their weights are no γ
    modules = [module for module in layer.modules() if not isinstance(module, weighted)]
    learned = {name for one in modules for name, _ in one.named_parameters(recurse=False)}
    buffers = {name for name, _ in layer.named_buffers(recurse=False)}
    stored = kind.statistic is not None and kind.statistic.stored
    # Where no mean is subtracted, none has to be stored.
    optional = kind.statistic is not None and not kind.statistic.centred
    mean = stored and (not optional or "running_mean" in buffers)
    for field, declared, expected, name, found in (
        ("gamma", kind.gamma, kind.gamma and spec.affine, "weight", learned),
        ("beta", kind.beta, kind.beta and spec.affine, "bias", learned),
        ("stored", stored, mean, "running_mean", buffers),
        ("stored", stored, stored, "running_var", buffers),
    ):
        if expected != (name in found):
            without = "" if spec.affine else " and norm.affine=false is set"
            raise ConfigError(
                f"NORMS[{spec.norm!r}] says {field}={declared}{without}, "
                f"but its layer has {'no' if expected else 'a'} {name}",
                f"correct {field} in the entry, or what its build function returns",
            )


def _named(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))
