"""The quantities of docs/probes.md, computed a second time: by plain loops, copies, and numpy."""

import copy
import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnexp import experiment
from nnexp.compare.metrics import METRICS
from nnexp.data import load_images
from nnexp.models import MODELS
from nnexp.norms import NORMS, NormSpec, make_norms
from nnexp.probes import StepProbe, probe_batch, summarize_probes
from nnexp.probes.activations import note_norm, note_similarity
from nnexp.probes.time_points import TimePoint
from nnexp.probes.weights import normalized_by_filter
from nnexp.settings import ModelConfig, NormConfig, OptimizerConfig, ProbeConfig, from_yaml, to_yaml
from nnexp.training import Step, StepSettings, seed_random_layers, start_state

CPU = torch.device("cpu")
RATE, MOMENTUM = 0.3, 0.6
LAYERS = ("conv1.conv", "conv2.conv", "conv3.conv", "dense", "classifier")
ON_REQUEST = {
    "activation_similarity",
    "effective_rank",
    "loss_range",
    "gradient_predictiveness",
    "effective_smoothness",
}


class Probed:
    """One probed step: the networks before and after it, the batch, and what was noted."""

    def __init__(self, config, rate=RATE, **asked):
        images = load_images(config.data)
        state = start_state(config, 10, CPU)
        state.model.train()
        self.batch = probe_batch(images, 24)
        probe = StepProbe(self.batch, steps=frozenset({0}), steps_per_epoch=8, seed=0, **asked)
        self.old = copy.deepcopy(state.model)
        with probe.watching(state):
            Step(state, StepSettings(seed=0))(self.batch.images[:16], self.batch.labels[:16], rate)
        self.new = copy.deepcopy(state.model)
        self.rows = {(row.layer, row.quantity): row.value for row in probe.drain()}

    def loss(self, model):
        """Return the loss on the batch in training mode, with the dropout of the step."""
        seed_random_layers(0, 0, CPU)
        return F.cross_entropy(model(self.batch.images), self.batch.labels)

    def gradients(self, model):
        """Return loss and gradients of a copy, so that no buffer of the model moves."""
        model = copy.deepcopy(model)
        loss = self.loss(model)
        loss.backward()
        return loss.item(), {name: p.grad.double() for name, p in model.named_parameters()}


@pytest.fixture
def probed(tiny):
    def probe(norm="batch", rate=RATE, asked=(), **others):
        optimizer = replace(tiny.optimizer, momentum=MOMENTUM)
        norm = NormConfig(name=norm) if isinstance(norm, str) else norm
        config = replace(tiny, norm=norm, optimizer=optimizer)
        return Probed(replace(config, **others), rate, **dict.fromkeys(asked, True))

    return probe


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_scaled_gradient_is_the_product_of_two_lengths(probed, norm):
    one = probed(norm)
    _, gradients = one.gradients(one.old)
    for layer in LAYERS:
        name = f"{layer}.weight"
        expected = (gradients[name].norm() * one.old.get_parameter(name).double().norm()).item()
        assert one.rows[layer, "scaled_gradient"] == pytest.approx(expected, rel=1e-4)


def test_scaled_gradient_stays_where_a_weight_before_a_norm_is_scaled(tiny):
    """As `gradient_norm` and `relative_gradient` do not."""
    images, noted = load_images(tiny.data), []
    for factor in (1.0, 0.1):
        config = replace(tiny, norm=NormConfig(name="batch", eps=1e-12))
        state = start_state(config, 10, CPU)
        state.model.train()
        with torch.no_grad():
            state.model.get_parameter("conv2.conv.weight").mul_(factor)
        batch = probe_batch(images, 24)
        probe = StepProbe(batch, steps=frozenset({0}), steps_per_epoch=8, seed=0)
        with probe.watching(state):
            pass
        rows = {(row.layer, row.quantity): row.value for row in probe.drain()}
        noted.append(rows)
    whole, scaled = noted
    at = ("conv2.conv", "scaled_gradient")
    assert scaled[at] == pytest.approx(whole[at], rel=1e-4)
    relative = ("conv2.conv", "relative_gradient")
    assert scaled[relative] == pytest.approx(100 * whole[relative], rel=1e-3)
    rate = ("conv2.conv", "effective_rate")
    assert scaled[rate] == pytest.approx(100 * whole[rate], rel=1e-5)


@pytest.mark.parametrize("norm", ["batch", "instance", "layer", "none"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_effective_rate_is_the_rate_over_the_squared_length_of_a_filter_or_a_layer(
    tiny, probed, norm, optimizer
):
    one = probed(norm, optimizer=OptimizerConfig(name=optimizer, momentum=MOMENTUM))
    rate = RATE / (1 - MOMENTUM) if optimizer == "sgd" else RATE
    for layer in LAYERS:
        weight = one.old.get_parameter(f"{layer}.weight").detach().double().numpy()
        if norm in ("batch", "instance") and layer.startswith("conv"):
            expected = np.mean([rate / (part**2).sum() for part in weight])
        else:
            expected = rate / (weight**2).sum()
        assert one.rows[layer, "effective_rate"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_rate_is_that_of_filters_exactly_where_no_gradient_changes_a_filter_s_length(probed, norm):
    """⟨w_k, ∇L_k⟩ is 0 for each filter where its length is lost, and in no other norm."""
    one = probed(norm=NormConfig(name=norm, eps=1e-12, batch_size=8))
    _, gradients = one.gradients(one.old)
    name = "conv2.conv.weight"
    weight, gradient = one.old.get_parameter(name).detach().double(), gradients[name]
    along = (weight * gradient).flatten(1).sum(1).abs()
    cosine = (along / (weight.flatten(1).norm(dim=1) * gradient.flatten(1).norm(dim=1))).max()
    by_filter = (one.rows["conv2.conv", "effective_rate"]) == pytest.approx(
        np.mean([RATE / (1 - MOMENTUM) / (part**2).sum() for part in weight.numpy()]), rel=1e-5
    )
    assert by_filter == (cosine.item() < 1e-3), cosine.item()


@pytest.mark.parametrize("norm", ["batch", "layer_chw", "none"])
@pytest.mark.parametrize("layer", ["conv2.conv", "conv3.conv", "dense"])
@pytest.mark.parametrize("rate", [0.3, 0.003])
def test_matched_shift_moves_every_earlier_layer_by_a_thousandth(probed, norm, layer, rate):
    one = probed(norm, rate)
    mixed = copy.deepcopy(one.old)
    for block in ("conv1", "conv2", "conv3"):
        if layer.startswith(block):
            break
        before, after = (
            dict(model.get_submodule(block).named_parameters()) for model in (one.old, one.new)
        )
        weight = before["conv.weight"].detach().double()
        moved = after["conv.weight"].detach().double() - weight
        factor = 0.001 * weight.norm().item() / moved.norm().item()
        with torch.no_grad():
            for name, parameter in mixed.get_submodule(block).named_parameters():
                parameter.add_(factor * (after[name] - before[name]))
    g, h = (one.gradients(model)[1][f"{layer}.weight"] for model in (one.old, mixed))
    expected = ((g - h).norm() / g.norm()).item()
    assert expected > 1e-4
    assert one.rows[layer, "matched_shift"] == pytest.approx(expected, rel=5e-3)


def test_matched_shift_hardly_depends_on_the_learning_rate_where_the_shift_does(probed):
    quick, slow = probed(rate=0.3).rows, probed(rate=0.003).rows
    at = "conv3.conv"
    assert quick[at, "covariate_shift"] > 5 * slow[at, "covariate_shift"]
    assert quick[at, "matched_shift"] == pytest.approx(slow[at, "matched_shift"], rel=0.1)


def test_percentiles_of_a_norm_are_those_of_its_maps(probed):
    one = probed("batch")
    with torch.no_grad():
        given = copy.deepcopy(one.old).conv1.conv(one.batch.images)
        output = copy.deepcopy(one.old).conv1.norm(given)
    for side, values in (("input", given), ("output", output)):
        for percent in (1, 20, 80, 99):
            noted = one.rows["conv1.norm", f"{side}_p{percent}"]
            exact = np.percentile(values.numpy(), percent)
            # 24 × 8 × 32 × 32 values: every fifth is taken
            assert noted == pytest.approx(exact, abs=0.02 * values.std().item())
            places = range(0, values.numel(), 5)
            assert noted == pytest.approx(
                np.percentile(values.flatten()[places].numpy(), percent), abs=1e-5
            )


def test_dead_channels_are_those_that_no_position_of_any_image_activates(tiny):
    state = start_state(tiny, 10, CPU)
    state.model.train()
    with torch.no_grad():
        state.model.conv2.norm.bias[:4] = -100.0
    batch = probe_batch(load_images(tiny.data), 24)
    probe = StepProbe(batch, steps=frozenset({0}), steps_per_epoch=8, seed=0)
    with probe.watching(state):
        pass
    rows = {row.layer: row.value for row in probe.drain() if row.quantity == "dead_channels"}
    channels = state.model.conv2.norm.num_features
    assert rows == {"conv1.norm": 0.0, "conv2.norm": 4 / channels, "conv3.norm": 0.0}


@pytest.mark.parametrize("activated", [True, False])
def test_channel_is_dead_where_nothing_is_above_0_and_an_activation_follows(activated):
    maps = torch.zeros(2, 3, 2, 2)
    maps[0, 1, 1, 1], maps[:, 2] = 1.0, -1.0
    spec = NormSpec(norm="batch", block="a", channels=3, config=NormConfig(), activated=activated)
    point = TimePoint(0, 0)
    note_norm(point, "a", spec, maps, maps)
    noted = dict(zip(point.names, point.values, strict=True)).get(("a", "dead_channels"))
    assert noted == (pytest.approx(2 / 3) if activated else None)


def test_image_whose_activations_are_all_0_is_no_part_of_similarity_and_rank():
    point = TimePoint(0, 0)
    note_similarity(point, "a", torch.tensor([[3.0, 0.0], [0.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
    assert [value.item() for value in point.values] == pytest.approx([1 / 3, 9 / 5])


@pytest.mark.parametrize(("between", "found"), [(nn.Identity(), {"0"}), (nn.Tanh(), set())])
def test_norm_behind_an_activation_does_not_make_lengths_of_filters_lost(between, found):
    norm = make_norms(NormConfig(name="batch")).for_block("a").norm(8)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), between, norm)
    assert normalized_by_filter(model, ["0", "1", "2"]) == found


def test_drift_is_the_mean_over_the_channels_that_are_not_0_everywhere(tiny):
    config = replace(tiny, model=replace(tiny.model, dropout=0.0))
    batch = probe_batch(load_images(config.data), 24)
    state = start_state(config, 10, CPU)
    state.model.train()
    with torch.no_grad():
        state.model.conv2.norm.bias[:4] = -100.0
    probe = StepProbe(batch, steps=frozenset({0}), steps_per_epoch=8, seed=0)
    old = copy.deepcopy(state.model)
    with probe.watching(state):
        Step(state, StepSettings(seed=0))(batch.images, batch.labels, 0.3)
    rows = {(row.layer, row.quantity): row.value for row in probe.drain()}
    with torch.no_grad():
        networks = (old, copy.deepcopy(state.model))
        x, y = (one[:4](batch.images).double().transpose(0, 1).flatten(1) for one in networks)
    alive = x.std(1) > 0
    assert 0 < alive.sum() == len(alive) - 4
    drift = ((y.mean(1) - x.mean(1)).abs() / x.std(1))[alive].mean().item()
    assert rows["conv3.conv", "activation_drift"] == pytest.approx(drift, rel=1e-3)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_similarity_and_rank_are_those_of_pairs_of_images(probed, norm):
    one = probed(norm, asked=["similarity"])
    model, x = copy.deepcopy(one.old), one.batch.images
    seed_random_layers(0, 0, CPU)
    with torch.no_grad():
        for name, part in model.named_children():
            x = part(x)
            if (name, "effective_rank") in one.rows:
                _check_similarity(one.rows, name, x.flatten(1).double().numpy().copy())
    blocks = {layer for layer, quantity in one.rows if quantity == "effective_rank"}
    assert blocks == {"conv1", "conv2", "conv3", "dense", "classifier"}


def _check_similarity(rows, name, x):
    count = len(x)
    cosines = [
        x[i] @ x[j] / math.sqrt((x[i] @ x[i]) * (x[j] @ x[j]))
        for i in range(count)
        for j in range(count)
        if i != j
    ]
    assert rows[name, "activation_similarity"] == pytest.approx(np.mean(cosines), abs=1e-5)
    singular = np.linalg.svd(x / np.linalg.norm(x, axis=1, keepdims=True), compute_uv=False)
    rank = (singular**2).sum() ** 2 / (singular**4).sum()
    assert 1 <= rank <= count
    assert rows[name, "effective_rank"] == pytest.approx(rank, rel=1e-4)


@pytest.mark.parametrize("norm", ["batch", "layer_chw", "none"])
def test_landscape_is_that_of_copies_stepped_by_hand(probed, norm):
    one = probed(norm, asked=["landscape"])
    _, g = one.gradients(one.old)
    size = math.sqrt(sum(part.square().sum().item() for part in g.values()))
    losses, changes, ratios = [], [], []
    for rate in (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64):
        model = copy.deepcopy(one.old)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.sub_(rate * g[name].float())
        loss, there = one.gradients(model)
        losses.append(loss)
        changes.append(math.sqrt(sum((g[k] - there[k]).square().sum().item() for k in g)))
        ratios.append(changes[-1] / (rate * size))
    noted = {what: value for (layer, what), value in one.rows.items() if layer == ""}
    assert max(losses) - min(losses) > 0.01
    assert noted["lowest_loss"] == pytest.approx(min(losses), rel=1e-3)
    assert noted["highest_loss"] == pytest.approx(max(losses), rel=1e-3)
    assert noted["loss_range"] == pytest.approx(max(losses) - min(losses), rel=1e-3)
    assert noted["gradient_predictiveness"] == pytest.approx(max(changes), rel=1e-3)
    assert noted["effective_smoothness"] == pytest.approx(max(ratios), rel=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_all_that_can_be_asked_for_is_measured_in_every_model(tiny, model):
    images = load_images(tiny.data)
    config = replace(tiny, model=ModelConfig(name=model, width=0.125))
    state = start_state(config, 10, CPU)
    state.model.train()
    probe = StepProbe(
        probe_batch(images, 8),
        steps=frozenset({0}),
        steps_per_epoch=8,
        seed=0,
        similarity=True,
        landscape=True,
    )
    with probe.watching(state):
        pass
    rows = probe.drain()
    assert {row.quantity for row in rows} >= ON_REQUEST
    assert all(math.isfinite(row.value) for row in rows)


def test_result_has_what_was_asked_for_and_every_one_is_a_metric(tiny):
    plain = experiment.run(replace(tiny, probe=ProbeConfig(points=3, images=24))).result
    asked = replace(tiny, seed=1, probe=ProbeConfig(points=3, images=24, similarity=True))
    similar = experiment.run(asked)
    asked = replace(tiny, seed=2, probe=ProbeConfig(points=3, images=24, landscape=True))
    landscape = experiment.run(asked).result
    assert set(similar.result) - set(plain) == {"activation_similarity", "effective_rank"}
    assert set(landscape) - set(plain) == ON_REQUEST - {"activation_similarity", "effective_rank"}
    with similar.run.probes.open() as file:
        rows = list(csv.DictReader(file))
    ranks = [float(row["value"]) for row in rows if row["quantity"] == "effective_rank"]
    assert similar.result["effective_rank"] == pytest.approx(np.median(ranks))
    last = [row for row in rows if row["step"] == "23" and row["quantity"] == "dead_channels"]
    assert similar.result["dead_channels"] == np.mean([float(row["value"]) for row in last])
    assert set(METRICS) >= ON_REQUEST


def test_spread_of_scaled_gradients_leaves_out_the_classifier():
    scaled = {"a": 1.0, "b": 0.01, "c": 1e-9}
    rows = [
        {"step": step, "layer": layer, "quantity": "scaled_gradient", "value": value**power}
        for step, power in ((0, 0.5), (1, 1.0), (2, 1.0))
        for layer, value in scaled.items()
    ]
    figures = summarize_probes(rows)
    assert figures["scaled_gradient_spread"] == pytest.approx(2)
    assert figures["initial_scaled_gradient_spread"] == pytest.approx(1)
    assert figures["gradient_spread"] is None


def test_rows_and_settings_of_earlier_versions_are_read():
    old = [{"step": 0, "layer": "a", "quantity": "covariate_shift", "value": 0.25}]
    figures = summarize_probes(old)
    assert figures["covariate_shift"] == 0.25
    assert {figures[name] for name in ("matched_shift", "dead_channels", "effective_rate")} == {
        None
    }
    assert not set(figures) & ON_REQUEST
    config = replace(from_yaml("probe: {points: 5, images: 24}"))
    assert config.probe == ProbeConfig(points=5, images=24)
    assert "similarity: false" in to_yaml(config)
