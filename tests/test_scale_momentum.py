"""Running statistics that reach as many images back at every batch size."""

from dataclasses import replace

import pytest
import torch
from tables import norm_config

from nnexp.cli.show_page import policies
from nnexp.norms import NORMS, make_norms, norm_layers, spec_of
from nnexp.settings import ExperimentConfig, run_id
from nnexp.settings.compose import compose
from nnexp.training import build_checked_model

STORED = [name for name, kind in NORMS.items() if kind.statistic and kind.statistic.stored]


def start_left(norm, num_images, *, scaled, **settings):
    """Return the share of the starting variance that 1024 equal images leave."""
    config = norm_config(norm, scale_momentum=scaled, **settings)
    layer = make_norms(config, num_images).for_block("block").norm(4).double()
    for _ in range(1024 // num_images):
        layer(torch.zeros(num_images, 4, 2, 2, dtype=torch.float64))
    return layer.running_var.mean().item()


@pytest.mark.parametrize("batch_size", [2, 8, 128, 512])
@pytest.mark.parametrize("norm", STORED)
def test_as_much_is_forgotten_after_as_many_images_at_every_batch_size(norm, batch_size):
    left = start_left(norm, batch_size, scaled=True, momentum=0.2)
    assert left == pytest.approx(0.8 ** (1024 / 128))


@pytest.mark.parametrize("norm", [norm for norm in STORED if norm != "ghost"])
def test_unscaled_each_step_forgets_the_same(norm):
    assert start_left(norm, 32, scaled=False) == pytest.approx(0.9**32)


@pytest.mark.parametrize(("chunk", "batch_size"), [(8, 64), (16, 64), (64, 64), (64, 8)])
def test_ghost_counts_the_images_of_a_chunk(chunk, batch_size):
    left = start_left("ghost", batch_size, scaled=True, batch_size=chunk)
    assert left == pytest.approx(0.9 ** (1024 / 128))


def test_reference_formulas_use_the_scaled_momentum_too():
    config = norm_config("batch", scale_momentum=True, implementation="reference")
    layer = make_norms(config, 32).for_block("block").norm(4)
    assert layer.momentum == pytest.approx(1 - 0.9**0.25)


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_none_and_all_stay_what_they_are(momentum):
    config = norm_config("batch", scale_momentum=True, momentum=momentum)
    assert make_norms(config, 8).for_block("block").norm(4).momentum == momentum


def test_a_run_is_trained_with_the_momentum_of_its_batch_size():
    config = ExperimentConfig(
        norm=norm_config("batch", scale_momentum=True, at={"conv1_1": "ghost"}, batch_size=2),
        batch_size=8,
    )
    used = {
        spec_of(layer).norm: layer.momentum
        for _, layer in norm_layers(build_checked_model(config, 2))
    }
    expected = {"ghost": 1 - 0.9 ** (2 / 128), "batch": 1 - 0.9 ** (8 / 128)}
    assert used == pytest.approx(expected)
    line = "momentum 0.1 at 128 images, 0.006563 in batch, 0.001645 in ghost"
    assert any(line in one for one in policies(config))


def test_unset_nothing_changes_and_set_it_is_another_run():
    config = compose("norm=batch", "batch_size=8")
    scaled = compose("norm=batch", "batch_size=8", "norm.scale_momentum=true")
    assert run_id(config) == run_id(replace(config)) != run_id(scaled)
    assert any("torch, momentum 0.1, " in line for line in policies(config))
