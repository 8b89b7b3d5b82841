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
NUM_IMAGES = 12
NUM_STEPS = 4
# In float64 rounding leaves 1e-16 of what should be 0, and the smallest live spread is above 0.01.
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


def train(network: nn.Module, num_steps: int) -> None:
    x_NCHW, labels = real_images()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    for _ in range(num_steps):
        optimizer.zero_grad()
        cross_entropy(network(x_NCHW), labels).backward()
        optimizer.step()


def spread(network: nn.Module) -> float:
    """Return how far the logits of different images differ, relative to the logits' size.

    A network that has only its initial classifier has logits of any size, down to rounding;
    so the size is at least what features of length 1 would give.
    """
    with torch.no_grad():
        logits_NK = network(real_images()[0])
    classifier = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    size = max(logits_NK.square().mean(0).sum().sqrt(), classifier.weight.norm())
    return (logits_NK.std(0).norm() / size).item()


def is_learnable(network: nn.Module) -> bool:
    """Whether the logits tell images apart, at the start and after steps, in both modes."""
    try:
        spreads = [spread(network)]
        train(network, NUM_STEPS)
        spreads += [spread(network), spread(network.eval())]
    except ValueError as error:
        if "more than 1 spatial element" in str(error):  # PyTorch's own refusal of one value
            return False
        raise
    return min(spreads) > LEAST_SPREAD


@pytest.mark.parametrize(("model", "norm"), CELLS)
def test_a_cell_is_refused_exactly_where_its_logits_do_not_tell_images_apart(model, norm):
    network = build(model, norm)
    assert is_refused(network) != is_learnable(network)


def shifts_lost_in_a_norm(network: nn.Module) -> set[str]:
    """Return the biases that a later norm may take away: it subtracts the channel's mean."""
    if not any(spec_of(layer).removes_channel_mean for _, layer in norm_layers(network)):
        return set()
    return {
        name
        for name, _ in network.named_parameters()
        if name.endswith(".bias") and not name.startswith("classifier")
    }


def assert_gradients_reach_every_parameter(network: nn.Module) -> None:
    lost = shifts_lost_in_a_norm(network)
    for _ in range(2):
        train(network, num_steps=1)
        norms = {name: p.grad.norm().item() for name, p in network.named_parameters()}
        least = LEAST_GRADIENT * max(norms.values())
        assert [n for n, norm in norms.items() if norm <= least and n not in lost] == []


@pytest.mark.parametrize(("model", "norm"), CELLS)
def test_gradients_reach_every_parameter_of_a_cell_that_is_not_refused(model, norm):
    network = build(model, norm)
    if is_refused(network):
        pytest.skip("refused")
    assert_gradients_reach_every_parameter(network)


def test_instance_norm_in_convnext_learns_with_another_norm_in_the_head():
    assert is_learnable(build("convnext_tiny", "instance", head="layer"))
    assert_gradients_reach_every_parameter(build("convnext_tiny", "instance", head="layer"))
