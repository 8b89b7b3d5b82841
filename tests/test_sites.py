import pytest
import torch
from tables import model_config, norm_config
from torch import nn

from nnexp.models import MODELS, build_model
from nnexp.norms import NORMS, find_sites, make_norms, norm_layers
from nnexp.settings import ConfigError


def build(model, norm="batch", **settings):
    norms = make_norms(norm_config(norm, **settings))
    return build_model(model_config(model), 10, norms)


def outline(model, norm="batch", **settings):
    """Return a model without values, which has the same sites: a test below sees to that."""
    with torch.device("meta"):
        return build(model, norm, **settings)


def norms_other_than(*names):
    """Return all other norms that have a statistic and no convolution, as a message lists them."""
    *others, last = [
        name
        for name, kind in NORMS.items()
        if kind.statistic and kind.convolution is nn.Conv2d and name not in names
    ]
    return f"{', '.join(others)} or {last}"


def refusal_of(model, batch_size=8):
    with pytest.raises(ConfigError) as refusal:
        find_sites(model, batch_size)
    return refusal.value


def test_a_site_says_where_it_is_what_it_normalizes_and_what_it_costs():
    site = find_sites(outline("vgg16", "group", eps=1e-3), batch_size=8)[2]
    assert (site.layer, site.block, site.norm) == ("conv2_1.norm", "conv2_1", "group")
    assert (site.channels, site.height, site.width) == (128, 16, 16)
    assert (site.axes, site.groups) == ("C,H,W per group and image", 32)
    assert site.values_per_statistic == 128 // 32 * 16 * 16
    assert (site.eps, site.parameters) == (1e-3, 256)


def test_the_batch_size_counts_where_a_statistic_extends_over_images_alone():
    for norm in NORMS:
        sizes = [find_sites(outline("baseline", norm), n)[0].values_per_statistic for n in (2, 8)]
        statistic = NORMS[norm].statistic
        if statistic and "N" in statistic.over:
            few, many = (statistic.images(norm_config(), n) for n in (2, 8))
            assert sizes[1] * few == sizes[0] * many
            assert sizes[1] > sizes[0]
        else:
            assert sizes[1] == sizes[0]


def test_a_site_without_a_norm_is_listed_with_nothing_to_normalize():
    site = find_sites(outline("simple_cnn", "none"), batch_size=8)[0]
    assert (site.layer, site.norm, site.axes) == ("conv1.norm", "none", "nothing")
    assert (site.values_per_statistic, site.parameters) == (0, 0)
    assert (site.eps, site.groups) == (None, None)


@pytest.mark.parametrize("model", MODELS)
def test_every_norm_layer_is_a_site_in_the_order_of_the_forward_pass(model):
    network = outline(model)
    sites = find_sites(network, batch_size=8)
    assert [site.layer for site in sites] == [path for path, _ in norm_layers(network)]
    assert [site.layer for site in sites] == [
        path for path, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)
    ]


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        ("simple_cnn", [32]),
        ("simple_mlp", [1]),
        ("baseline", [32, 16, 8]),
        ("alexnet", [16, 8, 4, 4, 4]),
        ("vgg16", [32] * 2 + [16] * 2 + [8] * 3 + [4] * 3 + [2] * 3),
        ("resnet18", [32] * 5 + [16] * 5 + [8] * 5 + [4] * 5),
        (
            "efficientnet_lite0",
            # stem and first stage; a stage's first expansion still has the map of the one before
            [32] * 3 + [32] + [16] * 5 + [16] + [8] * 5 + [8] + [4] * 17 + [4] + [2] * 15,
        ),
        ("convnext_tiny", [16] * 5 + [8] * 4 + [4] * 10 + [2] * 4),
    ],
)
def test_maps_have_these_sizes_and_only_the_mlp_has_a_site_on_a_single_position(model, sizes):
    sites = find_sites(outline(model), batch_size=8)
    assert [site.height for site in sites] == sizes
    assert [site.width for site in sites] == sizes
    assert model == "simple_mlp" or min(sizes) > 1


def test_instance_norm_on_a_single_position_is_refused_with_what_would_do():
    refusal = refusal_of(outline("simple_mlp", "instance"))
    assert refusal.problem == "norm=instance cannot work at hidden.norm, a 256×1×1 map"
    assert refusal.remedy == (
        "its statistic has a single value, so its output would be 0 everywhere; "
        f"use norm={norms_other_than('instance')}, or another model"
    )


def test_a_norm_of_one_block_is_refused_by_the_setting_that_chose_it():
    refusal = refusal_of(outline("simple_mlp", at={"hidden": "instance"}))
    assert refusal.problem.startswith("norm.at.hidden=instance cannot work at hidden.norm")
    assert "use norm.at.hidden=batch, layer" in refusal.remedy


def test_group_norm_with_one_channel_per_group_on_a_single_position_is_refused():
    refusal = refusal_of(outline("simple_mlp", "group", channels_per_group=1))
    assert refusal.problem == "norm=group cannot work at hidden.norm, a 256×1×1 map"
    assert refusal.remedy.endswith(
        "use norm.channels_per_group of 2 or more, "
        f"norm={norms_other_than('instance', 'group', 'evonorm_s0')}, or another model"
    )
    find_sites(outline("simple_mlp", "group", channels_per_group=2), batch_size=8)
    find_sites(outline("simple_cnn", "group", channels_per_group=1), batch_size=8)


def test_batch_norm_with_a_single_value_is_refused_and_with_two_is_not():
    refusal = refusal_of(outline("simple_mlp"), batch_size=1)
    assert refusal.problem.endswith("hidden.norm, a 256×1×1 map with batch_size=1")
    assert "norm=layer, layer_chw" in refusal.remedy
    find_sites(outline("simple_mlp"), batch_size=2)
    find_sites(outline("simple_cnn"), batch_size=1)


# Those that leave a single image the same channel means.
ALONE = [
    name
    for name, kind in NORMS.items()
    if kind.statistic and kind.statistic.centred and "C" not in kind.statistic.over
]
INSTEAD_OF_INSTANCE = f"norm.at.head={norms_other_than('instance')}"


@pytest.mark.parametrize(
    ("settings", "batch_size", "chosen", "way"),
    [
        ({"norm": "instance"}, 8, "norm=instance", INSTEAD_OF_INSTANCE),
        (
            {"norm": "instance", "implementation": "reference"},
            8,
            "norm=instance",
            INSTEAD_OF_INSTANCE,
        ),
        (
            {"norm": "layer", "at": {"head": "instance"}},
            8,
            "norm.at.head=instance",
            INSTEAD_OF_INSTANCE,
        ),
        ({"norm": "batch"}, 1, "norm=batch", f"norm.at.head={norms_other_than(*ALONE)}"),
        (
            {"norm": "group", "channels_per_group": 1},
            8,
            "norm=group",
            "norm.channels_per_group of 2 or more, "
            f"norm.at.head={norms_other_than('instance', 'group')}",
        ),
    ],
)
def test_a_norm_whose_channel_means_are_the_same_for_every_image_is_refused_before_pooling(
    settings, batch_size, chosen, way
):
    refusal = refusal_of(outline("convnext_tiny", **settings), batch_size)
    shape = "768×2×2 map" + (" with batch_size=1" if batch_size == 1 else "")
    assert refusal.problem == f"{chosen} cannot work at head.norm, a {shape}"
    assert refusal.remedy == (
        "the pooling after it keeps the mean of each channel, and this norm makes that mean "
        f"the same for every image; use {way}, or another model"
    )


@pytest.mark.parametrize(
    ("settings", "batch_size"),
    [
        ({"norm": "instance", "at": {"head": "layer"}}, 8),
        ({"norm": "batch", "at": {"head": "group"}}, 1),
        ({"norm": "batch"}, 2),
        ({"norm": "group", "channels_per_group": 2}, 8),
        ({"norm": "none"}, 8),
    ],
)
def test_another_norm_before_pooling_is_all_that_is_needed(settings, batch_size):
    find_sites(outline("convnext_tiny", **settings), batch_size)


def test_what_is_refused_would_indeed_have_been_zero_up_to_rounding():
    layer = dict(norm_layers(build("simple_mlp", "group", channels_per_group=1)))["hidden.norm"]
    assert layer(torch.randn(8, 256, 1, 1)).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("norm", "implementation"),
    [
        (name, implementation)
        for name, kind in NORMS.items()
        for implementation in (["torch", "reference"] if kind.reference else ["torch"])
    ],
)
def test_looking_for_sites_leaves_model_and_random_numbers_as_they_were(norm, implementation):
    norms = make_norms(norm_config(norm, implementation=implementation))
    model = build_model(model_config("baseline", dropout=0.5), 10, norms)
    model.conv2.eval()
    modes = [module.training for module in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    find_sites(model, batch_size=8)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("model", MODELS)
def test_a_model_without_values_has_the_same_sites(model):
    sketch = outline(model)
    assert all(parameter.is_meta for parameter in sketch.parameters())
    assert find_sites(sketch, batch_size=8) == find_sites(build(model), batch_size=8)


def test_one_norm_of_a_block_is_named_at_its_sites_alone():
    sites = find_sites(outline("resnet18", at={"stage2_block1": "layer"}), batch_size=8)
    assert {site.block for site in sites if site.norm == "layer"} == {"stage2_block1"}
    assert {site.block for site in sites if site.norm == "batch"} == (
        {site.block for site in sites} - {"stage2_block1"}
    )
