"""EfficientNet-lite0 and ConvNeXt compute what timm's do, block by block and as a whole."""

import pytest
import timm
import torch
from same_function import assert_same_function, share_state
from tables import model_config, norm_config
from torch import nn

from nnexp.models import build_model
from nnexp.models.convnext_tiny import STAGES, ConvNeXtBlock
from nnexp.models.efficientnet_lite0 import MBConv
from nnexp.models.parts import scale_channels
from nnexp.norms import make_norms


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def lite0():
    """Return timm's network with a stem of stride 1, for images of 32×32."""
    network = timm.create_model("efficientnet_lite0", num_classes=10).double()
    network.conv_stem.stride = (1, 1)
    return network


@pytest.mark.parametrize(("stage", "index"), [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)], ids=str)
def test_block_of_efficientnet_lite0_is_timms(lite0, stage, index):
    """The one without expansion; then 3×3 and 5×5, with stride and with a shortcut."""
    theirs = lite0.blocks[stage][index]
    convs = [layer for layer in theirs.modules() if isinstance(layer, nn.Conv2d)]
    depthwise = theirs.conv_dw
    num_in = convs[0].in_channels
    shape = (depthwise.in_channels // num_in, depthwise.kernel_size[0], depthwise.stride[0])
    layers = make_norms(norm_config("batch")).for_block("block")
    ours = MBConv(layers, num_in, convs[-1].out_channels, shape, drop_chance=0.0).double()
    share_state(ours, theirs)
    with torch.no_grad():
        for block in (ours.depthwise.norm, theirs.bn1 if stage == 0 else theirs.bn2):
            block.weight *= 5  # so that values pass 6
    assert_same_function(ours, theirs, torch.randn(4, num_in, 8, 8, dtype=torch.float64))


def test_efficientnet_lite0_is_timms_after_its_stem(lite0):
    ours = build_model(
        model_config("efficientnet_lite0"), 10, make_norms(norm_config("batch"))
    ).double()
    share_state(ours, lite0)
    assert_same_function(ours, lite0, torch.randn(2, 3, 32, 32, dtype=torch.float64))


def convnext_norms():
    return make_norms(norm_config("layer", eps=1e-6, conv_bias="always"))


def test_block_of_convnext_is_timms():
    ours = ConvNeXtBlock(convnext_norms().for_block("block"), 16, drop_chance=0.0).double()
    theirs = timm.models.convnext.ConvNeXtBlock(16).double()
    assert torch.equal(ours.layer_scale.flatten(), theirs.gamma)
    share_state(ours, theirs)
    assert_same_function(ours, theirs, torch.randn(2, 16, 8, 8, dtype=torch.float64))


def test_convnext_tiny_is_timms_after_its_stem_where_the_last_map_is_a_single_position():
    """There it is the same whether the head's norm is before or after the pooling."""
    ours = build_model(model_config("convnext_tiny", width=0.125), 10, convnext_norms()).double()
    depths, widths = [blocks for _, blocks in STAGES], [scale_channels(c, 0.125) for c, _ in STAGES]
    theirs = timm.models.convnext.ConvNeXt(num_classes=10, depths=depths, dims=widths)
    theirs.stem[0] = nn.Conv2d(3, widths[0], 2, stride=2)
    share_state(ours, theirs.double())
    assert_same_function(ours, theirs, torch.randn(2, 3, 16, 16, dtype=torch.float64))
