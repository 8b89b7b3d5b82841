from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from tape import OneDevice

from nnexp.data import epoch_plan, load_images, normalized, train_batches
from nnexp.norms import NORMS
from nnexp.probes import Recorder, make_observers
from nnexp.probes.population import population_statistics, store
from nnexp.settings import EvaluationConfig, ModelConfig, NormConfig, ProbeConfig
from nnexp.training import (
    Diverged,
    RunPlan,
    Step,
    StepSettings,
    evaluate,
    fit,
    make_step,
    plan_run,
    precision,
    raise_if_diverged,
    seed_random_layers,
    start_state,
)

CPU = torch.device("cpu")
PLAN = RunPlan(steps_per_epoch=8, total_steps=24, peak_learning_rate=0.02)  # of `tiny`


def recorder_for(state, points: int = 0) -> Recorder:
    return Recorder(state.model, PLAN, points=points)


def nothing() -> None:
    pass


@pytest.fixture
def images(tiny):
    return load_images(tiny.data)


def test_weights_are_drawn_by_the_seed_of_the_settings(tiny):
    states = [start_state(replace(tiny, seed=seed), 10, CPU) for seed in (0, 0, 1)]
    first, again, other = (state.model.get_parameter("conv1.conv.weight") for state in states)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_image_is_trained_on_once_an_epoch_the_short_last_batch_too(tiny, images):
    state = start_state(tiny, 10, CPU)
    seen: list[int] = []
    state.model.register_forward_pre_hook(
        lambda model, inputs: seen.append(len(inputs[0])) if model.training else None
    )
    row = next(fit(make_step(state, tiny), images, tiny, PLAN, recorder_for(state), nothing))
    assert seen == [16] * 7 + [8]
    assert (row.epoch, row.step, row.images) == (1, 8, 120)


def test_train_loss_is_the_mean_over_images_not_over_batches(tiny, images):
    """With a learning rate of next to nothing, an epoch's loss can be computed at one go."""
    still = replace(tiny, optimizer=replace(tiny.optimizer, learning_rate=1e-12, weight_decay=0.0))
    still = replace(still, norm=NormConfig(name="group"), model=ModelConfig(name="simple_cnn"))
    still = replace(still, data=replace(tiny.data, augment=False))
    state = start_state(still, 10, CPU)
    row = next(
        fit(
            make_step(state, still),
            images,
            still,
            plan_run(still, 120),
            recorder_for(state),
            nothing,
        )
    )
    logits = state.model(normalized(images.train.images, images.mean, images.std))
    assert row.train_loss == pytest.approx(F.cross_entropy(logits, images.train.labels).item())
    accuracy = (logits.argmax(1) == images.train.labels).float().mean().item()
    assert row.train_accuracy == pytest.approx(accuracy)


@pytest.mark.parametrize("norm", NORMS)
def test_evaluation_does_not_depend_on_the_batch_and_leaves_the_model_as_it_was(
    tiny, images, norm, monkeypatch
):
    state = start_state(replace(tiny, norm=NormConfig(name=norm)), 10, CPU)
    state.model.train()
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    whole = evaluate(state.model, images.val, images, "fp32")
    monkeypatch.setattr("nnexp.training.evaluation.EVALUATION_BATCH", 3)
    pieces = evaluate(state.model, images.val, images, "fp32")
    assert pieces[0] == pytest.approx(whole[0], rel=1e-5)
    assert pieces[1] == whole[1]
    assert state.model.training
    logits = state.model.eval()(normalized(images.val.images, images.mean, images.std))
    assert whole[0] == pytest.approx(F.cross_entropy(logits, images.val.labels).item(), rel=1e-5)
    assert whole[1] == (logits.argmax(1) == images.val.labels).sum().item() / len(images.val)
    evaluate(state.model, images.val, images, "fp32")
    assert not state.model.training
    assert all(torch.equal(before[k], v) for k, v in state.model.state_dict().items())


def test_gradient_norm_is_that_of_all_gradients_together(tiny, images):
    state = start_state(tiny, 10, CPU)
    batch = normalized(images.train.images[:16], images.mean, images.std)
    Step(state, StepSettings(seed=0))(batch, images.train.labels[:16], 0.0)
    flat = torch.cat([p.grad.flatten() for p in state.model.parameters() if p.grad is not None])
    assert state.totals.gradient_norm.item() == pytest.approx(flat.norm().item(), rel=1e-5)


def test_loss_of_logits_in_bf16_is_computed_in_float32(tiny, images):
    state = start_state(replace(tiny, model=ModelConfig(name="simple_cnn")), 10, CPU)
    batch = normalized(images.train.images[:16], images.mean, images.std)
    labels = images.train.labels[:16]
    with precision("bf16", CPU):
        logits = state.model(batch)
    Step(state, StepSettings(seed=0, precision="bf16"))(batch, labels, 0.0)
    loss = F.cross_entropy(logits.float(), labels).item()
    assert logits.dtype == torch.bfloat16
    assert state.totals.loss.item() / 16 == pytest.approx(loss, rel=1e-6)


def test_evaluation_has_the_precision_that_is_asked_for(tiny, images):
    model = start_state(replace(tiny, model=ModelConfig(name="simple_cnn")), 10, CPU).model.eval()
    with precision("bf16", CPU):
        logits = model(normalized(images.val.images, images.mean, images.std)).float()
    loss = F.cross_entropy(logits, images.val.labels).item()
    assert evaluate(model, images.val, images, "bf16")[0] == pytest.approx(loss, rel=1e-6)
    assert evaluate(model, images.val, images, "fp32")[0] != pytest.approx(loss, rel=1e-6)


def test_clipping_scales_all_gradients_to_the_limit(tiny, images):
    state = start_state(tiny, 10, CPU)
    batch = normalized(images.train.images[:16], images.mean, images.std)
    Step(state, StepSettings(seed=0, clip_norm=0.01))(batch, images.train.labels[:16], 0.0)
    flat = torch.cat([p.grad.flatten() for p in state.model.parameters() if p.grad is not None])
    assert flat.norm().item() == pytest.approx(0.01, rel=1e-3)
    assert state.totals.gradient_norm.item() > 0.01


def test_dropout_is_a_function_of_seed_and_step_alone():
    masks = {}
    for seed, step in [(0, 0), (0, 1), (1, 0), (0, 0)]:
        torch.rand(17)  # whatever was drawn before
        seed_random_layers(seed, step, CPU)
        masks.setdefault((seed, step), []).append(torch.rand(100))
    assert torch.equal(*masks[0, 0])
    assert not torch.equal(masks[0, 0][0], masks[0, 1][0])
    assert not torch.equal(masks[0, 0][0], masks[1, 0][0])
    assert not torch.equal(masks[0, 1][0], masks[1, 0][0])


def test_step_draws_the_dropout_of_its_own_number(tiny, images):
    state = start_state(replace(tiny, norm=NormConfig(name="none")), 10, CPU)
    batch = normalized(images.train.images[:16], images.mean, images.std)
    losses = []
    for number in (0, 1, 0):
        state.step = number
        state.totals.reset()
        Step(state, StepSettings(seed=0))(batch, images.train.labels[:16], 0.0)
        losses.append(state.totals.loss.item())
    assert losses[0] == losses[2] != losses[1]


@pytest.mark.parametrize("kind", ["cpu", "cuda"])  # the second by operations on tensors alone
def test_first_step_with_a_loss_that_is_not_finite_is_the_one_named(
    tiny, images, kind, monkeypatch
):
    random = SimpleNamespace(default_generators=[torch.Generator()])
    monkeypatch.setattr("torch.get_device_module", lambda device: random)
    monkeypatch.setattr("torch.autocast", lambda *args, **settings: nullcontext())
    state = start_state(replace(tiny, norm=NormConfig(name="none")), 10, CPU)
    state.device = torch.device(kind)
    batch = normalized(images.train.images[:16], images.mean, images.std)
    labels = images.train.labels[:16]
    for scale in (1.0, 1.0, float("nan"), 1.0, float("inf")):
        Step(state, StepSettings(seed=0))(batch * scale, labels, 0.0)
    with pytest.raises(Diverged) as caught:
        raise_if_diverged(state)
    assert caught.value.step == 3


def test_fit_goes_on_from_where_a_state_stands(tiny, images):
    class StopHereError(Exception):
        pass

    def stop_at(step: int):
        def after_batch() -> None:
            if state.step == step:
                raise StopHereError

        return after_batch

    straight_state = start_state(tiny, 10, CPU)
    straight = list(
        fit(
            make_step(straight_state, tiny),
            images,
            tiny,
            PLAN,
            recorder_for(straight_state),
            nothing,
        )
    )
    state = start_state(tiny, 10, CPU)
    rows = []
    for step in (3, 8, 17, None):  # in an epoch, at its end, in a later one
        try:
            rows += fit(
                make_step(state, tiny), images, tiny, PLAN, recorder_for(state), stop_at(step or -1)
            )
        except StopHereError:
            continue
    assert rows[-1] == straight[-1]
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(
            state.model.parameters(), straight_state.model.parameters(), strict=True
        )
    )


def test_a_step_leaves_all_on_its_device_and_reads_nothing(tiny, monkeypatch):
    """Traced and probed, on a device that has shapes and no values to read."""
    random = SimpleNamespace(default_generators=[torch.Generator()])
    monkeypatch.setattr("torch.get_device_module", lambda device: random)
    monkeypatch.setattr("torch.autocast", lambda *args, **settings: nullcontext())
    norms = NormConfig(name="switchable", at={"conv2": "batch_renorm", "conv3": "evonorm_b0"})
    probe = ProbeConfig(points=2, images=24, similarity=True, landscape=True)
    config = replace(tiny, norm=norms, probe=probe, memory_format="nchw")
    config = replace(config, evaluation=EvaluationConfig(population_images=60))
    device = torch.device("meta")
    images = load_images(config.data).to(device)
    state = start_state(config, 10, device)
    for group in state.optimizer.param_groups:
        group["fused"] = False  # it has no kernels
    step, observers = make_step(state, config), make_observers(state, images, config, PLAN)
    state.model.train()
    order = epoch_plan(config.seed, 0, 120)
    batches = train_batches(images.train, order, 16, images.mean, images.std)
    with OneDevice():
        for batch, labels in islice(batches, 3):
            with observers.watching(state):
                step(batch, labels, 0.01)
        statistics = population_statistics(state.model, images, config)
        store(state.model, statistics)
    points = [*observers.recorder._points, *observers.probe._points]
    noted = [value for point in points for value in point.values]
    assert len(noted) > 50
    for tensor in (*state.tensors(), *noted, *(one for two in statistics.values() for one in two)):
        assert tensor.device == device


@pytest.mark.gpu
@pytest.mark.parametrize("norm", NORMS)
def test_no_step_waits_for_the_device(tiny, norm):
    config = replace(tiny, norm=NormConfig(name=norm), device="cuda")
    device = torch.device("cuda")
    images = load_images(config.data).to(device)
    state = start_state(config, 10, device)
    recorder = recorder_for(state, points=24)
    warm = replace(config, epochs=1)
    list(fit(make_step(state, warm), images, warm, PLAN, recorder, nothing))
    batch = normalized(images.train.images[:16], images.mean, images.std)
    recorder.steps = frozenset(range(PLAN.total_steps, PLAN.total_steps + 11))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(10):
            with recorder.watching(state):
                Step(state, StepSettings(seed=0))(batch, images.train.labels[:16], 0.01)
    finally:
        torch.cuda.set_sync_debug_mode("default")
