"""Models of other libraries get nnexp's norm layers in place of their own."""

import pytest
import timm
import torch
import torchvision
from tables import norm_config
from torch import nn
from torch.nn import functional as F
from torchvision.ops import Permute

from nnexp.models.init import initialize
from nnexp.norms import (
    NORMS,
    NormKind,
    find_sites,
    keep_norms_in_fp32,
    make_norms,
    norm_layers,
    replace_norms,
    spec_of,
)
from nnexp.norms.replace import ChannelsLast
from nnexp.settings import ConfigError, OptimizerConfig
from nnexp.training import build_optimizer


def from_torchvision(name, **settings):
    return torchvision.models.get_model(name, num_classes=10, **settings)


def from_timm(name, **settings):
    return timm.create_model(name, num_classes=10, **settings)


def replaced(model, norm="batch", **settings):
    return replace_norms(model, make_norms(norm_config(norm, **settings)))


def layers_with_bias(model):
    weighted = (nn.Conv2d, nn.Linear)
    layers = [(path, one) for path, one in model.named_modules() if isinstance(one, weighted)]
    return [path for path, layer in layers if layer.bias is not None]


def outputs(model):
    """Return what the model answers while it trains, and then while it is evaluated."""
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    answers = []
    for mode in (True, False):
        torch.manual_seed(2)  # for dropout
        answers.append(model.train(mode)(x))
    return answers


class Chain(nn.Module):
    """Convolution, norm and what follows, by a function of the test."""

    def __init__(self, norm, forward):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = norm
        self.classifier = nn.Linear(8, 10)
        self._forward = forward

    def forward(self, x):
        return self._forward(self, x)


def norm_and_pool(net, x):
    return net.classifier(F.relu(net.norm(net.conv(x))).mean((2, 3)))


@pytest.mark.parametrize(
    ("library", "name", "norm", "eps"),
    [
        (from_torchvision, "resnet18", "batch", 1e-5),
        (from_torchvision, "vgg11_bn", "batch", 1e-5),
        (from_torchvision, "densenet121", "batch", 1e-5),
        (from_torchvision, "convnext_tiny", "layer", 1e-6),
        (from_torchvision, "swin_t", "layer", 1e-5),
        (from_timm, "efficientnet_lite0", "batch", 1e-5),
        (from_timm, "convnext_atto", "layer", 1e-6),
        (from_timm, "resnetv2_18", "batch", 1e-5),
    ],
)
def test_a_model_with_its_own_norm_put_back_answers_as_before(library, name, norm, eps):
    torch.manual_seed(0)
    model = library(name)
    for layer in model.modules():  # timm starts the last γ of a branch at 0
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
    before = outputs(model)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
    after = outputs(replaced(model, norm, eps=eps, conv_bias="always"))
    rounding = 0 if norm == "batch" else 2e-6  # another memory layout lets layer norm round anew
    torch.testing.assert_close(after, before, rtol=0, atol=rounding)


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_of_resnet18_is_a_site_with_a_block_by_its_path(norm):
    model = replaced(from_torchvision("resnet18"), norm, at={"layer1_0_bn2": "layer"})
    layers = norm_layers(model)
    assert [path for path, _ in layers if path.startswith("layer2.0")] == [
        "layer2.0.bn1",
        "layer2.0.bn2",
        "layer2.0.downsample.1",
    ]
    assert [spec_of(layer).block for _, layer in layers] == [
        path.replace(".", "_") for path, _ in layers
    ]
    chosen = {path: spec_of(layer).norm for path, layer in layers}
    assert chosen.pop("layer1.0.bn2") == "layer"
    assert set(chosen.values()) == {norm}


def test_a_norm_that_cannot_work_on_the_last_map_is_refused_by_its_path():
    with pytest.raises(
        ConfigError, match=r"norm=instance cannot work at layer4\.0\.bn1, a 512×1×1"
    ):
        find_sites(replaced(from_torchvision("resnet18"), "instance"), batch_size=8)


@pytest.mark.parametrize("conv_bias", ["auto", "always", "never"])
@pytest.mark.parametrize("norm", NORMS)
def test_convolutions_before_a_norm_follow_the_bias_policy(norm, conv_bias):
    with torch.device("meta"):  # nothing is computed, and no weight is drawn
        model = replaced(from_torchvision("vgg11_bn"), norm, conv_bias=conv_bias)
    convs = [path for path in layers_with_bias(model) if path.startswith("features")]
    blocks = make_norms(norm_config(norm, conv_bias=conv_bias)).for_block("block")
    assert len(convs) == (8 if blocks.bias(64) else 0)
    assert sum(path.startswith("classifier") for path in layers_with_bias(model)) == 3


def test_a_convolution_that_something_else_reads_too_keeps_the_bias_it_has():
    def with_shortcut(net, x):
        y = net.conv(x)
        return net.classifier((net.norm(y) + y).mean((2, 3)))

    def twice(net, x):
        return net.classifier(net.norm(net.conv(x) + net.conv(-x)).mean((2, 3)))

    def stored(net, x):
        y = net.conv(x)
        buffer = torch.zeros(y.shape)
        buffer[:] = y
        return net.classifier((net.norm(y) + buffer).mean((2, 3)))

    kept_bias = {norm_and_pool: False, with_shortcut: True, twice: True, stored: True}
    for forward, kept in kept_bias.items():
        model = replaced(Chain(nn.BatchNorm2d(8), forward))
        assert (model.conv.bias is not None) == kept


def test_two_norms_in_a_row_are_both_replaced():
    norms = nn.Sequential(nn.BatchNorm2d(8), nn.InstanceNorm2d(8))
    model = replaced(Chain(norms, norm_and_pool), "layer")
    assert [path for path, _ in norm_layers(model)] == ["norm.0", "norm.1"]
    assert all(layer.bias is not None for _, layer in norm_layers(model))
    assert model.conv.bias is None


@pytest.mark.parametrize("training", [True, False])
def test_a_new_norm_is_in_the_mode_of_the_old_one(training):
    model = replaced(Chain(nn.BatchNorm2d(8), norm_and_pool).train(training), "ghost")
    assert model.norm.training == training


def test_a_layer_norm_at_the_end_of_the_axes_is_found_behind_a_permutation():
    def channels_last(net, x):
        return net.classifier(F.relu(net.norm(Permute([0, 2, 3, 1])(net.conv(x)))).mean((1, 2)))

    chain = Chain(nn.LayerNorm(8), channels_last)
    model = replaced(chain, "batch")
    assert isinstance(model.norm, ChannelsLast)
    assert model.conv.bias is None
    assert isinstance(model.norm.norm, nn.BatchNorm2d)


@pytest.mark.parametrize("shape", [(4, 8), (4, 5, 8), (4, 5, 6, 8)])
def test_layer_norm_of_features_tokens_and_maps_is_pytorchs(shape):
    x = torch.randn(shape)
    layer = make_norms(norm_config("layer")).for_block("block").norm(8)
    torch.testing.assert_close(ChannelsLast(layer)(x), nn.LayerNorm(8)(x))


def test_a_square_map_as_wide_as_its_channels_is_still_told_apart():
    class LayerNorm2d(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def forward(net, x):
        return net.classifier(net.norm(net.conv(x)).mean((2, 3)))

    for kind, wrapped in ((nn.LayerNorm, True), (LayerNorm2d, False)):
        chain = Chain(kind(30), forward)  # 30×30 is the map as well
        chain.conv, chain.classifier = nn.Conv2d(3, 30, 3), nn.Linear(30, 10)
        assert isinstance(replaced(chain).norm, ChannelsLast) == wrapped


@pytest.mark.parametrize(
    ("pool", "refused"),
    [
        (lambda y: y.mean((2, 3)), True),
        (lambda y: F.adaptive_avg_pool2d(y, 1).flatten(1), True),
        (lambda y: F.relu(y).mean((2, 3)), False),
        (lambda y: F.adaptive_avg_pool2d(y, 2).amax((2, 3)), False),
        (lambda y: F.adaptive_max_pool2d(y, 1).flatten(1), False),
        (lambda y: (y * y.mean(1, keepdim=True)).mean((2, 3)), False),
    ],
)
def test_a_norm_that_leaves_nothing_for_the_pooling_after_it_is_refused(pool, refused):
    def forward(net, x):
        return net.classifier(pool(net.norm(net.conv(x))))

    model = replaced(Chain(nn.BatchNorm2d(8), forward), "instance")
    if refused:
        with pytest.raises(ConfigError, match="the pooling after it"):
            find_sites(model, batch_size=8)
    else:
        find_sites(model, batch_size=8)


@pytest.mark.parametrize(
    "norm",
    [nn.LocalResponseNorm(2), nn.LayerNorm([8, 30, 30]), nn.RMSNorm(30), nn.SyncBatchNorm(8)],
)
def test_a_norm_that_is_not_known_is_refused_instead_of_left_in_place(norm):
    model = Chain(norm, norm_and_pool)
    with pytest.raises(ConfigError, match=f"the {type(norm).__name__} at norm is a norm that"):
        replaced(model)
    assert model.norm is norm


def test_a_model_without_norms_is_refused():
    with pytest.raises(ConfigError, match="VGG has no norm layer to replace"):
        replaced(from_torchvision("vgg11"))


@pytest.mark.parametrize("scheme", ["he", "torch"])
def test_one_seed_draws_the_same_weights_whatever_the_norm(scheme):
    drawn = []
    for norm in ("batch", "none"):
        model = replaced(from_torchvision("resnet18"), norm)
        initialize(model, scheme, seed=3)
        drawn.append([layer.weight for layer in model.modules() if isinstance(layer, nn.Conv2d)])
        drawn[-1].append(model.fc.weight)
    assert all(torch.equal(one, other) for one, other in zip(*drawn, strict=True))
    if scheme == "he":
        assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_weight_decay_pulls_on_the_weights_of_convolutions_and_linear_layers_alone():
    model = replaced(from_torchvision("convnext_tiny"), "group")
    decayed, spared = build_optimizer(model, OptimizerConfig(), peak=0.1).param_groups
    weighted = [one for one in model.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    assert {id(p) for p in decayed["params"]} == {id(layer.weight) for layer in weighted}
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))


def test_norms_behind_a_change_of_axes_compute_in_float32_too():
    model = replaced(from_torchvision("convnext_tiny"), "batch")
    keep_norms_in_fp32(model)
    seen = []
    for _, layer in norm_layers(model):
        layer.register_forward_hook(lambda layer, inputs, y: seen.append((layer, inputs[0], y)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.randn(2, 3, 32, 32))
    assert len(seen) == 23
    for layer, x, y in seen:
        exact = nn.functional.batch_norm(x.float(), None, None, layer.weight, layer.bias, True)
        torch.testing.assert_close(y.float(), exact, rtol=2**-8, atol=1e-6)


class DoublingConv2d(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.fixture
def doubling():
    """A norm that does nothing and brings its own convolution, in the table for one test."""
    NORMS["doubling"] = NormKind(
        build=lambda spec: nn.Identity(), gamma=False, beta=False, convolution=DoublingConv2d
    )
    yield "doubling"
    del NORMS["doubling"]


def test_a_norm_with_its_own_convolution_replaces_the_one_before_it(doubling):
    model = Chain(nn.BatchNorm2d(8), norm_and_pool)
    weight, x = model.conv.weight, torch.randn(2, 3, 32, 32)
    expected = 2 * model.conv(x)
    replaced(model, doubling)
    assert type(model.conv) is DoublingConv2d
    torch.testing.assert_close(model.conv(x), expected)
    assert torch.equal(model.conv.weight, weight)
    model.conv = DoublingConv2d(3, 8, 3)
    model.norm = nn.BatchNorm2d(8)
    with pytest.raises(ConfigError, match="the DoublingConv2d at conv does more than a Conv2d"):
        replaced(model, doubling)


def test_the_activation_inside_a_layer_of_timm_stays_and_gives_way_to_a_norms_own():
    model = replaced(from_timm("efficientnet_lite0"), "group")
    names = [name for name, _ in model.blocks[1][0].bn1.named_children()]
    assert names == ["norm", "act"]
    assert isinstance(model.blocks[1][0].bn1.act, nn.ReLU6)
    assert isinstance(model.blocks[1][0].bn3, nn.GroupNorm)  # it included none
    assert not spec_of(model.bn2.norm).pooled  # the activation comes between norm and pooling
    NORMS["active"] = NormKind(
        build=lambda spec: nn.ReLU() if spec.activated else nn.Identity(),
        gamma=False,
        beta=False,
        own_activation=True,
    )
    try:
        model = replaced(from_timm("efficientnet_lite0"), "active")
    finally:
        del NORMS["active"]
    assert isinstance(model.blocks[1][0].bn1, nn.ReLU)
    assert isinstance(model.blocks[1][0].bn3, nn.Identity)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "convnext_atto", "densenet121"])
def test_a_model_of_timm_has_a_site_for_each_of_its_norms(name):
    model = from_timm(name)
    known = (nn.BatchNorm2d, nn.LayerNorm)
    paths = [path for path, layer in model.named_modules() if isinstance(layer, known)]
    sites = find_sites(replaced(model, "layer_chw"), batch_size=8)
    assert sorted(site.block for site in sites) == sorted(path.replace(".", "_") for path in paths)
    with pytest.raises(ConfigError, match="GlobalResponseNorm"):
        replaced(from_timm("convnextv2_atto"))
