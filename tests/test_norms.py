import copy

import pytest
import torch
from tables import PACKAGED_NORMS, PAIRED_NORMS, norm_config
from torch import nn

from nnexp.norms import NORMS, NoNorm, keep_norms_in_fp32, make_norms
from nnexp.norms.groups import groups_by_rule
from nnexp.norms.reference import ReferenceNorm
from nnexp.settings import ConfigError, names_in

NORMALIZING = [name for name, kind in NORMS.items() if kind.statistic]
CENTRED = [name for name, kind in NORMS.items() if kind.statistic and kind.statistic.centred]
IMPLEMENTED = [(name, "torch") for name in NORMS] + [
    (name, "reference") for name, kind in NORMS.items() if kind.reference
]
N, C, H, W = 4, 8, 6, 5


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def block_layers(norm, **settings):
    return make_norms(norm_config(norm, **settings)).for_block("block")


def make_layer(norm, channels=C, **settings):
    """Return a norm layer whose γ and β, where it has them, differ from channel to channel."""
    layer = block_layers(norm, **settings).norm(channels)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(0.5, 1.5)
    return layer


def with_parameters_of(layer, other):
    """Give `layer` the parameters of `other`, and return it."""
    with torch.no_grad():
        for mine, theirs in zip(layer.parameters(), other.parameters(), strict=True):
            mine.copy_(theirs)
    return layer


def images(batch_size=N, channels=C):
    """Return maps whose mean and spread differ by image, channel and position."""
    spread = 0.5 + torch.rand(batch_size, channels, 1, 1)
    return torch.randn(batch_size, channels, H, W) * spread + torch.randn(channels, H, W)


def differ(a, b):
    return (a - b).abs().max() > 1e-2


def test_every_norm_of_nnexp_has_its_yaml_and_every_yaml_its_norm():
    assert sorted(PACKAGED_NORMS) == sorted(names_in("norm"))


@pytest.mark.parametrize("norm", CENTRED)
def test_each_set_of_values_that_a_centring_norm_names_has_mean_0_and_biased_variance_1(norm):
    layer = make_layer(norm, affine=False, eps=1e-9).double()
    groups, statistic = layer.spec.groups, NORMS[norm].statistic
    together = statistic.images(layer.spec.config, 2 * N)
    y = layer(images(2 * N).double()).reshape(-1, together, groups, C // groups, H, W)
    axes = {"N": [1], "C": [3] if statistic.groups else [2, 3], "H": [4], "W": [5]}
    over = [axis for name in statistic.over for axis in axes[name]]
    torch.testing.assert_close(y.mean(over), torch.zeros_like(y.mean(over)), atol=1e-6, rtol=0)
    variance = y.var(over, correction=0)
    torch.testing.assert_close(variance, torch.ones_like(variance), atol=1e-5, rtol=0)
    assert y.numel() / variance.numel() == layer.spec.values_per_statistic(2 * N, H, W)


@pytest.mark.parametrize(
    ("norm", "axes", "values"),
    [
        ("batch", "N,H,W per channel", 4 * 6 * 5),
        ("layer", "C per position", 8),
        ("layer_chw", "C,H,W per image", 8 * 6 * 5),
        ("instance", "H,W per channel and image", 6 * 5),
        ("group", "C,H,W per group and image", 4 * 6 * 5),
        ("ghost", "N,H,W per channel and chunk", 2 * 6 * 5),
        ("none", "nothing", 0),
    ],
)
def test_a_norm_says_what_a_statistic_is_over_and_of_how_many_values(norm, axes, values):
    spec = make_layer(norm, batch_size=2).spec
    assert NORMS[norm].axes == axes
    assert spec.values_per_statistic(N, H, W) == values


def test_layer_norm_is_its_formula_in_values_and_gradients():
    layer, x = make_layer("layer", eps=0.1), images().requires_grad_()
    mean = x.mean(dim=1, keepdim=True)
    x_hat = (x - mean) / ((x - mean).square().mean(dim=1, keepdim=True) + 0.1).sqrt()
    expected = layer.weight[:, None, None] * x_hat + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)
    d_y = torch.randn_like(x)
    inputs = [x, layer.weight, layer.bias]
    ours = torch.autograd.grad(layer(x), inputs, d_y)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, inputs, d_y))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layer_norm_keeps_the_memory_layout_that_it_is_given(layout):
    y = make_layer("layer")(images().contiguous(memory_format=layout))
    assert y.is_contiguous(memory_format=layout)


def test_group_norm_with_a_group_per_channel_is_instance_norm():
    group, x = make_layer("group", num_groups=C), images()
    instance = with_parameters_of(make_layer("instance"), group)
    torch.testing.assert_close(group(x), instance(x))


def test_group_norm_with_one_group_is_layer_chw_and_not_layer():
    group, x = make_layer("group", num_groups=1), images()
    layer_chw = with_parameters_of(make_layer("layer_chw"), group)
    layer = with_parameters_of(make_layer("layer"), group)
    torch.testing.assert_close(group(x), layer_chw(x))
    assert differ(group(x), layer(x))


def test_batch_norm_of_a_single_image_in_training_is_instance_norm():
    batch, x = make_layer("batch"), images(batch_size=1)
    instance = with_parameters_of(make_layer("instance"), batch)
    torch.testing.assert_close(batch(x), instance(x))
    many = images()
    assert differ(batch(many), instance(many))


def test_the_running_variance_is_the_unbiased_one():
    batch, x = make_layer("batch", momentum=1.0), images(batch_size=1)
    batch(x)
    torch.testing.assert_close(batch.running_mean, x.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(batch.running_var, x.var(dim=(0, 2, 3), correction=1))
    assert differ(batch.running_var, x.var(dim=(0, 2, 3), correction=0))


def test_momentum_is_the_weight_of_the_newest_batch():
    batch, x = make_layer("batch", momentum=0.3), images()
    batch(x)
    torch.testing.assert_close(batch.running_mean, 0.3 * x.mean(dim=(0, 2, 3)))


@pytest.mark.parametrize("norm", NORMS)
def test_an_evaluated_image_does_not_depend_on_its_batch(norm):
    layer, x = make_layer(norm), images()
    layer(x)
    layer.eval()
    torch.testing.assert_close(layer(x)[:1], layer(x[:1]))


@pytest.mark.parametrize(("norm", "implementation"), IMPLEMENTED)
def test_a_norm_learns_one_scale_and_one_shift_per_channel_as_its_kind_says(norm, implementation):
    kind = NORMS[norm]
    expected = {"weight": C} if kind.gamma else {}
    expected |= {"bias": C} if kind.beta else {}
    for affine in (True, False):
        layer = make_layer(norm, implementation=implementation, affine=affine)
        sizes = {name: parameter.numel() for name, parameter in layer.named_parameters()}
        assert {n: size for n, size in sizes.items() if n in ("weight", "bias")} == expected
        expected = {}


@pytest.mark.parametrize(
    ("norm", "implementation"), [pair for pair in IMPLEMENTED if pair[0] in NORMALIZING]
)
def test_eps_is_added_to_the_variance(norm, implementation):
    x = images()
    layers = [make_layer(norm, eps=e, affine=False, implementation=implementation) for e in (1, 9)]
    assert layers[0](x).abs().max() > 1.2 * layers[1](x).abs().max()


@pytest.mark.parametrize("norm", [name for name, kind in NORMS.items() if kind.reference])
def test_the_reference_layer_is_built_from_the_same_settings(norm):
    settings = {"eps": 0.1, "momentum": 0.3}
    fast = make_layer(norm, **settings)
    reference = make_layer(norm, implementation="reference", **settings)
    with_parameters_of(reference, fast)
    for _ in range(2):
        x = images()
        torch.testing.assert_close(reference(x), fast(x))
    assert isinstance(reference, ReferenceNorm) == (norm in NORMALIZING)
    assert reference.spec.norm == fast.spec.norm == norm
    fast.eval(), reference.eval()
    torch.testing.assert_close(reference(x), fast(x))


def test_no_norm_is_a_layer_that_can_be_found_and_changes_nothing():
    layer, x = make_layer("none"), images()
    assert isinstance(layer, NoNorm)
    assert layer(x) is x


@pytest.mark.parametrize(
    ("channels", "groups"),
    [
        *[(3, 1), (8, 2), (10, 2), (16, 4), (24, 6), (32, 8), (40, 10), (64, 16), (80, 20)],
        *[(96, 24), (112, 28), (128, 32), (144, 24), (192, 32), (240, 30), (256, 32), (384, 32)],
        *[(480, 32), (512, 32), (672, 32), (768, 32), (1152, 32), (1280, 32)],
    ],
)
def test_the_group_rule_takes_the_most_groups_up_to_32_that_leave_4_channels_each(channels, groups):
    assert groups_by_rule(channels) == groups
    assert make_layer("group", channels).num_groups == groups


@pytest.mark.parametrize(
    ("settings", "groups"),
    [({"num_groups": 3}, 3), ({"channels_per_group": 4}, 6), ({"channels_per_group": 1}, 24)],
)
def test_the_number_of_groups_is_as_set(settings, groups):
    layer = make_layer("group", 24, **settings)
    assert layer.num_groups == layer.spec.groups == groups


@pytest.mark.parametrize("setting", ["num_groups", "channels_per_group"])
def test_groups_that_do_not_divide_are_refused_with_those_that_would(setting):
    layers = make_norms(norm_config("group", **{setting: 32})).for_block("stage1_block1")
    with pytest.raises(ConfigError) as refusal:
        layers.norm(16)
    assert refusal.value.problem == (
        f"norm.{setting}=32 does not divide the 16 channels of block stage1_block1"
    )
    assert refusal.value.remedy == "1, 2, 4, 8, 16 would do there; left out, the rule takes 4"


def test_other_norms_do_not_mind_a_group_setting_that_is_not_theirs():
    make_layer("batch", 16, num_groups=32)


@pytest.mark.parametrize(
    ("norm", "affine", "bias"),
    [
        *[(norm, True, False) for norm in PAIRED_NORMS],
        ("batch", False, False),
        ("instance", False, False),
        ("layer", False, True),
        ("layer_chw", False, True),
        ("group", False, True),
        ("none", True, True),
        ("none", False, True),
    ],
)
def test_these_norms_have_a_bias_before_them_or_not(norm, affine, bias):
    layers = block_layers(norm, affine=affine)
    assert layers.bias(C) is bias
    assert (layers.conv_norm_act(3, C, 3).conv.bias is not None) is bias
    if NORMS[norm].convolution is nn.Conv2d:
        assert (layers.linear_norm_act(3, C).linear.bias is not None) is bias


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("norm", NORMS)
def test_a_convolution_has_a_bias_where_no_shift_follows_and_a_constant_would_not_be_lost(
    norm, affine
):
    layers = block_layers(norm, affine=affine)
    layer = layers.norm(C)
    shifts = "bias" in dict(layer.named_parameters())
    x = images()
    constant = torch.arange(C)[:, None, None]
    is_lost = not differ(layer(x), layer(x + constant))
    assert (layers.conv_norm_act(3, C, 3).conv.bias is not None) == (not shifts and not is_lost)


def test_a_bias_before_group_norm_with_one_channel_per_group_would_be_dead():
    assert not block_layers("group", affine=False, channels_per_group=1).bias(C)


@pytest.mark.parametrize("activated", [True, False])
@pytest.mark.parametrize("norm", [name for name in NORMS if name != "none"])
def test_a_norm_returns_neither_zeros_nor_what_it_is_given(norm, activated):
    x = 3 * images()
    layer = block_layers(norm).norm(C, activated=activated)
    only_scales_activations = norm == "scaled_ws" and not activated
    for y in (layer(x), layer.eval()(x)):
        assert differ(y, torch.zeros(()))
        assert differ(y, x) or only_scales_activations


@pytest.mark.parametrize("norm", NORMS)
def test_the_bias_policy_can_be_overruled(norm):
    assert block_layers(norm, conv_bias="always").bias(C)
    assert not block_layers(norm, conv_bias="never").bias(C)


@pytest.mark.parametrize("activated", [True, False])
@pytest.mark.parametrize("groups", [None, C])
@pytest.mark.parametrize("norm", NORMS)
def test_a_norm_says_whether_it_removes_a_channels_scale(norm, groups, activated):
    layer = block_layers(norm, num_groups=groups).norm(C, activated=activated)
    x = images()
    scale = torch.linspace(1, 3, C)[:, None, None]
    is_lost = not differ(layer(x), layer(x * scale))
    assert is_lost == layer.spec.removes_channel_scale


@pytest.mark.parametrize("norm", NORMS)
def test_a_bias_gets_no_gradient_exactly_before_norms_that_remove_the_channel_mean(norm):
    block = block_layers(norm, conv_bias="always").conv_norm_act(3, C, 3, activation=None)
    y = block(torch.randn(N, 3, H, W))
    (y * torch.randn_like(y)).sum().backward()
    dead = block.conv.bias.grad.abs().max() < 1e-4
    assert dead == block.norm.spec.removes_channel_mean
    assert (
        dead == (norm in ("batch", "instance", "ghost", "batch_renorm"))
        or norm not in PACKAGED_NORMS
    )


@pytest.mark.parametrize("norm", NORMS)
def test_a_block_is_convolution_norm_and_activation_by_name(norm):
    layers, kind = block_layers(norm), NORMS[norm]
    block = layers.conv_norm_act(4, C, 5, stride=2, groups=2, activation=nn.GELU)
    names = ["conv", "norm"] if kind.own_activation else ["conv", "norm", "act"]
    assert [name for name, _ in block.named_children()] == names
    assert type(block.conv) is kind.convolution
    assert kind.own_activation or isinstance(block.act, nn.GELU)
    assert block(torch.randn(2, 4, 16, 16)).shape == (2, C, 8, 8)
    assert block.norm.spec.block == "block"
    assert block.norm.spec.activated
    bare = layers.conv_norm_act(4, C, 5, activation=None)
    assert [name for name, _ in bare.named_children()] == ["conv", "norm"]
    assert not bare.norm.spec.activated


def test_batch_norm_over_the_features_of_a_dense_layer_is_batchnorm1d():
    dense = block_layers("batch").linear_norm_act(3, C, activation=None)
    x = torch.randn(N, 3)
    torch.testing.assert_close(dense(x), nn.BatchNorm1d(C)(dense.linear(x)))


@pytest.mark.parametrize(
    ("norm", "implementation"), [pair for pair in IMPLEMENTED if pair[0] != "none"]
)
def test_under_autocast_a_norm_computes_in_float32_and_answers_in_bfloat16(norm, implementation):
    block = block_layers(norm, implementation=implementation).conv_norm_act(3, C, 3)
    plain = copy.deepcopy(block.norm)
    keep_norms_in_fp32(block)
    seen = {}
    block.conv.register_forward_hook(lambda _, inputs, y: seen.update(conv=y))
    block.norm.register_forward_hook(lambda _, inputs, y: seen.update(y=y.clone()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        block(torch.randn(N, 3, H, W)).float().sum().backward()
    assert seen["conv"].dtype == seen["y"].dtype == torch.bfloat16
    torch.testing.assert_close(seen["y"].float(), plain(seen["conv"].float()), rtol=2**-8, atol=0)
    assert all(parameter.grad.dtype == torch.float32 for parameter in block.norm.parameters())


def test_the_precision_policy_leaves_no_norm_and_float32_alone():
    bare = block_layers("none").conv_norm_act(3, C, 3)
    keep_norms_in_fp32(bare)
    assert not bare.norm._forward_pre_hooks
    block = block_layers("batch").conv_norm_act(3, C, 3)
    x = torch.randn(N, 3, H, W)
    expected = block(x)
    keep_norms_in_fp32(block)
    assert torch.equal(block(x), expected)
