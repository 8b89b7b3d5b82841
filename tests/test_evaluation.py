"""Three ways to evaluate BatchNorm, against its formulas and PyTorch's own `update_bn`."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from nnexp import experiment
from nnexp.compare.metrics import metric_of
from nnexp.data import batch_sizes, epoch_plan, load_images, normalized
from nnexp.norms import norm_layers
from nnexp.probes import evaluate_with_other_statistics
from nnexp.probes.population import (
    ORDER_KEY,
    population_statistics,
    shuffled,
    statistics_distances,
)
from nnexp.settings import ConfigError, EvaluationConfig, NormConfig, run_id
from nnexp.training import evaluate, start_state

CPU = torch.device("cpu")
METRICS = (
    "population_test_accuracy",
    "batch_test_accuracy",
    "population_gap",
    "batch_gap",
    "running_mean_distance",
    "running_var_distance",
)


def evaluated(config, **settings):
    return replace(config, evaluation=EvaluationConfig(population_images=100, **settings))


@pytest.fixture
def trained(tiny):
    """Images, settings, and a network whose running statistics are not yet those of its weights."""
    config = evaluated(tiny)
    images = load_images(config.data)
    model = start_state(config, len(images.classes), CPU).model
    torch.manual_seed(1)
    for _, layer in norm_layers(model):
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    return images, config, model


def everything(model):
    state = {name: values.clone() for name, values in model.state_dict().items()}
    return state, [module.training for module in model.modules()]


def test_population_statistics_are_those_of_the_chosen_images_in_one_batch(trained):
    images, config, model = trained
    exact = population_statistics(model, images, config)
    chosen = shuffled(images.train, 100)
    x = normalized(chosen.images, images.mean, images.std)
    for path, layer in norm_layers(model):
        layer.register_forward_pre_hook(lambda _, inputs, path=path: seen.update({path: inputs[0]}))
    seen = {}
    model.train()
    next(module for module in model.modules() if isinstance(module, nn.Dropout)).eval()
    model(x)
    assert exact.keys() == seen.keys()
    for path, x_NCHW in seen.items():
        mean, variance = exact[path]
        # PyTorch's kernel adds 100 × 32 × 32 values up in float32.
        torch.testing.assert_close(mean, x_NCHW.double().mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
        exact_variance = x_NCHW.double().var((0, 2, 3), correction=0)
        torch.testing.assert_close(variance, exact_variance, rtol=1e-4, atol=1e-5)


def test_over_several_batches_means_are_pytorchs_and_variances_have_the_spread_of_means(
    trained, monkeypatch
):
    monkeypatch.setattr("nnexp.probes.population.EVALUATION_BATCH", 25)
    images, config, model = trained
    exact = population_statistics(model, images, config)
    chosen = shuffled(images.train, 100)
    batches = normalized(chosen.images, images.mean, images.std)
    model.eval()
    order = epoch_plan(ORDER_KEY, 0, 100).order
    update_bn(batches[order].split(25), model)  # its cumulative average of the same four batches
    first, layer = norm_layers(model)[0]
    torch.testing.assert_close(exact[first][0].float(), layer.running_mean, rtol=1e-4, atol=1e-5)
    x_NCHW = model.get_submodule(first.removesuffix("norm") + "conv")(batches)
    variance = x_NCHW.double().var((0, 2, 3), correction=0)  # before this layer nothing is a norm's
    torch.testing.assert_close(exact[first][1], variance, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(layer.running_var.double(), variance, rtol=1e-3)


def test_short_last_batch_counts_as_many_images_as_it_has(trained, monkeypatch):
    monkeypatch.setattr("nnexp.probes.population.EVALUATION_BATCH", 40)
    images, config, model = trained
    mean, variance = population_statistics(model, images, config)["conv1.norm"]
    chosen = normalized(shuffled(images.train, 100).images, images.mean, images.std)
    x_NCHW = model.get_submodule("conv1.conv")(chosen).double()  # before it nothing is a norm's
    torch.testing.assert_close(mean, x_NCHW.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    exact_variance = x_NCHW.var((0, 2, 3), correction=0)
    torch.testing.assert_close(variance, exact_variance, rtol=1e-4, atol=1e-5)


def test_accuracy_with_population_statistics_is_the_one_after_they_are_stored(trained):
    images, config, model = trained
    measured = evaluate_with_other_statistics(model, images, config, 0.75)
    for path, (mean, variance) in population_statistics(model, images, config).items():
        layer = model.get_submodule(path)
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)
    expected = evaluate(model, images.test, images, "fp32")[1]
    assert measured["population_test_accuracy"] == expected
    assert measured["population_gap"] == expected - 0.75
    again = statistics_distances(model, population_statistics(model, images, config))
    assert again["running_mean_distance"] < 1e-6 < measured["running_mean_distance"]
    assert again["running_var_distance"] < 1e-6 < measured["running_var_distance"]


def test_distances_are_in_standard_deviations_and_in_logarithms(trained):
    images, config, model = trained
    exact = population_statistics(model, images, config)
    for path, layer in norm_layers(model):
        mean, variance = exact[path]
        sides = torch.tensor([1, -1]).repeat(layer.num_features // 2)
        layer.running_mean.copy_(mean + 3 * sides * (variance + layer.eps).sqrt())
        layer.running_var.copy_((variance + layer.eps) * 2.0**sides - layer.eps)
    away = statistics_distances(model, exact)
    assert away["running_mean_distance"] == pytest.approx(3, rel=1e-5)
    assert away["running_var_distance"] == pytest.approx(0.6931472, rel=1e-5)


@pytest.mark.parametrize("size", [None, 3, 39])
def test_batch_accuracy_is_that_of_a_plain_loop_in_training_mode(trained, size):
    images, config, model = trained
    config = evaluated(config, batch_size=size)
    measured = evaluate_with_other_statistics(model, images, config, 0.0)
    test = shuffled(images.test)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    right, sizes = 0, batch_sizes(len(test), size or config.batch_size)
    for part, labels in zip(test.images.split(sizes), test.labels.split(sizes), strict=True):
        logits = model(normalized(part, images.mean, images.std))
        right += int((logits.argmax(1) == labels).sum())
    assert measured["batch_test_accuracy"] == right / len(test)
    assert measured["batch_gap"] == right / len(test) - measured["population_test_accuracy"]
    assert sorted(test.labels.tolist()) == sorted(images.test.labels.tolist())


@pytest.mark.parametrize("stops", [False, True])
def test_evaluating_leaves_the_network_as_it_was_even_where_it_is_stopped(trained, stops):
    images, config, model = trained
    model.train()
    next(iter(model.children())).eval()
    before, modes = everything(model)
    calls = iter([*[None] * 3, KeyboardInterrupt])

    def after_batch():
        if stops and next(calls) is KeyboardInterrupt:
            raise KeyboardInterrupt

    try:
        evaluate_with_other_statistics(model, images, config, 0.0, after_batch)
    except KeyboardInterrupt:
        assert stops
    after, modes_after = everything(model)
    assert modes_after == modes
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_run_has_the_columns_and_learns_the_same_without(tiny, tmp_path):
    with_them = experiment.run(evaluated(tiny))
    without = experiment.run(replace(tiny, runs_dir=str(tmp_path / "plain")))
    assert set(with_them.result) - set(without.result) == set(METRICS)
    assert run_id(evaluated(tiny)) == run_id(tiny)
    for table in ("metrics", "traces"):
        mine, other = (getattr(one.run, table).read_bytes() for one in (with_them, without))
        assert mine == other
    assert with_them.result["test_accuracy"] == without.result["test_accuracy"]
    assert with_them.result["running_var_distance"] > 0


def test_norm_without_stored_statistics_is_evaluated_in_one_way(tiny):
    result = experiment.run(evaluated(replace(tiny, norm=NormConfig(name="group")))).result
    assert {result[f"{kind}test_accuracy"] for kind in ("", "population_", "batch_")} == {
        result["test_accuracy"]
    }
    assert result["population_gap"] == result["batch_gap"] == 0
    assert result["running_mean_distance"] is None


def test_images_of_the_population_may_be_augmented(trained):
    images, config, model = trained
    clean = population_statistics(model, images, config)
    augmented = population_statistics(model, images, evaluated(config, augment=True))
    assert any(not torch.equal(clean[path][0], augmented[path][0]) for path in clean)


def test_one_image_has_no_statistics_of_a_batch():
    with pytest.raises(ConfigError):
        EvaluationConfig(batch_size=1)


def test_only_the_accuracies_have_a_better_side():
    assert [metric_of(name).better for name in METRICS] == [1, 1, 0, 0, 0, 0]
