import pytest
import torch
from torch import nn

from nnexp.experiment.checkpoint import (
    NEWEST,
    PREVIOUS,
    StateError,
    read_state,
    restore_state,
    save_state,
)
from nnexp.settings import OptimizerConfig
from nnexp.training import (
    Diverged,
    Step,
    StepSettings,
    TrainState,
    build_optimizer,
    raise_if_diverged,
)

CPU = torch.device("cpu")
STEP = StepSettings(seed=0)


def make_state(name: str = "sgd", width: int = 4) -> TrainState:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten())
    return TrainState(model, build_optimizer(model, OptimizerConfig(name=name), 0.1), CPU)


def advance(state: TrainState, steps: int = 3) -> None:
    for _ in range(steps):
        torch.manual_seed(state.step)
        state.optimizer.zero_grad()
        state.model(torch.randn(2, 3, 5, 5)).square().mean().backward()
        state.optimizer.step()
        state.step += 1
        state.totals.loss += 0.1
        state.totals.correct += 1
        state.totals.gradient_norm += 0.5


def same(first: TrainState, second: TrainState) -> bool:
    ours, theirs = first.model.state_dict(), second.model.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_restored_state_goes_on_bit_for_bit(tmp_path, name):
    straight = make_state(name)
    advance(straight, 3)
    save_state(straight, tmp_path / "c", {"tables": {"metrics": 7}}, {})
    advance(straight, 3)

    resumed = make_state(name)
    saved = read_state(tmp_path / "c" / NEWEST)
    restore_state(resumed, saved)
    assert (resumed.step, resumed.epoch, saved.notes) == (3, 0, {"tables": {"metrics": 7}})
    advance(resumed, 3)

    assert same(straight, resumed)
    assert straight.totals == resumed.totals


def test_step_that_diverged_is_still_known_after_a_restore(tmp_path):
    """A GPU is asked for its loss now and then: a save may come before the question."""
    state = make_state()
    images = torch.randn(2, 3, 3, 3)
    for scale in (1.0, float("nan"), 1.0):
        Step(state, STEP)(images * scale, torch.zeros(2, dtype=torch.int64), 0.0)
    save_state(state, tmp_path / "c", {}, {})

    resumed = make_state()
    restore_state(resumed, read_state(tmp_path / "c" / NEWEST))
    with pytest.raises(Diverged) as caught:
        raise_if_diverged(resumed)
    assert caught.value.step == 2


@pytest.mark.parametrize("slot", ["momentum_buffer", "running_var"])
def test_a_forgotten_tensor_would_show(tmp_path, slot):
    """The control: leaving one tensor out of the restore changes what comes after."""
    straight = make_state()
    advance(straight, 3)
    save_state(straight, tmp_path / "c", {}, {})
    advance(straight, 3)

    resumed = make_state()
    restore_state(resumed, read_state(tmp_path / "c" / NEWEST))
    if slot == "momentum_buffer":
        resumed.optimizer.state.clear()
    else:
        resumed.model[1].running_var.fill_(1.0)
    advance(resumed, 3)

    assert not same(straight, resumed)


def test_the_state_before_stays_beside_the_newest(tmp_path):
    state = make_state()
    for _ in range(3):
        advance(state, 1)
        save_state(state, tmp_path / "c", {}, {})
    assert read_state(tmp_path / "c" / NEWEST).step == 3
    assert read_state(tmp_path / "c" / PREVIOUS).step == 2
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [PREVIOUS, NEWEST]


@pytest.mark.parametrize("keep", [0, 5, 200, 0.5, 0.99])
def test_torn_file_is_named_not_used(tmp_path, keep):
    state = make_state()
    save_state(state, tmp_path / "c", {}, {})
    path = tmp_path / "c" / NEWEST
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(StateError, match=str(path)):
        read_state(path)


@pytest.mark.parametrize("at", [-3, -100, 60])
def test_single_flipped_bit_is_noticed(tmp_path, at):
    state = make_state()
    save_state(state, tmp_path / "c", {"tables": {}}, {})
    path = tmp_path / "c" / NEWEST
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(StateError, match=str(path)):
        read_state(path)


def test_tables_come_back_as_they_were(tmp_path):
    files = {"metrics": b"epoch,loss\n1,0.5\n", "traces": b"", "channels": bytes(range(256))}
    save_state(make_state(), tmp_path / "c", {}, files)
    assert read_state(tmp_path / "c" / NEWEST).files == files


def test_state_of_another_network_is_refused_and_changes_nothing(tmp_path):
    save_state(make_state(width=8), tmp_path / "c", {}, {})
    state, untouched = make_state(width=4), make_state(width=4)
    with pytest.raises(StateError, match="another network"):
        restore_state(state, read_state(tmp_path / "c" / NEWEST))
    assert same(state, untouched)


def test_failed_save_leaves_the_old_states_and_no_scrap(tmp_path, monkeypatch):
    state = make_state()
    save_state(state, tmp_path / "c", {}, {})
    state.step = 1
    before = {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()}
    monkeypatch.setattr("nnexp.experiment.checkpoint._digest", lambda tensors, text: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_state(state, tmp_path / "c", {}, {})
    assert {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()} == before


def test_saved_file_is_safetensors_that_any_reader_opens(tmp_path):
    from safetensors.torch import load_file

    state = make_state()
    advance(state, 2)
    save_state(state, tmp_path / "c", {}, {})
    tensors = load_file(tmp_path / "c" / NEWEST)
    assert torch.equal(tensors["model.1.running_mean"], state.model[1].running_mean)
    assert "optimizer.0.weight.momentum_buffer" in tensors
