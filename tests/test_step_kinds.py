import multiprocessing
import shutil
import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from unittest.mock import MagicMock

import pytest
import torch
from steps import CPU, assert_same_bits, batches_of, replayed, settings_of, state_of, train
from tables import PACKAGED_MODELS, PACKAGED_NORMS, model_config, norm_config
from tape import Tape

from nnexp import experiment
from nnexp.rundir import read_json
from nnexp.settings import ConfigError, EvaluationConfig, ProbeConfig
from nnexp.training import (
    Step,
    StepSettings,
    choose_step,
    make_step,
    prepare_process,
    start_state,
)
from nnexp.training.replay import CudaGraphs


@pytest.fixture
def tiny(tiny):
    """In the layout of a GPU; that of a CPU has a group norm that reads values as it runs."""
    return replace(tiny, memory_format="nchw")


@pytest.mark.parametrize("device", ["cpu", "mps", "xpu"])
def test_captured_steps_are_refused_where_there_is_no_cuda(tiny, device):
    with pytest.raises(ConfigError) as refusal:
        choose_step(replace(tiny, step="captured"), torch.device(device))
    problem = f"step=captured needs a CUDA device, and this run is on {device}"
    assert refusal.value.problem == problem
    assert refusal.value.remedy == "there is nothing to gain elsewhere: leave step out"


def test_steps_are_eager_unless_the_settings_say_otherwise(tiny):
    for device in (CPU, torch.device("cuda")):
        assert choose_step(tiny, device) == "eager"
        assert choose_step(replace(tiny, step="eager"), device) == "eager"
    assert choose_step(replace(tiny, step="captured"), torch.device("cuda")) == "captured"


def test_step_has_the_seed_the_precision_and_the_limit_of_the_settings(tiny):
    limited = replace(tiny.optimizer, clip_norm=0.5)
    config = replace(tiny, seed=3, precision="bf16", optimizer=limited)
    step = make_step(start_state(config, 10, CPU), config)
    assert step.settings == StepSettings(seed=3, precision="bf16", clip_norm=0.5)


def test_compiled_steps_need_a_compiler_and_no_trace_that_would_change_them(tiny):
    from torch._inductor import config as inductor  # takes seconds

    config = replace(tiny, step="compiled", norm=norm_config("batch"))
    grouped = replace(config, norm=norm_config("batch", at={"conv2": "group"}))
    with pytest.raises(ConfigError, match="cannot trace norm=group"):
        choose_step(grouped, CPU)
    untraced = replace(grouped, trace=replace(tiny.trace, points=0))
    with inductor.patch({"cpp.cxx": ("no-such-compiler",)}):
        for one in (config, untraced):
            with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler"):
                choose_step(one, CPU)
    assert choose_step(untraced, torch.device("cuda")) == "compiled"


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # torch 2.10 of itself
def test_compiled_steps_learn_what_eager_ones_do_up_to_rounding(tiny):
    config = replace(tiny, model=replace(tiny.model, name="simple_cnn", dropout=0.0))
    expected = train(Step(state_of(config), settings_of(config)), config, 3)
    step = make_step(state_of(config), config, choose_step(replace(config, step="compiled"), CPU))
    train(step, config, 3)
    assert list(step.state.model.state_dict()) == list(expected.state.model.state_dict())
    for mine, other in zip(step.state.parameters, expected.state.parameters, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


class TapesForGraphs:
    """In the place of `CudaGraphs`, on a CPU."""

    recorded = 0

    def __init__(self, device):
        pass

    def record(self, work):
        TapesForGraphs.recorded += 1
        return Tape(work)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_run_of_replayed_steps_writes_the_files_of_one_of_eager_steps(
    tiny, monkeypatch, tmp_path, norm
):
    """Traced, probed, stopped in its middle and resumed."""
    config = replace(
        tiny, norm=norm_config(norm), probe=ProbeConfig(points=5, images=24), batch_size=15
    )
    eager = experiment.run(config).run
    monkeypatch.setattr("nnexp.training.step_kinds.CudaGraphs", TapesForGraphs)
    monkeypatch.setattr("nnexp.experiment.runner.choose_step", lambda *args: "captured")
    monkeypatch.setattr(TapesForGraphs, "recorded", 0)
    stopping = StopAt(step=11)
    config = replace(config, runs_dir=str(tmp_path / "replayed"))
    assert experiment.run(config, [stopping]).status == "interrupted"
    outcome = experiment.run(config, [stopping])
    assert (outcome.status, stopping.notes) == ("done", [])
    assert TapesForGraphs.recorded == 2  # one in each try: 120 images are eight batches of 15
    assert read_json(outcome.run.environment)["step"] == "captured"
    for name in ("metrics", "traces", "channels", "probes"):
        assert getattr(outcome.run, name).read_bytes() == getattr(eager, name).read_bytes()
    weights = "checkpoint/weights.safetensors"
    assert (outcome.run.path / weights).read_bytes() == (eager.path / weights).read_bytes()


class StopAt(experiment.Listener):
    """Interrupts the run once, as Ctrl-C does, and keeps what it said."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.notes: list[str] = []

    def progress(self, progress) -> None:
        if progress.step == self.step:
            self.step = -1
            signal.raise_signal(signal.SIGTERM)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.gpu
@pytest.mark.parametrize("norm", PACKAGED_NORMS)
@pytest.mark.parametrize("model", PACKAGED_MODELS)
def test_captured_steps_have_the_bytes_of_eager_ones(tiny, model, norm):
    """At rates that float32 holds: captured steps read them in it."""
    device = torch.device("cuda")
    config = replace(
        tiny, model=model_config(model, width=0.25, dropout=0.5), norm=norm_config(norm)
    )
    prepare_process(config, device)  # else eager steps themselves may differ from run to run
    try:
        expected = Step(state_of(config, device), settings_of(config))
    except ConfigError:
        pytest.skip("this norm cannot work in this network")
    train(expected, config, 200)
    state = state_of(config, device)
    step, notes = replayed(state, config, CudaGraphs(device).record)
    train(step, config, 200)
    assert notes == []
    assert_same_bits(state, expected.state)


@pytest.mark.gpu
@pytest.mark.parametrize("norm", PACKAGED_NORMS)
def test_no_replayed_step_waits_for_the_device(tiny, norm):
    device = torch.device("cuda")
    config = replace(tiny, norm=norm_config(norm))
    prepare_process(config, device)
    state = state_of(config, device)
    step, notes = replayed(state, config, CudaGraphs(device).record)
    train(step, config, 32)  # both shapes are captured and checked
    batches = list(batches_of(config, 16, device))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch, labels, rate in batches:
            step(batch, labels, rate)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert notes == []


def test_generator_does_not_stay_in_a_capture_that_has_failed(monkeypatch):
    cuda, generator = MagicMock(), MagicMock()
    cuda.graph.side_effect = RuntimeError("operation not permitted when stream is capturing")
    monkeypatch.setattr("torch.cuda", cuda)
    monkeypatch.setattr("torch.Generator", generator)
    with pytest.raises(RuntimeError, match="not permitted"):
        CudaGraphs(CPU).record(lambda: None)
    cuda.default_generators[0].graphsafe_set_state.assert_called_once_with(generator())


def take_steps_that_read_a_value(config) -> list[str]:
    """Take captured steps that a capture refuses, and return what they said of it."""
    device = torch.device("cuda")
    prepare_process(config, device)
    expected = train(Step(state_of(config, device), settings_of(config)), config, 10)
    state = state_of(config, device)
    step, notes = replayed(state, config, CudaGraphs(device).record)
    update = step.update

    def reading(images, labels):
        result = update(images, labels)
        result[0].item()
        return result

    vars(step)["update"] = reading
    train(step, config, 10)
    assert_same_bits(state, expected.state)
    return notes


@pytest.mark.gpu
def test_steps_with_dropout_that_cannot_be_captured_give_way_to_eager_ones(tiny):
    """In a process of its own: before PyTorch 2.12 no capture works after one that has failed."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        (note,) = process.submit(take_steps_that_read_a_value, tiny).result()
    assert note.startswith("the step cannot be captured")


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("kind", ["eager", "captured"])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_run_on_a_gpu_that_was_stopped_has_the_files_of_one_that_was_not(
    tiny, tmp_path, norm, kind, optimizer
):
    config = replace(
        tiny,
        norm=norm_config(norm),
        optimizer=replace(tiny.optimizer, name=optimizer, clip_norm=1.0),
        probe=ProbeConfig(points=3, images=24, similarity=True, landscape=True),
        evaluation=EvaluationConfig(population_images=60),
        device="cuda",
        step=kind,
    )
    straight = experiment.run(config)
    stopping = StopAt(step=11)
    config = replace(config, runs_dir=str(tmp_path / "stopped"))
    assert experiment.run(config, [stopping]).status == "interrupted"
    stopped = experiment.run(config, [stopping])
    assert (stopped.status, stopping.notes) == ("done", [])
    for name in ("metrics", "traces", "channels", "probes"):
        assert getattr(stopped.run, name).read_bytes() == getattr(straight.run, name).read_bytes()
    weights = "checkpoint/weights.safetensors"
    assert (stopped.run.path / weights).read_bytes() == (straight.run.path / weights).read_bytes()
