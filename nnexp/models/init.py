"""Initial weights: a function of scheme and seed, the same for every norm."""

import math
from collections.abc import Callable

import torch
from torch import nn

CLASSIFIER_STD = 0.01


def initialize(model: nn.Module, scheme: str, seed: int) -> None:
    """Draw the weights of every convolution and linear layer, in the order of the model.

    Only these layers draw, and biases never shift what weights draw, so one seed gives the
    same weights whatever the norm: norms are compared in pairs. Norm layers keep the γ = 1 and
    β = 0, and ConvNeXt's blocks the layer scale, that they were built with.

    Args:
        model: A model on the CPU; changed in place.
        scheme: "he": normal, of He et al., 2015 (https://arxiv.org/abs/1502.01852). Convolutions
            have variance 2 / fan_out, where fan_out is what one input feeds: of a grouped
            convolution the outputs of its group alone. Hidden linear layers have 2 / fan_in,
            which keeps the size of what passes forward: 2048 features onto 256 would grow
            eightfold in variance by fan_out. The classifier has standard deviation 0.01, so that
            training starts near equal odds for every class. Biases are 0.
            "torch": PyTorch's own, for weights and biases.
        seed: Decides every draw; PyTorch's global generator is neither used nor changed.
    """
    SCHEMES[scheme](model, torch.Generator().manual_seed(seed))


def _he(model: nn.Module, generator: torch.Generator) -> None:
    for name, layer in _drawn_layers(model):
        std = CLASSIFIER_STD if name == "classifier" else math.sqrt(2 / _fan(layer))
        nn.init.normal_(layer.weight, std=std, generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _torch(model: nn.Module, generator: torch.Generator) -> None:
    with torch.random.fork_rng(devices=[]):
        for _, layer in _drawn_layers(model):
            # A seed for each layer: a bias, drawn after its weight, moves no other layer's draws.
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            layer.reset_parameters()


SCHEMES: dict[str, Callable[[nn.Module, torch.Generator], None]] = {"he": _he, "torch": _torch}


def _drawn_layers(model: nn.Module) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    return [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]


def _fan(layer: nn.Conv2d | nn.Linear) -> int:
    """Return fan_out of a convolution, fan_in of a linear layer."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    return layer.out_channels // layer.groups * math.prod(layer.kernel_size)
