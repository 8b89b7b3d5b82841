import copy
import csv
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tables import ARCHITECTURES
from test_resume import Notes

from nnexp import experiment
from nnexp.compare import read_rows
from nnexp.compare.metrics import metric_of
from nnexp.data import load_images
from nnexp.norms import NORMS
from nnexp.probes import (
    SMALLEST,
    ProbeRow,
    StepProbe,
    gradient_spread,
    probe_batch,
    probe_steps,
    shift_layers,
    summarize_probes,
)
from nnexp.rundir import RunDir
from nnexp.settings import ConfigError, ModelConfig, NormConfig, ProbeConfig, TraceConfig, run_id
from nnexp.training import Step, StepSettings, start_state

CPU = torch.device("cpu")
STORING = [name for name, kind in NORMS.items() if kind.statistic and kind.statistic.stored]
FIGURES = (
    "clean_train_accuracy",
    "generalization_gap",
    "covariate_shift",
    "shift_cosine",
    "matched_shift",
    "activation_drift",
    "effective_rate",
    "gradient_spread",
    "initial_gradient_spread",
    "scaled_gradient_spread",
    "initial_scaled_gradient_spread",
    "dead_channels",
)


@pytest.fixture
def probed(tiny):
    return replace(tiny, probe=ProbeConfig(points=5, images=24))


def rows_of(run: RunDir) -> list[dict[str, str]]:
    with run.probes.open() as file:
        return list(csv.DictReader(file))


def probe_one_step(config, rate: float):
    """Take one probed step; return the networks before and after, the batch, and the rows."""
    images = load_images(config.data)
    state = start_state(config, 10, CPU)
    state.model.train()
    batch = probe_batch(images, 24)
    probe = StepProbe(batch, steps=frozenset({0}), steps_per_epoch=8, seed=0)
    before = copy.deepcopy(state.model)
    with probe.watching(state):
        Step(state, StepSettings(seed=0))(batch.images[:16], batch.labels[:16], rate)
    rows = {(row.layer, row.quantity): row.value for row in probe.drain()}
    return before, copy.deepcopy(state.model), batch, rows


def gradient_by_hand(model, layer: str, batch) -> torch.Tensor:
    model.zero_grad()
    F.cross_entropy(model(batch.images), batch.labels).backward()
    return model.get_parameter(f"{layer}.weight").grad.double().flatten()


@pytest.mark.parametrize("norm", [*STORING, "group", "none"])
def test_probing_changes_no_byte_of_what_is_learned_or_traced(tiny, norm, tmp_path):
    """In two epochs, each with a short last batch, of which the probe looks into three steps.

    The test below has every norm.
    """
    kept = {}
    for points in (0, 3):
        config = replace(
            tiny,
            norm=NormConfig(name=norm),
            data=replace(tiny.data, train_images=60),
            epochs=2,
            probe=ProbeConfig(points=points, images=12, similarity=True, landscape=True),
            runs_dir=str(tmp_path / f"points{points}"),
        )
        run = experiment.run(config).run
        assert run.probes.exists() == (points > 0)
        files = (run.metrics, run.traces, run.channels, run.checkpoint / "weights.safetensors")
        kept[points] = [file.read_bytes() for file in files]
    assert kept[0] == kept[3]


@pytest.mark.parametrize(
    ("norm", "implementation"),
    [(name, "torch") for name in NORMS]
    + [(name, "reference") for name, kind in NORMS.items() if kind.reference],
)
def test_network_gradients_optimizer_and_generator_are_left_as_without_a_probe(
    tiny, norm, implementation
):
    config = replace(tiny, norm=NormConfig(name=norm, implementation=implementation))
    batch = probe_batch(load_images(config.data), 12)
    left = []
    for steps in (frozenset(), frozenset({0, 1})):
        state = start_state(config, 10, CPU)
        state.model.train()
        probe = StepProbe(
            batch, steps=steps, steps_per_epoch=8, seed=0, similarity=True, landscape=True
        )
        for _ in range(2):
            with probe.watching(state):
                Step(state, StepSettings(seed=0))(batch.images, batch.labels, 0.1)
        assert bool(probe.drain()) == bool(steps)
        assert all(module.training for module in state.model.modules())
        assert not any(module._forward_hooks for module in state.model.modules())
        slots = [slot for one in state.optimizer.state.values() for slot in one.values()]
        gradients = [p.grad for p in state.model.parameters()]
        left.append([*state.model.state_dict().values(), *gradients, *slots, torch.get_rng_state()])
    assert len(left[0]) == len(left[1])
    assert all(torch.equal(one, other) for one, other in zip(*left, strict=True))


@pytest.mark.parametrize("norm", ["batch", "layer_chw", "none"])
@pytest.mark.parametrize("layer", ["conv2.conv", "conv3.conv", "dense"])
def test_covariate_shift_is_that_of_definition_2_1_by_hand(tiny, norm, layer):
    """Only what stands before the layer is taken from after the step."""
    model = replace(tiny.model, dropout=0.0)
    old, new, batch, rows = probe_one_step(
        replace(tiny, model=model, norm=NormConfig(name=norm)), rate=0.3
    )
    mixed = copy.deepcopy(old)
    for name, child in new.named_children():
        if name == layer.partition(".")[0]:
            break
        mixed.get_submodule(name).load_state_dict(child.state_dict())
    g, h = (gradient_by_hand(network, layer, batch) for network in (old, mixed))
    shift = ((g - h).norm() / g.norm()).item()
    assert shift > 0.01
    assert rows[layer, "covariate_shift"] == pytest.approx(shift, rel=1e-3)
    assert rows[layer, "shift_cosine"] == pytest.approx((g @ h / (g.norm() * h.norm())).item())
    assert rows[layer, "gradient_norm"] == pytest.approx(g.norm().item(), rel=1e-4)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_drift_update_and_deviation_are_those_of_the_formulas(tiny, norm):
    model = replace(tiny.model, dropout=0.0)
    old, new, batch, rows = probe_one_step(
        replace(tiny, model=model, norm=NormConfig(name=norm)), rate=0.3
    )
    loss = F.cross_entropy(copy.deepcopy(old).eval()(batch.images), batch.labels).item()
    assert rows["", "loss"] == pytest.approx(loss)
    seen = []
    with torch.no_grad():
        for network in (old, new):
            seen.append(network[:2](batch.images).double().transpose(0, 1).flatten(1))
        output = old.conv1.conv(batch.images)
    (x, y), weights = seen, [m.conv2.conv.weight.detach().double() for m in (old, new)]
    drift = ((y.mean(1) - x.mean(1)).abs() / x.std(1)).mean().item()
    assert rows["conv2.conv", "activation_drift"] == pytest.approx(drift, rel=1e-3)
    ratio = ((weights[1] - weights[0]).norm() / weights[0].norm()).item()
    assert rows["conv2.conv", "update_ratio"] == pytest.approx(ratio, rel=1e-5)
    assert rows["conv1.conv", "activation_std"] == pytest.approx(output.std().item(), rel=1e-5)
    relative = rows["conv2.conv", "gradient_norm"] / weights[0].norm().item()
    assert rows["conv2.conv", "relative_gradient"] == pytest.approx(relative)


def test_step_that_moves_nothing_shifts_nothing(tiny):
    *_, rows = probe_one_step(tiny, rate=0.0)
    moved = ("covariate_shift", "matched_shift", "activation_drift", "update_ratio")
    assert [value for (_, quantity), value in rows.items() if quantity in moved] == [0.0] * 15
    cosines = [value for (_, quantity), value in rows.items() if quantity == "shift_cosine"]
    assert cosines == pytest.approx([1.0] * 3)


@pytest.mark.parametrize("model", ARCHITECTURES)
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_every_weight_layer_of_every_model_is_probed(probed, model, norm):
    residual = model in ("resnet18", "convnext_tiny", "efficientnet_lite0")
    dropped = {"stochastic_depth" if residual else "dropout": 0.2}
    config = replace(
        probed,
        model=ModelConfig(name=model, width=0.125, **dropped),
        norm=NormConfig(name=norm),
        data=replace(probed.data, train_images=32, val_images=10, test_images=10),
        trace=TraceConfig(points=0),
        probe=ProbeConfig(points=2, images=8),
        epochs=1,
    )
    outcome = experiment.run(config)
    assert outcome.status == "done"
    network = start_state(config, 10, CPU).model
    layers = [
        path
        for path, module in network.named_modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))
    ]
    rows = rows_of(outcome.run)
    for step in ("0", "1"):
        here = {(row["layer"], row["quantity"]): row for row in rows if row["step"] == step}
        assert {layer for layer, what in here if what == "gradient_norm"} == set(layers)
        assert len([1 for _, what in here if what == "activation_drift"]) == len(layers) - 1
    assert all(math.isfinite(float(row["value"])) for row in rows)
    assert abs(outcome.result["shift_cosine"]) <= 1.0001


def test_rows_stand_at_the_steps_asked_for_in_their_order(probed):
    run = experiment.run(probed).run
    steps = [int(row["step"]) for row in rows_of(run)]
    assert steps == sorted(steps)
    assert set(steps) == probe_steps(24, 5)
    epochs = {row["step"]: row["epoch"] for row in rows_of(run)}
    assert (epochs["0"], epochs["23"]) == ("0", "2")


@pytest.mark.parametrize("total", [1, 2, 7, 240, 100_000])
@pytest.mark.parametrize("points", [1, 2, 3, 20])
def test_probe_steps_run_from_the_first_step_to_the_last(total, points):
    steps = probe_steps(total, points)
    assert total - 1 in steps
    assert points == 1 or 0 in steps
    assert len(steps) <= points
    assert probe_steps(total, 0) == frozenset()


def test_shift_is_measured_at_first_middle_and_last_hidden_layer_that_has_one_before_it():
    assert shift_layers(list("abcdefg")) == ["b", "d", "f"]
    assert shift_layers(list("abc")) == ["b"]
    assert shift_layers(list("ab")) == ["b"]
    assert shift_layers(["a"]) == []


def test_probe_batch_is_of_training_images_as_they_are_and_no_seed_changes_it(tiny):
    images = load_images(tiny.data)
    batch = probe_batch(images, 24)
    std, mean = (np.array(x).reshape(3, 1, 1) for x in (images.std, images.mean))
    pictures = {(image.double().numpy() / 255).tobytes() for image in images.train.images}
    back = np.round((batch.images.double().numpy() * std + mean) * 255) / 255
    assert len({picture.tobytes() for picture in back}) == 24
    assert {picture.tobytes() for picture in back} <= pictures
    assert len(set(batch.labels.tolist())) > 4
    assert len(probe_batch(images, 1000).labels) == 120


@pytest.mark.parametrize("batch_size", [2, 60])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_run_in_either_precision_with_any_batch_size_is_probed(probed, batch_size, precision):
    config = replace(probed, batch_size=batch_size, precision=precision, epochs=1)
    outcome = experiment.run(replace(config, probe=ProbeConfig(points=2, images=16)))
    assert outcome.status == "done"
    assert all(math.isfinite(outcome.result[figure]) for figure in FIGURES)


def test_diverging_run_keeps_its_status_and_its_rows(probed):
    wild = replace(
        probed,
        norm=NormConfig(name="none"),
        optimizer=replace(probed.optimizer, learning_rate=1e10),
        probe=ProbeConfig(points=24, images=24),
    )
    outcome = experiment.run(wild)
    assert outcome.status == "diverged"
    assert not all(math.isfinite(float(row["value"])) for row in rows_of(outcome.run))
    assert outcome.result["clean_train_accuracy"] is None
    assert outcome.result["generalization_gap"] is None
    assert outcome.result["initial_gradient_spread"] > 0


def test_figures_are_in_the_result_of_a_probed_run_alone(tiny, probed, tmp_path):
    outcome = experiment.run(probed)
    with_probes = outcome.result
    without = experiment.run(replace(tiny, runs_dir=str(tmp_path / "plain"))).result
    assert set(with_probes) - set(without) == set(FIGURES)
    assert with_probes["mean_val_accuracy"] == without["mean_val_accuracy"]
    gap = with_probes["clean_train_accuracy"] - with_probes["test_accuracy"]
    assert with_probes["generalization_gap"] == gap
    train = load_images(probed.data).train
    predicted = experiment.load_model(outcome.run).predict(train.images).argmax(dim=1)
    right = (predicted == train.labels).sum().item()
    assert with_probes["clean_train_accuracy"] == right / len(train)


def test_probed_runs_and_others_are_read_together(tiny, probed, tmp_path):
    experiment.run(replace(probed, epochs=1))
    experiment.run(replace(tiny, epochs=1, norm=NormConfig(name="none")))
    rows = {row["norm"]: row for row in read_rows([tiny.runs_dir])}
    assert rows["batch"]["covariate_shift"] > 0
    assert rows["none"].get("covariate_shift") is None


def test_no_probed_figure_but_an_accuracy_has_a_better_side():
    better = {figure: metric_of(figure).better for figure in FIGURES}
    assert better.pop("clean_train_accuracy") == 1
    assert set(better.values()) == {0}
    assert metric_of("mean_val_accuracy").better == 1


def test_mean_val_accuracy_is_the_mean_over_the_epochs(tiny):
    outcome = experiment.run(tiny)
    with outcome.run.metrics.open() as file:
        accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    assert outcome.result["mean_val_accuracy"] == pytest.approx(sum(accuracies) / 3)


def test_gradient_spread_is_the_decades_between_hidden_layers():
    assert gradient_spread([1.0, 0.001, 0.1, 9e9]) == pytest.approx(3)
    assert gradient_spread([1.0, 0.0, 5.0]) == pytest.approx(-math.log10(SMALLEST))
    for unknown in ([0.0, 0.0, 1.0], [1.0, math.nan, 1.0], [1.0, math.inf, 1.0], [1.0, 1.0], []):
        assert gradient_spread(unknown) is None


def test_figures_are_medians_over_what_is_finite():
    values = [(0, 1.0), (1, 3.0), (2, math.inf), (3, 8.0), (4, math.nan)]
    rows = [ProbeRow(0, step, "a", "covariate_shift", value) for step, value in values]
    figures = summarize_probes([asdict(row) for row in rows])
    assert figures["covariate_shift"] == 3.0
    assert figures["shift_cosine"] is None


def test_dead_channels_of_a_run_are_those_of_its_last_probed_step():
    values = [(0, 0.5), (9, 0.25), (9, 0.0), (9, math.nan)]
    rows = [ProbeRow(0, step, "a", "dead_channels", value) for step, value in values]
    assert summarize_probes([asdict(row) for row in rows])["dead_channels"] == 0.125


def test_settings_of_the_probe_are_checked_and_do_not_name_the_run(tiny, probed):
    assert run_id(tiny) == run_id(probed)
    with pytest.raises(ConfigError, match=r"probe\.images cannot be 1"):
        ProbeConfig(images=1)
    with pytest.raises(ConfigError, match=r"probe\.points cannot be -1"):
        ProbeConfig(points=-1)


def test_run_asked_again_with_other_probes_says_that_it_keeps_its_own(probed):
    run = experiment.run(probed).run
    before = Path(run.probes).read_bytes()
    notes = Notes()
    experiment.run(replace(probed, probe=ProbeConfig(points=9)), [notes])
    (line,) = notes.lines
    assert "began with probe.points=5 probe.images=24 and keeps them" in line
    assert run.probes.read_bytes() == before
