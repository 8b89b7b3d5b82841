"""Networks without a norm: Fixup, SkipInit and scaled weight standardization."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from steps import CPU, Again, Step, assert_equal_to_eager, batches_of, settings_of, state_of
from tables import model_config, norm_config
from torch import nn
from torch.func import functional_call

from nnexp.models.branches import Multiplier, Shift, basic_blocks
from nnexp.models.sketch import sketch_model
from nnexp.norms import make_norms
from nnexp.norms.scaled_ws import ScaledStandardizedConv2d
from nnexp.settings import ConfigError, DataConfig, ExperimentConfig, OptimizerConfig, run_id
from nnexp.training import build_checked_model, count_parameters, start_state

RESNETS = ["resnet14", "resnet18", "resnet20", "resnet56"]
RESIDUAL = [*RESNETS, "efficientnet_lite0", "convnext_tiny"]
PLAIN = ["simple_cnn", "simple_mlp", "baseline", "alexnet", "vgg16"]


def config_of(model="resnet20", norm="none", init="he", width=0.5, **norms) -> ExperimentConfig:
    data = DataConfig(name="synthetic", train_images=320, val_images=10, test_images=10)
    return ExperimentConfig(
        model=model_config(model, width=width),
        norm=norm_config(norm, **norms),
        data=data,
        init=init,
        batch_size=32,
    )


def start(*args, **settings) -> nn.Module:
    return start_state(config_of(*args, **settings), 10, CPU).model


def scalars_of(model: nn.Module) -> list[nn.Parameter]:
    return [one.scalar for one in model.modules() if isinstance(one, Multiplier | Shift)]


def fixup_resnet20(p: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The network of the paper's figure 1, right, with a bias before every layer it names."""

    def conv(x, at, stride=1):
        return F.conv2d(x + p[f"{at}.conv_shift.scalar"], p[f"{at}.conv.weight"], None, stride, 1)

    x = F.relu(conv(x, "stem") + p["stem.act_shift.scalar"])
    for stage in (1, 2, 3):
        for index in (1, 2, 3):
            block, stride = f"stage{stage}_block{index}", 1 + (stage > 1 and index == 1)
            y = conv(x, f"{block}.conv1", stride)
            y = conv(F.relu(y + p[f"{block}.conv1.act_shift.scalar"]), f"{block}.conv2")
            y = y * p[f"{block}.scale.scale.scalar"] + p[f"{block}.scale.shift.scalar"]
            short = x[:, :, ::stride, ::stride]
            added = y.shape[1] - short.shape[1]
            x = F.relu(y + torch.cat([short, short.new_zeros(len(x), added, *y.shape[2:])], dim=1))
    pooled = x.mean((2, 3)) + p["classifier.shift.scalar"]
    return pooled @ p["classifier.linear.weight"].T + p["classifier.linear.bias"]


def test_fixup_network_is_the_formula_of_the_paper():
    model = start(init="fixup").double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    values = dict(model.named_parameters())
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(model(x), fixup_resnet20(values, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("model", "branches"), [("resnet14", 6), ("resnet18", 8), ("resnet56", 27)]
)
def test_fixup_scales_what_he_draws_and_starts_the_ends_of_branches_and_the_classifier_at_zero(
    model, branches
):
    ours, theirs = start(model, init="fixup"), start(model, init="he")
    blocks = list(zip(basic_blocks(ours), basic_blocks(theirs), strict=True))
    assert len(blocks) == branches
    for mine, other in blocks:
        first, expected = mine.conv1.conv.weight, other.conv1.conv.weight / math.sqrt(branches)
        torch.testing.assert_close(first, expected)
        std = math.sqrt(2 / (first.shape[0] * 9) / branches)
        assert first.std().item() == pytest.approx(std, rel=0.15)
        assert not mine.conv2.conv.weight.any()
        if isinstance(mine.shortcut, nn.Sequential):
            assert torch.equal(mine.shortcut.conv.weight, other.shortcut.conv.weight)
        assert (mine.scale.scale.scalar, mine.scale.shift.scalar) == (1, 0)
    assert torch.equal(ours.stem.conv.weight, theirs.stem.conv.weight)
    assert not ours.classifier.linear.weight.any()
    assert not ours.classifier.linear.bias.any()
    assert sum(scalar.item() for scalar in scalars_of(ours)) == branches


@pytest.mark.parametrize("model", RESNETS)
def test_fixup_begins_with_equal_odds_for_every_class(model):
    network = start(model, init="fixup")
    logits = network(torch.randn(4, 3, 32, 32))
    assert not logits.any()
    loss = F.cross_entropy(logits, torch.arange(4))
    assert loss.item() == pytest.approx(math.log(10))
    loss.backward()  # only the classifier moves first, but that it can
    assert network.classifier.linear.weight.grad.any()


def test_parameters_of_each_arm_are_counted():
    counts = {
        (norm, init): count_parameters(start(norm=norm, init=init, width=1))
        for norm in ("none", "scaled_ws", "batch")
        for init in ("he", "fixup", "skipinit")
        if norm == "none" or init != "fixup"
    }
    convolutions = 3 * 16 * 9 + 9 * (6 * 16**2 + 16 * 32 + 5 * 32**2 + 32 * 64 + 5 * 64**2)
    classifier, channels = 64 * 10 + 10, 16 + 6 * (16 + 32 + 64)
    assert counts == {
        ("none", "he"): convolutions + classifier + channels,
        ("none", "fixup"): convolutions + classifier + 2 + 9 * 5 + 1,  # stem, blocks, classifier
        ("none", "skipinit"): convolutions + classifier + channels + 9,
        ("scaled_ws", "he"): convolutions + classifier + 2 * channels,
        ("scaled_ws", "skipinit"): convolutions + classifier + 2 * channels + 9,
        ("batch", "he"): convolutions + classifier + 2 * channels,
        ("batch", "skipinit"): convolutions + classifier + 2 * channels + 9,
    }


@pytest.mark.parametrize("init", ["fixup", "skipinit"])
def test_the_sketch_counts_the_scalars(init):
    config = config_of(init=init)
    sketch = sketch_model(config)
    assert sketch.parameters == count_parameters(build_checked_model(config, 10))
    assert sum(block.parameters for block in sketch.blocks) == sketch.parameters


def test_fixup_keeps_the_biases_of_convolutions_where_they_are_asked_for():
    biased = start(init="fixup", conv_bias="always")
    assert count_parameters(biased) - count_parameters(start(init="fixup")) == 8 + 6 * (8 + 16 + 32)


def stds(model: nn.Module) -> tuple[float, float]:
    """Return the standard deviation of the maps after the stem and after the last block."""
    found = {}
    for name, child in model.named_children():
        child.register_forward_hook(
            lambda _, __, output, name=name: found.update({name: output.std().item()})
        )
    torch.manual_seed(0)
    model(torch.randn(16, 3, 32, 32))
    return found["stem"], found["stage3_block9"]


@pytest.mark.parametrize(
    ("norm", "init", "grows"),
    [
        ("none", "he", True),
        ("none", "fixup", False),
        ("none", "skipinit", False),
        ("scaled_ws", "skipinit", False),
    ],
)
def test_maps_grow_with_depth_only_where_branches_start_at_full_size(norm, init, grows):
    stem, last = stds(start("resnet56", norm, init, width=1))
    assert (last > 1000 * stem) == grows
    assert (stem / 4 < last < stem * 1.01) != grows  # zeros join as new channels


@pytest.mark.parametrize("norm", ["none", "batch", "group", "scaled_ws"])
@pytest.mark.parametrize("model", RESIDUAL)
def test_skipinit_starts_every_branch_at_zero_and_its_scalar_can_move(model, norm):
    network = start(model, norm, "skipinit", width=0.25)
    branches = [one for one in network.modules() if isinstance(one, Multiplier)] or [
        one for one in network.modules() if hasattr(one, "layer_scale")
    ]
    inputs = []
    for branch in branches:
        if isinstance(branch, Multiplier):
            branch.register_forward_hook(lambda _, __, output: inputs.append(output))
        else:
            branch.register_forward_hook(lambda _, x, output: inputs.append(output - x[0]))
    loss = F.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.arange(4))
    assert len(inputs) == len(branches) > 0
    assert not any(output.any() for output in inputs)
    loss.backward()
    scalars = [one.scalar if isinstance(one, Multiplier) else one.layer_scale for one in branches]
    assert all(scalar.shape == () and scalar.grad != 0 for scalar in scalars)


@pytest.mark.parametrize("model", RESNETS)
def test_skipinit_draws_the_weights_of_he(model):
    ours, theirs = start(model, init="skipinit").state_dict(), start(model).state_dict()
    assert ours.keys() - theirs.keys() == {name for name in ours if name.endswith("scale.scalar")}
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("init", ["fixup", "skipinit"])
@pytest.mark.parametrize("model", PLAIN)
def test_a_network_without_branches_is_refused(model, init):
    with pytest.raises(ConfigError, match=f"init={init} .* {model}"):
        sketch_model(config_of(model, init=init))


@pytest.mark.parametrize(
    ("model", "norm", "at", "problem", "remedy"),
    [
        ("convnext_tiny", "none", {}, "cannot work in convnext_tiny", "layer scale"),
        ("efficientnet_lite0", "none", {}, "cannot work in efficientnet_lite0", "no shortcut"),
        ("resnet20", "batch", {}, r"stem\.norm is batch", "init=skipinit"),
        ("resnet20", "scaled_ws", {}, r"stem\.norm is scaled_ws", "norm=none"),
        ("resnet20", "none", {"stage2_block1": "group"}, r"block1\.conv1\.norm is group", "none"),
    ],
)
def test_fixup_is_refused_where_it_has_no_rule(model, norm, at, problem, remedy):
    with pytest.raises(ConfigError, match=problem) as refusal:
        build_checked_model(config_of(model, norm, "fixup", at=at), 10)
    assert remedy in refusal.value.remedy


def test_scalars_of_fixup_learn_at_a_tenth_of_the_rate_and_do_not_decay():
    config = replace(config_of(init="fixup"), optimizer=OptimizerConfig(weight_decay=0.5))
    state = state_of(config)
    step = Step(state, settings_of(config))
    ((images, labels, _),) = batches_of(config, 1)
    classifier = state.model.classifier.linear
    with torch.no_grad():
        classifier.weight.normal_(std=0.1)
    scalars = scalars_of(state.model)
    before = [parameter.detach().clone() for parameter in (*scalars, classifier.bias)]
    step(images, labels, 0.2)
    *moved, moved_bias = zip(before, (*scalars, classifier.bias), strict=True)
    assert any(scalar.grad for scalar in scalars)
    for start_value, scalar in moved:
        torch.testing.assert_close(scalar.detach(), start_value - 0.02 * scalar.grad)
    torch.testing.assert_close(moved_bias[1].detach(), moved_bias[0] - 0.2 * moved_bias[1].grad)


def test_scalars_of_skipinit_learn_at_the_full_rate():
    groups = state_of(config_of(init="skipinit")).optimizer.param_groups
    assert all("lr_scale" not in group for group in groups)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_replayed_steps_of_fixup_leave_the_bits_of_eager_ones(name):
    config = replace(config_of(init="fixup", width=0.25), optimizer=OptimizerConfig(name=name))
    assert_equal_to_eager(config, steps=9, record=Again)


@pytest.mark.parametrize(
    ("norm", "init"), [("none", "fixup"), ("none", "skipinit"), ("scaled_ws", "skipinit")]
)
def test_deep_networks_without_a_norm_learn_at_a_rate_where_he_diverges(norm, init):
    def losses(norm, init):
        config = replace(config_of("resnet56", norm, init, width=0.25), batch_size=8)
        step = Step(state_of(config), settings_of(config))
        ((images, labels, _),) = batches_of(config, 1)
        for _ in range(16):
            step(images, labels, 0.05)
            yield step.state.totals.loss.item() / len(labels)
            step.state.totals.reset()

    learned = list(losses(norm, init))
    assert all(map(math.isfinite, learned))
    assert learned[-1] < 0.7 * math.log(10)
    assert not all(map(math.isfinite, losses("none", "he")))


@pytest.mark.parametrize("groups", [1, 2])
def test_scaled_weights_are_the_formula_of_each_filter_and_so_are_their_gradients(groups):
    conv = ScaledStandardizedConv2d(4, 6, 3, groups=groups).double()
    with torch.no_grad():
        conv.gain.normal_()
    for index, used in enumerate(conv.standardized().detach()):
        values = conv.weight[index].flatten().tolist()
        mean = sum(values) / len(values)
        variance = sum((one - mean) ** 2 for one in values) / len(values)
        gain = conv.gain[index].item()
        expected = [gain * (one - mean) / math.sqrt(len(values) * variance) for one in values]
        torch.testing.assert_close(used.flatten().tolist(), expected)
    x = torch.randn(2, 4, 5, 5).double()

    def output(weight, gain):
        return functional_call(conv, {"weight": weight, "gain": gain}, (x,))

    assert torch.autograd.gradcheck(output, [conv.weight, conv.gain], fast_mode=True)
    expected = F.conv2d(x, conv.standardized(), conv.bias, groups=groups)
    torch.testing.assert_close(conv(x), expected)


def test_nearly_equal_weights_are_not_blown_up():
    conv = ScaledStandardizedConv2d(4, 6, 3)
    with torch.no_grad():
        conv.weight.fill_(0.3)
        conv.weight[:, 0, 0, 0] += 1e-4
    assert conv.standardized().abs().max() < 0.02


def test_scaled_ws_keeps_the_variance_of_every_layer_of_a_chain():
    torch.manual_seed(0)
    block = make_norms(norm_config("scaled_ws")).for_block("block")
    x = torch.randn(8, 64, 32, 32)
    for _ in range(6):
        layers = block.conv_norm_act(64, 64, 3)
        nn.init.zeros_(layers.conv.bias)
        x = layers(x)
        assert x.var((0, 2, 3)).mean().item() == pytest.approx(1, rel=0.2)


def test_scaled_ws_has_a_gain_only_where_an_activation_follows():
    block = make_norms(norm_config("scaled_ws")).for_block("block")
    x = torch.randn(2, 8, 4, 4)
    alone, activated = block.norm(8), block.norm(8, activated=True)
    assert torch.equal(alone(x), x)
    gain = math.sqrt(2 / (1 - 1 / math.pi))
    torch.testing.assert_close(F.relu(activated(x)), gain * F.relu(x))


def test_every_arm_is_a_run_of_its_own():
    arms = [("none", init) for init in ("he", "torch", "fixup", "skipinit")] + [("scaled_ws", "he")]
    assert len({run_id(config_of(norm=norm, init=init)) for norm, init in arms}) == len(arms)
