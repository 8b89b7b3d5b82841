"""Initial weights: a function of scheme and seed, the same for every norm."""

import math
from collections.abc import Callable

import torch
from torch import nn

from nnexp.models.branches import basic_blocks
from nnexp.norms import parts_of_norms

CLASSIFIER_STD = 0.01


def initialize(model: nn.Module, scheme: str, seed: int) -> None:
    """Draw the weights of every convolution and linear layer, in the order of the model.

    Only these layers draw, and biases never shift what weights draw, so one seed gives the
    same weights whatever the norm: norms are compared in pairs. All else stays as it was built:
    the norm layers, with γ = 1 and β = 0, and the layer scale of ConvNeXt's blocks.

    Args:
        model: A model on the CPU; changed in place.
        scheme: "he": normal, of He et al., 2015 (https://arxiv.org/abs/1502.01852). Convolutions
            have variance 2 / fan_out, where fan_out is what one input feeds: of a grouped
            convolution the outputs of its group alone. Hidden linear layers have 2 / fan_in,
            which keeps the size of what passes forward: 2048 features onto 256 would grow
            eightfold in variance by fan_out. The classifier, the last of these layers, has
            standard deviation 0.01, so that training starts near equal odds for every class.
            Biases are 0.
            "torch": PyTorch's own, for weights and biases.
            "skipinit": as "he"; its scalars are 0 as they were built.
            "fixup": as "he", but the first convolution of each of L residual branches times L^−½,
            the second 0, the classifier 0 (Zhang, Dauphin & Ma, 2019,
            https://arxiv.org/abs/1901.09321: L^(−1 / (2m − 2)) for branches of m layers).
        seed: Decides every draw; PyTorch's global generator is neither used nor changed.
    """
    SCHEMES[scheme](model, torch.Generator().manual_seed(seed))


def _he(model: nn.Module, generator: torch.Generator) -> None:
    layers = _drawn_layers(model)
    for layer in layers:
        std = CLASSIFIER_STD if layer is layers[-1] else math.sqrt(2 / _fan(layer))
        nn.init.normal_(layer.weight, std=std, generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _torch(model: nn.Module, generator: torch.Generator) -> None:
    with torch.random.fork_rng(devices=[]):
        for layer in _drawn_layers(model):
            # A seed for each layer: a bias, drawn after its weight, moves no other layer's draws.
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            layer.reset_parameters()


def _fixup(model: nn.Module, generator: torch.Generator) -> None:
    _he(model, generator)
    blocks = basic_blocks(model)
    with torch.no_grad():
        for block in blocks:
            block.conv1.get_parameter("conv.weight").mul_(len(blocks) ** -0.5)
            block.conv2.get_parameter("conv.weight").zero_()
        _drawn_layers(model)[-1].weight.zero_()


SCHEMES: dict[str, Callable[[nn.Module, torch.Generator], None]] = {
    "he": _he,
    "torch": _torch,
    "fixup": _fixup,
    "skipinit": _he,
}


def _drawn_layers(model: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    in_norms = parts_of_norms(model)
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer not in in_norms
    ]


def _fan(layer: nn.Conv2d | nn.Linear) -> int:
    """Return fan_out of a convolution, fan_in of a linear layer."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    return layer.out_channels // layer.groups * math.prod(layer.kernel_size)
