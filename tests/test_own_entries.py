"""A user's norm and model join by one entry each in NORMS and MODELS."""

from dataclasses import replace
from pathlib import Path

import pytest
import rms_norm
import torch
import torchvision
from tables import model_config, norm_config
from torch import Tensor, nn

from nnexp.cli.show_page import policies
from nnexp.models import MODELS, build_model
from nnexp.models.init import initialize
from nnexp.models.sketch import sketch_model
from nnexp.norms import NORMS, NormKind, Statistic, find_sites, make_norms
from nnexp.settings import ConfigError, ExperimentConfig, OptimizerConfig
from nnexp.training import build_checked_model, build_optimizer

del NORMS["rms_chw"]  # which enters itself when it is imported, for all tests of this process
HERE = Path(__file__).parent
OF_THE_TABLES = [
    "test_norms.py",
    "test_sites.py",
    "test_models.py",
    "test_show.py",
    "test_cells.py",
]


def layer_of(kind, **settings):
    NORMS["own"] = kind
    return make_norms(norm_config("own", **settings)).for_block("block").norm(8)


@pytest.fixture(autouse=True)
def _same_tables_afterwards():
    norms, models = dict(NORMS), dict(MODELS)
    NORMS["rms_chw"] = rms_norm.RMS
    yield
    for table, before in ((NORMS, norms), (MODELS, models)):
        table.clear()
        table.update(before)


def test_entries_of_a_user_pass_every_test_of_the_tables_and_break_none(nnexp, monkeypatch):
    monkeypatch.chdir(HERE.parent)
    done = nnexp(
        *("-q", "-x", "-p", "own_entries", "-p", "no:cacheprovider"),
        *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # imported before pytest
        *(str(HERE / name) for name in OF_THE_TABLES),
        module="pytest",
        PYTHONPATH=str(HERE),
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_rms_norm_of_a_user_has_a_scale_no_shift_and_a_bias_in_the_convolution_before_it():
    sketch = sketch_model(
        ExperimentConfig(model=model_config("baseline"), norm=norm_config("rms_chw"))
    )
    assert [site.parameters for site in sketch.sites] == [32, 64, 128]
    assert (sketch.sites[0].axes, sketch.sites[0].values_per_statistic) == (
        "C,H,W per image",
        32 * 32 * 32,
    )
    assert sketch.blocks[0].layers == "conv 3×3 3→32 +bias · rms_chw"
    lines = policies(ExperimentConfig(norm=norm_config("rms_chw")))
    assert any(line.endswith("γ learned") for line in lines)


def test_rms_norm_divides_by_the_root_of_the_mean_square_over_an_image():
    layer, x = layer_of(replace(rms_norm.RMS), eps=0.1), torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(
        layer(x), x / (x.square().mean((1, 2, 3), keepdim=True) + 0.1).sqrt()
    )


def test_a_norm_without_a_reference_formula_is_refused_with_those_that_have_one():
    with pytest.raises(ConfigError) as refusal:
        layer_of(rms_norm.RMS, implementation="reference")
    assert refusal.value.problem == "norm.implementation=reference has no formula for norm=own"
    assert refusal.value.remedy == (
        "leave it out, or use one of "
        "batch, layer, layer_chw, instance, group, ghost, group_ws, none"
    )


@pytest.mark.parametrize(
    ("declared", "layer", "settings", "problem"),
    [
        ({"beta": False}, nn.GroupNorm(2, 8), {}, "says beta=False, but its layer has a bias"),
        ({}, nn.GroupNorm(2, 8, affine=False), {}, "says gamma=True, but its layer has no weight"),
        (
            {},
            nn.GroupNorm(2, 8),
            {"affine": False},
            "says gamma=True and norm.affine=false is set, but its layer has a weight",
        ),
        (
            {"statistic": Statistic(over="NHW", per="channel")},
            nn.BatchNorm2d(8),
            {},
            "says stored=False, but its layer has a running_mean",
        ),
        (
            {"statistic": Statistic(over="HW", per="channel", stored=True)},
            nn.InstanceNorm2d(8, affine=True),
            {},
            "says stored=True, but its layer has no running_mean",
        ),
    ],
)
def test_a_layer_that_is_not_as_its_entry_says_is_refused(declared, layer, settings, problem):
    with pytest.raises(ConfigError) as refusal:
        layer_of(NormKind(build=lambda spec: layer, **declared), **settings)
    assert refusal.value.problem == f"NORMS['own'] {problem}"
    assert refusal.value.remedy.startswith("correct ")


def test_a_statistic_over_axes_that_do_not_exist_is_refused():
    with pytest.raises(ConfigError, match="over='nhw' names no axes"):
        Statistic(over="nhw", per="channel")


def test_a_convolution_of_its_own_has_to_be_a_class_of_convolutions():
    with pytest.raises(ConfigError, match="is no class of convolutions"):
        NormKind(build=rms_norm.RMSNorm, convolution=nn.Linear)


def test_a_convolution_of_its_own_has_no_place_at_a_linear_layer():
    class Convolution(nn.Conv2d):
        pass

    NORMS["own"] = replace(NORMS["group"], convolution=Convolution)
    norms = make_norms(norm_config("own"))
    assert type(norms.for_block("block").conv_norm_act(3, 8, 3).conv) is Convolution
    with pytest.raises(ConfigError) as refusal:
        build_model(model_config("simple_mlp"), 10, norms)
    assert refusal.value.problem == "norm=own cannot work at hidden, a linear layer"


def test_chunks_of_one_image_are_refused_where_a_single_image_would_be():
    NORMS["own"] = NormKind(
        build=lambda spec: nn.BatchNorm2d(spec.channels),
        statistic=Statistic(over="NHW", per="channel and chunk", stored=True, chunk=lambda c: 1),
    )
    with pytest.raises(ConfigError, match=r"head\.norm"):
        sketch_model(ExperimentConfig(model=model_config("convnext_tiny"), norm=norm_config("own")))


class Gated(nn.Module):
    """A norm with a linear layer inside, as those that look at an image's means have."""

    def __init__(self, spec):
        super().__init__()
        self.gate = nn.Linear(spec.channels, spec.channels)

    def forward(self, x_NCHW):
        return x_NCHW * self.gate(x_NCHW.mean((2, 3))).sigmoid()[:, :, None, None]


def test_what_is_inside_a_norm_is_neither_drawn_by_the_seed_nor_decayed_nor_a_layer_to_show():
    NORMS["own"] = NormKind(build=Gated, gamma=False, beta=False)
    networks = {}
    for norm in ("none", "own"):
        networks[norm] = build_model(model_config("baseline"), 10, make_norms(norm_config(norm)))
        gates = [p.clone() for n, p in networks[norm].named_parameters() if "gate" in n]
        initialize(networks[norm], "he", seed=3)
    own, none = networks["own"], networks["none"]
    assert torch.equal(own.conv3.conv.weight, none.conv3.conv.weight)
    assert torch.equal(own.classifier.weight, none.classifier.weight)
    left = [parameter for name, parameter in own.named_parameters() if "gate" in name]
    assert all(torch.equal(one, other) for one, other in zip(gates, left, strict=True))
    decayed, _ = build_optimizer(own, OptimizerConfig(), peak=0.1).param_groups
    assert len(decayed["params"]) == 5  # three convolutions, two linear layers
    config = ExperimentConfig(model=model_config("baseline"), norm=norm_config("own"))
    assert sketch_model(config).blocks[0].layers == "conv 3×3 3→32 +bias · own"


def test_numbers_that_the_seed_does_not_draw_are_the_same_in_every_model_built():
    NORMS["own"] = NormKind(build=Gated, gamma=False, beta=False)
    gates = []
    for _ in range(2):
        torch.rand(7)
        network = build_model(model_config("baseline"), 10, make_norms(norm_config("own")))
        gates.append(network.conv1.norm.gate.weight)
    assert torch.equal(*gates)


class HalfOn(nn.Module):
    """An activation and nothing else, where the block asks for one."""

    def __init__(self, spec):
        super().__init__()
        self.activated = spec.activated

    def forward(self, x_NCHW):
        return x_NCHW.clamp(min=0) if self.activated else x_NCHW


def test_a_norm_with_an_activation_of_its_own_takes_the_place_of_the_blocks():
    NORMS["own"] = NormKind(build=HalfOn, gamma=False, beta=False, own_activation=True)
    layers, x = make_norms(norm_config("own")).for_block("block"), torch.randn(2, 3, 4, 4)
    with_activation = layers.conv_norm_act(3, 8, 3)
    assert [name for name, _ in with_activation.named_children()] == ["conv", "norm"]
    assert with_activation(x).min() == 0
    assert layers.conv_norm_act(3, 8, 3, activation=None)(x).min() < 0


def test_a_user_norm_of_one_value_that_does_not_subtract_the_mean_is_let_through():
    NORMS["own"] = NormKind(
        build=lambda spec: nn.Identity(),
        statistic=Statistic(over="HW", per="channel and image", centred=False),
        gamma=False,
        beta=False,
    )
    network = build_model(model_config("simple_mlp"), 10, make_norms(norm_config("own")))
    assert find_sites(network, batch_size=8)[0].values_per_statistic == 1


class WithUnused(nn.Module):
    """A model of a user with a child that evaluation does not call."""

    def __init__(self, config, num_classes, norms):
        super().__init__()
        self.block = norms.for_block("block").conv_norm_act(3, 8, 3)
        self.auxiliary = nn.Linear(8, num_classes)
        self.drop = torchvision.ops.StochasticDepth(config.stochastic_depth, "row")
        self.classifier = nn.Linear(8, num_classes)

    def forward(self, x_NCHW):
        return self.classifier(self.drop(self.block(x_NCHW)).mean((2, 3)))


def test_a_child_that_is_never_called_is_shown_without_an_output():
    MODELS["own"] = WithUnused
    blocks = sketch_model(ExperimentConfig(model=model_config("own"))).blocks
    outputs = {block.name: block.output for block in blocks}
    assert (outputs["block"], outputs["auxiliary"]) == ("8×32×32", "–")


def test_a_model_that_has_no_place_for_the_norm_of_the_settings_is_refused():
    MODELS["own"] = lambda config, num_classes, norms: nn.Sequential(
        nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes)
    )
    config = ExperimentConfig(model=model_config("own"), norm=norm_config("group"))
    with pytest.raises(ConfigError, match="norm=group would change nothing"):
        build_checked_model(config, 10)
    build_checked_model(replace(config, norm=norm_config("none")), 10)


def test_a_model_without_one_output_for_each_class_is_refused():
    MODELS["own"] = lambda config, num_classes, norms: nn.Sequential(
        norms.for_block("block").conv_norm_act(3, 8, 3), nn.Flatten(), nn.Linear(8 * 32 * 32, 1000)
    )
    with pytest.raises(ConfigError) as refusal:
        build_checked_model(ExperimentConfig(model=model_config("own")), 10)
    assert "returns the shape (2, 1000) for 2 images of 10 classes" in refusal.value.problem


@pytest.mark.parametrize(
    ("answer", "returned"),
    [(lambda logits: (logits, logits), "tuple"), (Tensor.sum, r"the shape \(\)")],
)
def test_a_model_that_returns_something_else_than_logits_is_refused(answer, returned):
    class Answering(nn.Sequential):
        def forward(self, x_NCHW):
            return answer(super().forward(x_NCHW))

    MODELS["own"] = lambda config, num_classes, norms: Answering(
        norms.for_block("block").conv_norm_act(3, 8, 3), nn.Flatten(), nn.Linear(8 * 32 * 32, 10)
    )
    with pytest.raises(ConfigError, match=f"model=own returns {returned} for 2 images"):
        build_checked_model(ExperimentConfig(model=model_config("own")), 10)


def test_stochastic_depth_of_another_library_is_acted_on():
    MODELS["own"] = WithUnused
    build_model(model_config("own", stochastic_depth=0.1), 10, make_norms(norm_config()))
