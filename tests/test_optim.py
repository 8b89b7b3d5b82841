import math

import pytest
import torch
from torch import nn

from nnexp.settings import OptimizerConfig, ScheduleConfig
from nnexp.training import SCHEDULES, build_optimizer, learning_rate_at, peak_learning_rate


def rates(config: ScheduleConfig, total: int = 100, peak: float = 0.2) -> list[float]:
    return [learning_rate_at(step, total, peak, config) for step in range(total)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_rises_linearly_to_the_peak(name):
    seen = rates(ScheduleConfig(name=name, warmup=0.1))
    assert seen[:10] == pytest.approx([0.02 * (step + 1) for step in range(10)])
    assert max(seen) == pytest.approx(0.2)


@pytest.mark.parametrize(("total", "steps"), [(72, 7), (78, 8)])
def test_warm_up_takes_the_whole_number_of_steps_that_is_nearest(total, steps):
    seen = rates(ScheduleConfig(name="cosine", warmup=0.1), total)
    assert seen[steps - 2] < seen[steps - 1] == seen[steps] == 0.2 > seen[steps + 1]


def test_cosine_begins_where_the_warm_up_ends():
    seen = rates(ScheduleConfig(name="cosine", warmup=0.2))
    assert (seen[20], seen[60]) == (0.2, pytest.approx(0.1))


def test_cosine_is_halfway_down_in_the_middle_and_nearly_zero_at_the_end():
    seen = rates(ScheduleConfig(name="cosine", warmup=0.0))
    assert seen[0] == 0.2
    assert seen[50] == pytest.approx(0.1)
    assert seen[99] == pytest.approx(0.1 * (1 + math.cos(math.pi * 0.99)))


def test_step_multiplies_by_the_factor_at_each_milestone():
    seen = rates(ScheduleConfig(name="step", warmup=0.0, milestones=[0.5, 0.75], factor=0.1))
    assert (seen[49], seen[50], seen[75]) == pytest.approx((0.2, 0.02, 0.002))


def test_constant_stays_at_the_peak():
    assert set(rates(ScheduleConfig(name="constant", warmup=0.0))) == {0.2}


@pytest.mark.parametrize(
    ("rule", "at_32", "at_512"), [("none", 0.1, 0.1), ("linear", 0.025, 0.4), ("sqrt", 0.05, 0.2)]
)
def test_learning_rate_scales_with_the_batch_size_by_the_rule(rule, at_32, at_512):
    config = OptimizerConfig(learning_rate=0.1, learning_rate_scaling=rule)
    assert peak_learning_rate(config, 32) == pytest.approx(at_32)
    assert peak_learning_rate(config, 128) == 0.1
    assert peak_learning_rate(config, 512) == pytest.approx(at_512)


def small_model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def decay_of(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> float:
    (group,) = [g for g in optimizer.param_groups if any(p is parameter for p in g["params"])]
    return group["weight_decay"]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_leaves_gamma_beta_and_biases_alone(name):
    model = small_model()
    optimizer = build_optimizer(model, OptimizerConfig(name=name, weight_decay=0.3), 0.1)
    decays = {key: decay_of(optimizer, p) for key, p in model.named_parameters()}
    assert {key for key, decay in decays.items() if decay} == {"0.weight", "3.weight"}
    assert set(decays.values()) == {0.0, 0.3}


def test_weight_decay_pulls_on_everything_when_asked_to():
    model = small_model()
    optimizer = build_optimizer(model, OptimizerConfig(decay_norm_and_bias=True), 0.1)
    assert all(decay_of(optimizer, parameter) > 0 for parameter in model.parameters())


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_optimizer_takes_the_step_of_its_textbook(name):
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(5))
    model = nn.Module()
    model.layer = nn.Linear(5, 1, bias=False)
    model.layer.weight = nn.Parameter(parameter.detach().clone()[None])
    config = OptimizerConfig(name=name, weight_decay=0.01, momentum=0.9)
    optimizer = build_optimizer(model, config, 0.1)
    gradients, value = torch.randn(3, 1, 5), parameter.detach().clone()[None]
    for gradient in gradients:
        model.layer.weight.grad = gradient.clone()
        optimizer.step()
    buffer = first = second = torch.zeros(1, 5)
    for step, gradient in enumerate(gradients, 1):
        if name == "sgd":
            buffer = 0.9 * buffer + gradient + 0.01 * value
            value = value - 0.1 * buffer
        else:
            value = value - 0.1 * 0.01 * value
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            unbiased = (second / (1 - 0.999**step)).sqrt() + 1e-8
            value = value - 0.1 * first / (1 - 0.9**step) / unbiased
    torch.testing.assert_close(model.layer.weight.detach(), value, rtol=1e-5, atol=1e-6)
