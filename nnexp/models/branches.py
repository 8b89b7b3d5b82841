"""Learned scalars in residual networks: what `init=skipinit` and `init=fixup` add to a model."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from nnexp.models.convnext_tiny import ConvNeXtBlock
from nnexp.models.efficientnet_lite0 import MBConv
from nnexp.models.residual import BasicBlock
from nnexp.norms import norm_layers, spec_of
from nnexp.settings import ConfigError, ModelConfig, NormConfig


class Multiplier(nn.Module):
    """Multiply by one learned number; any shape."""

    def __init__(self, start: float, *, slow: bool = False) -> None:
        super().__init__()
        self.scalar = nn.Parameter(torch.tensor(start))
        self.slow = slow  # learns at a tenth of the rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the product."""
        return x * self.scalar


class Shift(nn.Module):
    """Add one learned number, which starts at 0; any shape."""

    def __init__(self, *, slow: bool = False) -> None:
        super().__init__()
        self.scalar = nn.Parameter(torch.zeros(()))
        self.slow = slow  # learns at a tenth of the rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        return x + self.scalar


def add_scalars(model: nn.Module, init: str, config: ModelConfig, norms: NormConfig) -> None:
    """Give a model the scalars that go with an initialization; "he" and "torch" have none.

    "skipinit" (De & Smith, 2020, https://arxiv.org/abs/2002.10444) multiplies each residual branch
    by a learned scalar that starts at 0, in ConvNeXt in the place of its layer scale.

    "fixup" (Zhang, Dauphin & Ma, 2019, https://arxiv.org/abs/1901.09321) adds a scalar bias before
    each convolution, linear layer and activation, and a scalar multiplier, which starts at 1, at
    the end of each branch; the scalars learn at a tenth of the rate. They take the place of the
    convolutions' biases, unless `norm.conv_bias=always`.

    Raises:
        ConfigError: The model has no residual branches, or none that Fixup has a rule for; or it
            has a norm, which Fixup does without.
    """
    if init == "skipinit":
        _add_skipinit(model, config.name)
    elif init == "fixup":
        _check_fixup(model, config.name)
        _add_fixup(model, keep_biases=norms.conv_bias == "always")


def basic_blocks(model: nn.Module) -> list[BasicBlock]:
    """Return the residual blocks of two convolutions, in the order of the model."""
    return [module for module in model.modules() if isinstance(module, BasicBlock)]


def _add_skipinit(model: nn.Module, name: str) -> None:
    blocks = 0
    for module in model.modules():
        if isinstance(module, ConvNeXtBlock):
            module.layer_scale = nn.Parameter(torch.zeros(()))
        elif isinstance(module, BasicBlock) or (isinstance(module, MBConv) and module.has_shortcut):
            module.scale = Multiplier(0.0)
        else:
            continue
        blocks += 1
    if not blocks:
        raise ConfigError(
            f"init=skipinit has nothing to scale in {name}",
            "it needs residual branches, as model=resnet20 has: use init=he",
        )


def _check_fixup(model: nn.Module, name: str) -> None:
    modules = list(model.modules())
    reason = ""
    if any(isinstance(module, ConvNeXtBlock) for module in modules):
        reason = "its layer scale already starts each branch near 0"
    elif any(isinstance(module, MBConv) for module in modules):
        reason = "some of its blocks have no shortcut, and Fixup has no rule for those"
    elif not basic_blocks(model):
        reason = "it has no residual branches of two convolutions"
    if reason:
        raise ConfigError(f"init=fixup cannot work in {name}", f"{reason}: use init=he")
    for path, layer in norm_layers(model):
        if (norm := spec_of(layer).norm) != "none":
            raise ConfigError(
                f"init=fixup is for networks without a norm, and {path} is {norm}",
                "use norm=none, or init=skipinit, which takes any norm",
            )


def _add_fixup(model: nn.Module, *, keep_biases: bool) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            # What `conv_norm_act` returns: the stem, a branch's layers, a projection.
            if isinstance(child, nn.Sequential) and "conv" in dict(child.named_children()):
                setattr(module, name, _with_shifts(child))
        if isinstance(module, nn.Conv2d) and not keep_biases:
            module.register_parameter("bias", None)
    for block in basic_blocks(model):
        block.scale = nn.Sequential(
            OrderedDict(scale=Multiplier(1.0, slow=True), shift=Shift(slow=True))
        )
    classifier = model.get_submodule("classifier")
    shifted = OrderedDict(shift=Shift(slow=True), linear=classifier)
    model.set_submodule("classifier", nn.Sequential(shifted))


def _with_shifts(layers: nn.Sequential) -> nn.Sequential:
    """Return `conv`, `norm` and, where there is one, `act`, with a shift before conv and act."""
    shifted = OrderedDict[str, nn.Module]()
    for name, layer in layers.named_children():
        if name != "norm":
            shifted[f"{name}_shift"] = Shift(slow=True)
        shifted[name] = layer
    return nn.Sequential(shifted)
