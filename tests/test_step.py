from dataclasses import replace

import pytest
import torch
from steps import (
    Again,
    assert_equal_to_eager,
    assert_same_bits,
    batches_of,
    replayed,
    settings_of,
    state_of,
    train,
)
from tables import ARCHITECTURES, PACKAGED_NORMS, model_config, norm_config
from tape import Tape, WaitsForDeviceError
from torch import nn

from nnexp.norms import NORMS, NormKind, Statistic
from nnexp.settings import ConfigError, OptimizerConfig
from nnexp.training import Step, raise_if_diverged
from nnexp.training.replay import CHECKED


@pytest.fixture
def tiny(tiny):
    """In the layout of a GPU; that of a CPU has a group norm that reads values as it runs."""
    return replace(tiny, memory_format="nchw")


CASES = {
    "dropout": {},
    "one image joins the batch before": {"batch_size": 17},
    "bf16": {"precision": "bf16"},
    "clipped": {"optimizer": OptimizerConfig(clip_norm=0.5)},
    "adamw": {"optimizer": OptimizerConfig(name="adamw", learning_rate=1e-3)},
    "no momentum": {"optimizer": OptimizerConfig(momentum=0.0)},
    "group": {"norm": norm_config("group")},
    "reference": {"norm": norm_config("batch", implementation="reference")},
}


@pytest.mark.parametrize("case", CASES)
def test_steps_of_the_replayable_body_have_the_bytes_of_eager_ones(tiny, case):
    """In 5 epochs, each with a short last batch or one that an image was added to."""
    assert_equal_to_eager(replace(tiny, **CASES[case]), 40, Again)


@pytest.mark.parametrize("case", CASES)
def test_operations_recorded_once_for_each_shape_give_the_bytes_of_eager_steps(tiny, case):
    assert_equal_to_eager(replace(tiny, **CASES[case]), 40, Tape)


@pytest.mark.parametrize(
    ("model", "norm"),
    [
        *[(model, norm) for model in ARCHITECTURES for norm in ("batch", "group")],
        *[("baseline", norm) for norm in PACKAGED_NORMS if norm not in ("batch", "group")],
    ],
)
def test_step_of_every_model_and_of_every_norm_can_be_replayed(tiny, model, norm):
    data = replace(tiny.data, train_images=8)
    options = {"dropout": 0.5, "stochastic_depth": 0.5 if model == "convnext_tiny" else 0.0}
    config = replace(
        tiny,
        model=model_config(model, width=0.125, **options),
        norm=norm_config(norm),
        data=data,
        batch_size=4,
    )
    try:
        assert_equal_to_eager(config, 3 + CHECKED, Tape)  # one eager, two that nothing checks
    except ConfigError as refusal:
        pytest.skip(refusal.problem)


def test_steps_that_are_looked_into_are_eager_between_replayed_ones(tiny):
    looked_into = frozenset({3, 7, 8, 39, 40, 51})
    assert_equal_to_eager(tiny, 60, Tape, looked_into)
    state, seen = state_of(tiny), []
    step, _ = replayed(state, tiny, Tape)
    state.model.register_forward_pre_hook(lambda model, inputs: seen.append(state.step))
    train(step, tiny, 60, looked_into)
    checked = {15, 23, 31}  # of the short batches, of which step 7 was eager
    assert {one for one in seen if one > 8} == looked_into - {3, 7, 8} | checked


def test_replays_are_what_most_steps_are(tiny):
    """The control of all that is equal here: nothing but the tape changes the weights."""
    taped: list[Tape] = []

    def record(work):
        taped.append(Tape(work))
        return taped[-1]

    step, _ = replayed(state_of(tiny), tiny, record)
    train(step, tiny, 16)
    assert len(taped) == 2  # one for each shape
    before = [weight.detach().clone() for weight in step.state.parameters]
    for tape in taped:
        tape.operations.clear()
    batch, labels, rate = next(batches_of(tiny, 1))
    step(batch, labels, rate)
    assert all(map(torch.equal, before, step.state.parameters))


def test_step_whose_loss_is_not_finite_is_the_one_named_where_it_was_replayed(tiny):
    config = replace(tiny, norm=norm_config("none"))
    step, notes = replayed(state_of(config), config, Tape)
    for batch, labels, rate in batches_of(tiny, 15):
        step(batch * (float("inf") if step.state.step == 12 else 1.0), labels, rate)
    assert notes == []
    with pytest.raises(Exception, match="step 13"):
        raise_if_diverged(step.state)


def test_replayed_step_goes_on_from_where_a_state_stands(tiny):
    """As a resumed run does: another object, made at a step that is not the first."""
    expected = train(Step(state_of(tiny), settings_of(tiny)), tiny, 30)
    state = state_of(tiny)
    for begin, end in ((0, 13), (13, 30)):
        step, notes = replayed(state, tiny, Tape)
        for number, (batch, labels, rate) in enumerate(batches_of(tiny, 30)):
            if begin <= number < end:
                step(batch, labels, rate)
                if step.state.step % 20 == 0:
                    step.state.totals.reset()
        assert notes == []
    assert_same_bits(state, expected.state)


def test_recording_leaves_no_trace_whatever_its_warm_up_changes(tiny):
    def record(work):
        for _ in range(3):
            work()
        return Tape(work)

    assert_equal_to_eager(tiny, 12, record)


def depends_on_a_number(step):
    class Changed(type(step)):
        def body(self, images, labels):
            super().body(images * (1 + self.state.step % 7), labels)

    return Changed


def reads_a_value(step):
    class Changed(type(step)):
        def body(self, images, labels):
            super().body(images, labels)
            self.state.first_bad_step.fill_(-1 + 0 * int(self.state.totals.correct.item()))

    return Changed


def binds_another_tensor(step):
    class Changed(type(step)):
        def body(self, images, labels):
            super().body(images, labels)
            self.state.totals.loss = self.state.totals.loss + 1

    return Changed


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (depends_on_a_number, "a captured step differs from an eager one"),
        (reads_a_value, "cannot be captured (WaitsForDeviceError: the work reads a value"),
        (binds_another_tensor, "a captured step differs from an eager one"),
    ],
)
def test_body_that_cannot_be_replayed_is_found_and_the_run_goes_on_eagerly(tiny, plant, said):
    """Its bytes are those of the same body in eager steps."""
    ends = []
    for record in (Again, Tape):
        step, notes = replayed(state_of(tiny), tiny, record)
        step.__class__ = plant(step)
        train(step, tiny, 19)
        ends.append(step.state)
    (note,) = notes
    assert said in note
    assert "goes on with eager steps" in note
    assert_same_bits(*ends)


@pytest.mark.parametrize("plant", [depends_on_a_number, binds_another_tensor])
def test_tape_itself_sees_such_a_body(tiny, plant, monkeypatch):
    """Without the check at the start, which hides it, the bytes differ."""
    monkeypatch.setattr("nnexp.training.replay.CHECKED", 0)
    ends = []
    for record in (Again, Tape):
        step, _ = replayed(state_of(tiny), tiny, record)
        step.__class__ = plant(step)
        ends.append(train(step, tiny, 19).state)
    with pytest.raises(AssertionError):
        assert_same_bits(*ends)


def test_tape_refuses_to_read_a_value():
    with pytest.raises(WaitsForDeviceError):
        Tape(lambda: torch.ones(()).item())


class BindingItsMeanAnew(nn.BatchNorm2d):
    """A user's norm, which works in eager steps."""

    def forward(self, input):
        y_NCHW = super().forward(input)
        self.running_mean = self.running_mean * 1.0
        return y_NCHW


def test_run_of_a_norm_that_binds_a_buffer_anew_goes_on_eagerly_with_the_same_bytes(tiny):
    NORMS["own"] = NormKind(
        build=lambda spec: BindingItsMeanAnew(spec.channels),
        statistic=Statistic(over="NHW", per="channel", stored=True),
    )
    config = replace(tiny, norm=norm_config("own"))
    expected = train(Step(state_of(config), settings_of(config)), config, 19)
    step, notes = replayed(state_of(config), config, Tape)
    train(step, config, 19)
    assert len(notes) == 1
    assert_same_bits(step.state, expected.state)


def test_difference_that_shows_late_in_the_check_still_ends_replays(tiny):
    """A recording that is wrong at its last checked replay alone."""

    class Late(Tape):
        replays = 0

        def replay(self):
            super().replay()
            self.replays += 1
            if self.replays == CHECKED:
                step.state.parameters[0].data.add_(1)

    expected = train(Step(state_of(tiny), settings_of(tiny)), tiny, 19)
    step, notes = replayed(state_of(tiny), tiny, Late)
    train(step, tiny, 19)
    assert len(notes) == 1
    assert_same_bits(step.state, expected.state)
