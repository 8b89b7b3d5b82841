from dataclasses import replace

import pytest
import torch
from tables import model_config, norm_config

from nnexp.cli.show_page import policies
from nnexp.models import MODELS
from nnexp.models.sketch import sketch_model
from nnexp.settings import ConfigError, ExperimentConfig
from nnexp.training import build_checked_model, count_parameters


def config_of(model: str, norm: str = "batch", **more: object) -> ExperimentConfig:
    return ExperimentConfig(model=model_config(model), norm=norm_config(norm, **more))


@pytest.mark.parametrize("model", MODELS)
def test_sketch_counts_the_parameters_of_the_real_model(model):
    config = config_of(model)
    sketch = sketch_model(config)
    assert sketch.parameters == count_parameters(build_checked_model(config, 10))
    assert sum(block.parameters for block in sketch.blocks) == sketch.parameters


def test_sites_say_shape_statistic_and_groups():
    sites = {site.layer: site for site in sketch_model(config_of("vgg16", "group")).sites}
    site = sites["conv3_1.norm"]
    assert (site.channels, site.height, site.width) == (256, 8, 8)
    assert (site.groups, site.values_per_statistic, site.parameters) == (32, 8 * 8 * 8, 512)
    assert site.axes == "C,H,W per group and image"


def test_values_per_statistic_of_batch_norm_grow_with_the_batch():
    config = config_of("baseline")
    values = [
        sketch_model(replace(config, batch_size=size)).sites[0].values_per_statistic
        for size in (2, 128)
    ]
    assert values == [2 * 32 * 32, 128 * 32 * 32]


def test_block_outputs_are_those_of_a_real_forward_pass():
    config = config_of("resnet18")
    model = build_checked_model(config, 10).eval()
    x_NCHW = torch.zeros(1, 3, 32, 32)
    for block in sketch_model(config).blocks:
        x_NCHW = model.get_submodule(block.name)(x_NCHW)
        assert block.output == "×".join(map(str, x_NCHW.shape[1:]))


def test_swapped_block_shows_in_its_site_alone():
    sites = sketch_model(config_of("vgg16", "batch", at={"conv4_2": "layer"})).sites
    assert [site.layer for site in sites if site.norm == "layer"] == ["conv4_2.norm"]


def test_norm_that_cannot_work_is_refused_before_anything_is_built():
    with pytest.raises(ConfigError, match=r"hidden\.norm"):
        sketch_model(config_of("simple_mlp", "instance"))


def test_policies_follow_the_settings():
    config = config_of("vgg16", affine=False)
    assert any("no γ and β" in line for line in policies(config))
    assert any("init=torch" in line for line in policies(replace(config, init="torch")))


@pytest.mark.parametrize(
    ("norm", "shown"), [("batch", "torch, momentum 0.1, γ and β learned"), ("frn", "torch, γ, β")]
)
def test_momentum_is_shown_where_statistics_are_stored(norm, shown):
    *_, line = policies(config_of("vgg16", norm=norm))
    assert shown in line
