import math
from itertools import pairwise

import pytest
import torch
import torchvision
from same_function import assert_same_function, share_state
from tables import PACKAGED_MODELS, PAIRED_NORMS, model_config, norm_config
from torch import nn
from torchvision.models.resnet import BasicBlock

from nnexp.models import MODELS, build_model
from nnexp.models.efficientnet_lite0 import MBConv
from nnexp.models.init import initialize
from nnexp.models.parts import StochasticDepth
from nnexp.norms import NORMS, find_sites, make_norms, norm_layers
from nnexp.settings import ConfigError, names_in

CELLS = [(model, norm, size) for model in MODELS for norm in NORMS for size in (2, 12)]
CELLS += [(model, "ghost", 6) for model in MODELS]  # a chunk and a half
SMALL_IMAGES = ("resnet14", "resnet20", "resnet56")  # their norms can work at half the size too


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def build(name, norm="batch", *, model=None, num_classes=10, **settings):
    config = model_config(name, **(model or {}))
    return build_model(config, num_classes, make_norms(norm_config(norm, **settings)))


def outline(name, norm="batch", **settings):
    """Return the model without values: to draw those of the whole takes longer than the test."""
    with torch.device("meta"):
        return build(name, norm, **settings)


def narrow(name, norm, **settings):
    """Return the model with an eighth of its channels, started as in training."""
    network = build(name, norm, model={"width": 0.125}, **settings)
    initialize(network, "he", seed=0)
    return network


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def shapes(state):
    """Return the shapes of a state, a linear layer's weight as that of a 1×1 convolution's."""
    return [(*s, 1, 1) if len(s) == 2 else tuple(s) for s in (t.shape for t in state.values())]


def test_every_model_of_nnexp_has_its_yaml_and_every_yaml_its_model():
    assert sorted(PACKAGED_MODELS) == sorted(names_in("model"))


@pytest.mark.parametrize(("model", "norm", "batch_size"), CELLS)
def test_every_model_takes_a_step_with_every_norm_that_is_not_refused(model, norm, batch_size):
    size = 16 if model in SMALL_IMAGES else 32
    try:
        network = narrow(model, norm, batch_size=4)  # ghost: one chunk, one and a half, three
        find_sites(network, batch_size, size)
    except ConfigError:
        return
    labels = torch.arange(batch_size) % 10
    logits = network(torch.randn(batch_size, 3, size, size))
    assert logits.shape == (batch_size, 10)
    loss = nn.functional.cross_entropy(logits, labels)
    # There each of 27 blocks adds to what passes.
    if model != "resnet56" or norm not in ("none", "scaled_ws"):
        assert abs(loss.item() - math.log(10)) < 0.5, "training starts near equal odds"
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= 1e-3 * parameter.grad
    again = nn.functional.cross_entropy(network(torch.randn(batch_size, 3, size, size)), labels)
    assert again.isfinite()
    assert network.eval()(torch.randn(2, 3, size, size)).isfinite().all()


@pytest.mark.parametrize(
    ("model", "norm", "parameters"),
    [
        ("simple_cnn", "batch", 27 * 16 + 2 * 16 + 16 * 16 * 16 * 10 + 10),
        ("simple_mlp", "batch", 3072 * 256 + 2 * 256 + 256 * 10 + 10),
        ("baseline", "batch", 620_586),
        ("alexnet", "batch", 23_273_418),
        ("vgg16", "batch", 14_724_042),
        ("vgg16", "none", 14_724_042 - 4_224),  # a bias a channel for γ and β
        ("resnet14", "batch", 172_506),
        ("resnet18", "batch", 11_173_962),
        ("resnet20", "batch", 269_722),
        ("resnet56", "batch", 853_018),
        ("efficientnet_lite0", "batch", 3_371_008 + 1280 * 10 + 10),
        ("convnext_tiny", "layer", 27_817_642),
    ],
)
def test_the_model_has_the_number_of_parameters_of_its_widths(model, norm, parameters):
    assert count(outline(model, norm)) == parameters


@pytest.mark.parametrize("model", MODELS)
def test_norms_with_scale_and_shift_all_give_a_model_the_same_number_of_parameters(model):
    norms = [norm for norm in PAIRED_NORMS if NORMS[norm].convolution is nn.Conv2d]
    assert len({count(outline(model, norm)) for norm in norms}) == 1


def test_classes_change_the_classifier_alone():
    ten, hundred = outline("baseline"), outline("baseline", num_classes=100)
    assert count(hundred) - count(ten) == 90 * (256 + 1)


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        ("simple_cnn", "conv norm relu pool flatten dropout linear"),
        ("simple_mlp", "flatten linear unflatten norm relu flatten dropout linear"),
        ("baseline", "conv norm relu pool " * 3 + "flatten linear relu dropout linear"),
        (
            "alexnet",
            "conv norm relu pool conv norm relu pool conv norm relu conv norm relu conv norm relu "
            "pool flatten linear relu dropout linear relu dropout linear",
        ),
    ],
)
def test_a_plain_network_is_this_chain_of_layers(model, layers):
    names = {"Conv2d": "conv", "BatchNorm2d": "norm", "MaxPool2d": "pool"}
    leaves = [type(m).__name__ for m in outline(model).modules() if not list(m.children())]
    assert [names.get(leaf, leaf.lower()) for leaf in leaves] == layers.split()


def test_vgg16_has_the_convolutions_of_torchvision():
    layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"], batch_norm=True)
    theirs = nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))
    ours = build("vgg16", conv_bias="always")
    blocks = [block for name, block in ours.named_children() if name.startswith("conv")]
    convs = [index for index, layer in enumerate(theirs) if isinstance(layer, nn.Conv2d)]
    assert [count(b) for b in blocks] == [count(theirs[i : i + 2]) for i in convs]
    share_state(ours, theirs)
    assert_same_function(ours, theirs, torch.randn(4, 3, 32, 32))


def test_resnet18_is_torchvisions_after_its_stem():
    theirs = torchvision.models.resnet18(num_classes=10)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = nn.Identity()
    ours = build("resnet18")
    for stage in range(1, 5):
        for index, block in enumerate(getattr(theirs, f"layer{stage}"), 1):
            assert count(getattr(ours, f"stage{stage}_block{index}")) == count(block)
    share_state(ours, theirs)
    assert_same_function(ours, theirs, torch.randn(4, 3, 16, 16))


@pytest.mark.parametrize(("model", "blocks"), [("resnet14", 2), ("resnet20", 3)])
def test_residual_networks_for_cifar_are_torchvisions_blocks_with_shortcuts_of_zeros(model, blocks):
    theirs = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    num_in = 16
    for stride, num_out in ((1, 16), (2, 32), (2, 64)):
        zeros = nn.Sequential(nn.MaxPool2d(1, stride=2), nn.ZeroPad3d((0, 0, 0, 0, 0, num_in)))
        first = BasicBlock(num_in, num_out, stride, zeros if stride == 2 else None)
        theirs += [first, *(BasicBlock(num_out, num_out) for _ in range(blocks - 1))]
        num_in = num_out
    theirs = nn.Sequential(*theirs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    ours = build(model)
    share_state(ours, theirs)
    assert_same_function(ours, theirs, torch.randn(4, 3, 32, 32))


def test_every_activation_of_efficientnet_stops_at_6():
    kinds = [type(module) for module in build("efficientnet_lite0").modules()]
    assert kinds.count(nn.ReLU6) == 1 + 15 * 2 + 1 + 1
    assert nn.ReLU not in kinds


@pytest.mark.parametrize(
    ("num_in", "num_out", "stride", "expansion"), [(24, 24, 1, 6), (24, 40, 2, 6), (32, 16, 1, 1)]
)
def test_efficientnets_block_is_torchvisions_inverted_residual(num_in, num_out, stride, expansion):
    layers = make_norms(norm_config("batch")).for_block("block")
    ours = MBConv(layers, num_in, num_out, (expansion, 3, stride), drop_chance=0.0)
    theirs = torchvision.models.mobilenetv2.InvertedResidual(num_in, num_out, stride, expansion)
    share_state(ours, theirs)
    with torch.no_grad():
        for norm in (ours.depthwise.norm, theirs.conv[-3][1]):
            norm.weight *= 5  # so that values pass 6
    assert_same_function(ours, theirs, torch.randn(4, num_in, 8, 8))


def test_alexnet_has_the_widths_of_torchvision_and_its_last_three_convolutions():
    with torch.device("meta"):
        theirs = torchvision.models.alexnet(num_classes=10)
        whole = build("alexnet")
    convs = [layer for layer in theirs.features if isinstance(layer, nn.Conv2d)]
    blocks = [getattr(whole, f"conv{index}") for index in range(1, 6)]
    assert [(b.conv.in_channels, b.conv.out_channels) for b in blocks] == [
        (conv.in_channels, conv.out_channels) for conv in convs
    ]
    dense = [layer.out_features for layer in theirs.classifier if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in whole if isinstance(layer, nn.Linear)] == dense
    ours = build("alexnet", "none", conv_bias="always")
    middle = nn.Sequential(ours.conv3, ours.conv4, ours.conv5)
    their_middle = theirs.features[6:12].to_empty(device="cpu")
    for parameter in their_middle.parameters():
        nn.init.normal_(parameter, std=0.02)
    share_state(middle, their_middle)
    assert_same_function(middle, their_middle, torch.randn(2, 192, 4, 4))


@pytest.fixture(scope="module")
def their_convnext():
    theirs = torchvision.models.convnext_tiny(num_classes=10, stochastic_depth_prob=0.0)
    theirs.features[0][0] = nn.Conv2d(3, 96, 2, stride=2)
    return theirs


def test_convnext_tiny_has_the_parameters_of_torchvision_layer_by_layer(their_convnext):
    ours = outline("convnext_tiny", "layer", conv_bias="always")
    assert shapes(ours.state_dict()) == shapes(their_convnext.state_dict())


def test_convnext_tiny_computes_what_torchvisions_does_up_to_the_head(their_convnext):
    ours = build("convnext_tiny", "layer", conv_bias="always", eps=1e-6)
    body = nn.Sequential(*[m for name, m in ours.named_children() if name.startswith("st")])
    share_state(body, their_convnext.features)
    assert_same_function(body, their_convnext.features, torch.randn(2, 3, 16, 16))


def test_norm_at_swaps_the_norm_of_one_block_and_of_no_other():
    plain, swapped = outline("vgg16"), outline("vgg16", at={"conv3_1": "layer"})
    kinds = {
        path: (type(layer), type(dict(norm_layers(swapped))[path]))
        for path, layer in norm_layers(plain)
    }
    assert [path for path, (one, other) in kinds.items() if one is not other] == ["conv3_1.norm"]


@pytest.mark.parametrize("model", MODELS)
def test_every_block_of_a_model_can_be_swapped_by_its_name(model):
    blocks = {layer.spec.block for _, layer in norm_layers(outline(model))}
    assert not any("." in block for block in blocks)
    network = outline(model, at=dict.fromkeys(blocks, "layer_chw"))
    assert {layer.spec.norm for _, layer in norm_layers(network)} == {"layer_chw"}


def test_a_block_that_the_model_does_not_have_is_answered_with_those_it_has():
    with pytest.raises(ConfigError) as refusal:
        outline("vgg16", at={"conv3_4": "layer"})
    assert refusal.value.problem == "no block 'conv3_4'"
    assert refusal.value.remedy.startswith("did you mean norm.at.conv3_")
    assert "(blocks: conv1_1, conv1_2, conv2_1, " in refusal.value.remedy


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("scheme", ["he", "torch"])
def test_a_seed_gives_every_norm_the_same_initial_weights(model, scheme):
    def weights(norm, seed):
        network = build(model, norm, model={"width": 0.125})
        torch.rand(len(norm))  # where the global generator stands is of no matter
        initialize(network, scheme, seed)
        return {
            name: layer.weight
            for name, layer in network.named_modules()
            if isinstance(layer, nn.Conv2d | nn.Linear)
        }

    expected = weights("batch", seed=5)
    for norm in NORMS:
        try:
            found = weights(norm, seed=5)
        except ConfigError:  # this norm has no place in this model
            continue
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    other = weights("batch", seed=6)
    assert not any(torch.equal(other[name], expected[name]) for name in expected)


@pytest.mark.parametrize("scheme", ["he", "torch"])
def test_layers_of_the_same_shape_have_different_weights(scheme):
    network = build("vgg16", model={"width": 0.125})
    initialize(network, scheme, seed=0)
    assert not torch.equal(network.conv5_1.conv.weight, network.conv5_2.conv.weight)


def test_weights_are_drawn_without_touching_the_global_generator():
    network, before = build("baseline"), torch.get_rng_state()
    for scheme in ("he", "torch"):
        initialize(network, scheme, seed=0)
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("model", "layer", "std"),
    [
        ("vgg16", "conv3_2.conv", math.sqrt(2 / (256 * 9))),
        ("resnet18", "stage2_block1.shortcut.conv", math.sqrt(2 / 128)),
        ("efficientnet_lite0", "stage6_block2.depthwise.conv", math.sqrt(2 / 25)),
        ("simple_mlp", "hidden.linear", math.sqrt(2 / 3072)),
        ("convnext_tiny", "stage3_block1.pointwise1", math.sqrt(2 / (4 * 384))),
        ("baseline", "dense", math.sqrt(2 / 2048)),
        ("vgg16", "classifier", 0.01),
    ],
)
def test_he_draws_convolutions_by_fan_out_dense_layers_by_fan_in_and_the_classifier_small(
    model, layer, std
):
    network = build(model, conv_bias="always")
    initialize(network, "he", seed=0)
    drawn = network.get_submodule(layer)
    assert drawn.weight.std().item() == pytest.approx(std, rel=0.05)
    assert not drawn.bias.any()


@pytest.mark.parametrize("scheme", ["he", "torch"])
def test_initialization_leaves_scale_shift_and_layer_scale_at_their_start(scheme):
    network = build("convnext_tiny", "layer")
    initialize(network, scheme, seed=0)
    for _, layer in norm_layers(network):
        assert torch.equal(layer.weight, torch.ones_like(layer.weight))
        assert not layer.bias.any()
    assert (network.stage1_block1.layer_scale == 1e-6).all()


def test_torchs_own_initialization_is_torchs_own():
    network = build("baseline", "none")
    initialize(network, "torch", seed=3)
    bound = 1 / math.sqrt(32 * 9)
    for drawn in (network.conv2.conv.weight, network.conv2.conv.bias):
        assert bound * 0.8 < drawn.abs().max() <= bound


@pytest.mark.parametrize("model", PACKAGED_MODELS)
def test_width_multiplies_every_channel_count_in_multiples_of_8(model):
    network = outline(model, model={"width": 0.3})
    widths = [layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert all(width % 8 == 0 and width >= 8 for width in widths)
    assert count(network) < 0.51 * count(outline(model))


@pytest.mark.parametrize("model", PACKAGED_MODELS)
def test_dropout_acts_before_the_classifier_in_training_alone(model):
    network = build(model, model={"dropout": 1.0})
    x = torch.randn(2, 3, 32, 32)
    biases = network.classifier.bias.expand(2, 10)
    torch.testing.assert_close(network(x), biases)
    assert (network.eval()(x) - biases).abs().max() > 1e-6


@pytest.mark.parametrize("model", ["resnet18", "efficientnet_lite0", "convnext_tiny"])
def test_stochastic_depth_rises_from_0_to_its_setting_at_the_last_block(model):
    network = outline(model, model={"stochastic_depth": 0.2})
    chances = [part.p for part in network.modules() if isinstance(part, StochasticDepth)]
    steps = [later - earlier for earlier, later in pairwise(chances)]
    assert (chances[0], chances[-1]) == (0, 0.2)
    assert steps == pytest.approx([0.2 / (len(chances) - 1)] * (len(chances) - 1))


def test_stochastic_depth_drops_whole_images_and_keeps_the_expectation():
    drop, x = StochasticDepth(0.25), torch.ones(4000, 2, 2, 2)
    y = drop(x)
    assert ((y == 0) | (y == 1 / 0.75)).all()
    assert (y == y[:, :1, :1, :1]).all()
    assert y.mean().item() == pytest.approx(1, abs=0.05)
    assert drop.eval()(x) is x
    assert not StochasticDepth(1.0)(x).any()


@pytest.mark.parametrize(
    ("model", "block", "shape"),
    [
        ("resnet18", "stage4_block2", (512, 4, 4)),
        ("efficientnet_lite0", "stage6_block4", (192, 2, 2)),
        ("convnext_tiny", "stage4_block3", (768, 2, 2)),
    ],
)
def test_a_dropped_branch_leaves_the_input_of_the_block(model, block, shape):
    residual = build(model).get_submodule(block)
    residual.drop = StochasticDepth(1.0)
    x = torch.rand(2, *shape)
    assert torch.equal(residual(x), x)
    assert not torch.equal(residual.eval()(x), x)


def test_stochastic_depth_is_refused_where_it_would_do_nothing():
    with pytest.raises(ConfigError, match=r"model.stochastic_depth=0.1 does nothing to vgg16"):
        outline("vgg16", model={"stochastic_depth": 0.1})


def test_convolutions_without_a_norm_keep_the_bias_of_the_paper():
    network = outline("convnext_tiny", "layer")
    assert network.stage1_block1.depthwise.conv.bias is None
    assert network.stage1_block1.pointwise1.bias is not None
    assert network.stage2_downsample.conv.bias is not None
    assert network.classifier.bias is not None
