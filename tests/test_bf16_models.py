"""What of a network stays in float32 under autocast: norms, and on a CPU depthwise convolutions."""

from dataclasses import replace

import pytest
import torch
from tables import model_config, norm_config
from torch import nn

from nnexp.models import build_model
from nnexp.models.precision import prepare_for_bf16
from nnexp.norms import make_norms, norm_layers
from nnexp.settings import NormConfig
from nnexp.training import start_state

BF16 = torch.autocast("cpu", dtype=torch.bfloat16)


def depthwise(**settings):
    return nn.Conv2d(16, 16, 3, padding=1, groups=16, **settings).to(
        memory_format=torch.channels_last
    )


def maps():
    return torch.randn(4, 16, 8, 8).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_convolution_computes_in_float32_and_rounds_its_output_once(stride):
    conv, x = depthwise(stride=stride), maps().bfloat16().requires_grad_()
    exact = conv(x.float())
    prepare_for_bf16(conv)
    with BF16:
        y = conv(x)
    assert torch.equal(y, exact.bfloat16())
    assert y.is_contiguous(memory_format=torch.channels_last)
    y.sum().backward()
    mine = conv.weight.grad.clone()
    conv.weight.grad = None
    exact.bfloat16().sum().backward()
    assert torch.equal(mine, conv.weight.grad)


def test_other_convolutions_compute_in_bfloat16():
    conv, x = nn.Conv2d(16, 16, 3, groups=2), maps().bfloat16()
    with BF16:
        expected = conv(x)
    prepare_for_bf16(conv)
    with BF16:
        assert torch.equal(conv(x), expected)
    assert not torch.equal(expected, conv(x.float()).bfloat16())


def test_without_autocast_a_prepared_network_is_as_it_was():
    conv, x = depthwise(), maps()
    expected = conv(x)
    prepare_for_bf16(conv)
    assert torch.equal(conv(x), expected)


def test_autocast_is_on_again_after_a_convolution_that_fails():
    conv = depthwise()
    prepare_for_bf16(conv)
    with BF16:
        with pytest.raises(RuntimeError):
            conv(torch.randn(4, 3, 8, 8))
        assert torch.is_autocast_enabled("cpu")
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16
        assert conv(maps()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("model", "norm", "num_depthwise"),
    [("efficientnet_lite0", "batch", 16), ("convnext_tiny", "layer", 18)],
)
def test_every_depthwise_convolution_of_a_model_is_prepared(model, norm, num_depthwise):
    config = model_config(model, width=0.125)
    network = build_model(config, 10, make_norms(norm_config(norm)))
    prepare_for_bf16(network)
    convs = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    prepared = [conv for conv in convs if conv._forward_pre_hooks]
    assert len(prepared) == num_depthwise
    assert all(conv.groups == conv.in_channels for conv in prepared)


def test_norm_of_a_run_in_bf16_computes_in_float32(tiny):
    layers = []
    for precision in ("fp32", "bf16"):
        config = replace(tiny, norm=NormConfig(name="rms"), precision=precision)
        layers.append(norm_layers(start_state(config, 10, torch.device("cpu")).model)[0][1])
    x = torch.randn(2, layers[0].spec.channels, 4, 4).bfloat16()
    assert torch.equal(layers[1](x), layers[0](x.float()).bfloat16())
