"""Every model with every norm: either it can tell images apart, or it is refused."""

from functools import cache

import pytest
import torch
from tables import ARCHITECTURES, model_config, norm_config
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nnexp.data import load_images, normalized
from nnexp.models import build_model
from nnexp.models.init import initialize
from nnexp.norms import NORMS, find_sites, make_norms, norm_layers, spec_of
from nnexp.settings import ConfigError, DataConfig

CELLS = [(model, norm) for model in ARCHITECTURES for norm in NORMS]
NUM_IMAGES = 6
NUM_STEPS = 3
LEARNING_RATE = 0.02
# In float64 rounding leaves 1e-16 of what should be 0, and the smallest live spread is 0.009.
LEAST_SPREAD = 1e-3
# Likewise; ConvNeXt's layer scale of 1e-6 takes some live gradients down to 1e-10.
LEAST_GRADIENT = 1e-12


def build(model: str, norm: str, **at: str) -> nn.Module:
    """Return the model with an eighth of its channels, in float64, started as in training.

    A norm that has no place in the model ends the test here.
    """
    norms = make_norms(norm_config(norm, at=at))
    try:
        network = build_model(model_config(model, width=0.125), 10, norms)
    except ConfigError as refusal:
        pytest.skip(refusal.problem)
    initialize(network, "he", seed=0)
    return network.double()


def is_refused(network: nn.Module) -> bool:
    try:
        find_sites(network.float(), batch_size=NUM_IMAGES)
    except ConfigError:
        return True
    finally:
        network.double()
    return False


@cache
def real_images() -> tuple[Tensor, Tensor]:
    sizes = {"train_images": NUM_IMAGES, "val_images": 10, "test_images": 10}
    images = load_images(DataConfig(name="synthetic", **sizes))
    x_NCHW = normalized(images.train.images, images.mean, images.std)
    return x_NCHW.double(), images.train.labels


def spread(network: nn.Module, logits_NK: Tensor) -> float:
    """Return how far the logits of different images differ, relative to the logits' size.

    A network that has only its initial classifier has logits of any size, down to rounding;
    so the size is at least what features of length 1 would give.
    """
    classifier = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    size = max(logits_NK.square().mean(0).sum().sqrt(), classifier.weight.norm())
    return (logits_NK.std(0).norm() / size).item()


def shifts_lost_in_a_norm(network: nn.Module) -> set[str]:
    """Return the biases that a later norm may take away: it subtracts the channel's mean."""
    if not any(spec_of(layer).removes_channel_mean for _, layer in norm_layers(network)):
        return set()
    return {
        name
        for name, _ in network.named_parameters()
        if name.endswith(".bias") and not name.startswith("classifier")
    }


def parameters_without_gradient(network: nn.Module) -> set[str]:
    norms = {name: p.grad.norm().item() for name, p in network.named_parameters()}
    least = LEAST_GRADIENT * max(norms.values())
    lost = shifts_lost_in_a_norm(network)
    return {name for name, norm in norms.items() if norm <= least and name not in lost}


def train(network: nn.Module) -> tuple[float, set[str]]:
    """Take steps; return the least spread on the way, and what a step left without a gradient.

    The spreads are those of each step's logits and, after the last step, of those in evaluation.
    """
    x_NCHW, labels = real_images()
    spreads: list[float] = []
    unreached: set[str] = set()
    for _ in range(NUM_STEPS):
        network.zero_grad()
        logits_NK = network(x_NCHW)
        cross_entropy(logits_NK, labels).backward()
        with torch.no_grad():
            spreads.append(spread(network, logits_NK))
            unreached |= parameters_without_gradient(network)
            for parameter in network.parameters():
                parameter -= LEARNING_RATE * parameter.grad
    with torch.no_grad():
        spreads.append(spread(network, network.eval()(x_NCHW)))
    return min(spreads), unreached


@pytest.mark.parametrize(("model", "norm"), CELLS)
def test_a_cell_tells_images_apart_and_learns_in_every_parameter_or_is_refused(model, norm):
    """It is refused exactly where its logits, in a step or in evaluation, are all alike."""
    network = build(model, norm)
    refused = is_refused(network)
    try:
        least_spread, unreached = train(network)
    except ValueError as error:
        if "more than 1 spatial element" not in str(error):  # PyTorch's own refusal of one value
            raise
        least_spread, unreached = 0.0, set()
    assert refused != (least_spread > LEAST_SPREAD)
    assert refused or unreached == set()


def test_instance_norm_in_convnext_learns_with_another_norm_in_the_head():
    least_spread, unreached = train(build("convnext_tiny", "instance", head="layer"))
    assert least_spread > LEAST_SPREAD
    assert unreached == set()
