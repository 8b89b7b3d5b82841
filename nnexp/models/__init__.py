"""The architectures, and the table that names them."""

from collections.abc import Callable

import torch
from torch import nn

from nnexp.models.alexnet import alexnet
from nnexp.models.baseline import baseline
from nnexp.models.branches import add_scalars
from nnexp.models.cifar_resnets import resnet14, resnet20, resnet56
from nnexp.models.convnext_tiny import convnext_tiny
from nnexp.models.efficientnet_lite0 import efficientnet_lite0
from nnexp.models.parts import StochasticDepth
from nnexp.models.resnet18 import resnet18
from nnexp.models.simple_cnn import simple_cnn
from nnexp.models.simple_mlp import simple_mlp
from nnexp.models.vgg16 import vgg16
from nnexp.norms import Norms, norm_layers, spec_of
from nnexp.settings import ConfigError, ModelConfig, Table
from nnexp.settings.plugins import explaining_plugins
from nnexp.settings.values import quoted

MODELS: Table[Callable[[ModelConfig, int, Norms], nn.Module]] = Table(
    "model",
    {
        "simple_cnn": simple_cnn,
        "simple_mlp": simple_mlp,
        "baseline": baseline,
        "alexnet": alexnet,
        "vgg16": vgg16,
        "resnet14": resnet14,
        "resnet18": resnet18,
        "resnet20": resnet20,
        "resnet56": resnet56,
        "efficientnet_lite0": efficientnet_lite0,
        "convnext_tiny": convnext_tiny,
    },
)


def build_model(config: ModelConfig, num_classes: int, norms: Norms, init: str = "he") -> nn.Module:
    """Return the architecture that `config.name` names: NCHW images, 3×32×32, to logits.

    `models.init.initialize` decides the weights of its layers by seed; `init` only adds the scalars
    that such a start needs (`models.branches`). What else it draws, such as
    the position embeddings of another library's model, is the same in every run.

    Raises:
        ConfigError: `norm.at` names a block that the model does not have, or a setting has
            nothing in this model to act on; `init` cannot start it; or a plug-in's code fails.
    """
    with explaining_plugins(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS[config.name](config, num_classes, norms)
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"MODELS[{config.name!r}] returns {quoted(model)}", "it must return an nn.Module"
        )
    add_scalars(model, init, config, norms.config)
    norms.check_blocks(spec_of(layer).block for _, layer in norm_layers(model))
    _check_stochastic_depth(model, config)
    return model


def _check_stochastic_depth(model: nn.Module, config: ModelConfig) -> None:
    # By name: torchvision and timm have such a layer of their own.
    names = {type(module).__name__ for module in model.modules()}
    droppable = names & {StochasticDepth.__name__, "DropPath"}
    if config.stochastic_depth and not droppable:
        raise ConfigError(
            f"model.stochastic_depth={config.stochastic_depth} does nothing to {config.name}",
            "it drops residual branches, and this model has none: leave it out",
        )
