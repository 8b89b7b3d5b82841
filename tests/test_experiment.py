import csv
import json
import math
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nnexp import experiment
from nnexp.data import batch_sizes, epoch_plan, load_images, train_batches
from nnexp.experiment.clock import Clock, TimingRow
from nnexp.experiment.result import make_result
from nnexp.rundir import (
    RunDir,
    RunError,
    append_rows,
    is_locked,
    locked,
    read_json,
    read_status,
    write_json,
    write_status,
)
from nnexp.settings import (
    ConfigError,
    DataConfig,
    NormConfig,
    OptimizerConfig,
    ScheduleConfig,
    TraceConfig,
    from_yaml,
    run_id,
)
from nnexp.training import (
    EpochRow,
    Step,
    StepSettings,
    learning_rate_at,
    peak_learning_rate,
    start_state,
)


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def tables_of(run: RunDir) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run.metrics, run.traces, run.channels)}


def test_run_folder_holds_what_the_page_says(tiny):
    outcome = experiment.run(tiny)
    run = outcome.run
    assert run.path.name == run_id(tiny)
    assert {path.name for path in run.path.iterdir()} == {
        ".lock",
        "channels.csv",
        "checkpoint",
        "config.yaml",
        "environment.json",
        "images.json",
        "log.txt",
        "metrics.csv",
        "result.json",
        "status.json",
        "timing.csv",
        "traces.csv",
    }
    assert from_yaml(run.config.read_text()) == tiny
    assert read_status(run) == {"status": "done"}
    accuracy = 100 * read_json(run.result)["test_accuracy"]
    assert repr(outcome) == f"Outcome({run.path}: done, test accuracy {accuracy:.2f} %)"
    metrics = read_rows(run.metrics)
    assert ",".join(metrics[0]) == (
        "epoch,step,images,learning_rate,train_loss,train_accuracy,val_loss,val_accuracy,"
        "gradient_norm"
    )
    assert [(row["epoch"], row["step"], row["images"]) for row in metrics] == [
        ("1", "8", "120"),
        ("2", "16", "240"),
        ("3", "24", "360"),
    ]
    assert [row["epoch"] for row in read_rows(run.timing)] == ["1", "2", "3"]
    result = json.loads(run.result.read_text())
    assert result["val_accuracy"] == float(metrics[-1]["val_accuracy"])
    assert result["val_accuracy_median5"] == np.median([float(r["val_accuracy"]) for r in metrics])
    assert result["steps"] == 24
    assert list(result)[:6] == ["run_id", "status", "model", "norm", "batch_size", "seed"]


def test_equal_settings_give_equal_bytes_in_another_folder(tiny, tmp_path):
    first = experiment.run(tiny).run
    second = experiment.run(replace(tiny, runs_dir=str(tmp_path / "again"))).run
    assert first.path.name == second.path.name
    assert tables_of(first) == tables_of(second)
    weights = [run.checkpoint / "weights.safetensors" for run in (first, second)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_another_seed_gives_another_result(tiny):
    first, second = experiment.run(tiny).run, experiment.run(replace(tiny, seed=1)).run
    assert first.metrics.read_bytes() != second.metrics.read_bytes()


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_traces_change_nothing_that_is_learned(tiny, tmp_path, norm):
    tiny = replace(tiny, norm=NormConfig(name=norm))
    traced = experiment.run(tiny).run
    plain_config = replace(tiny, trace=TraceConfig(points=0), runs_dir=str(tmp_path / "plain"))
    plain = experiment.run(plain_config).run
    assert plain.metrics.read_bytes() == traced.metrics.read_bytes()
    assert not plain.traces.exists()


def test_finished_run_is_not_run_again(tiny):
    run = experiment.run(tiny).run
    written = [path for path in run.path.rglob("*") if path.name != ".lock"]
    before = {path: path.stat().st_mtime_ns for path in written}
    again = experiment.run(tiny)
    assert again.status == "done"
    assert again.result["test_accuracy"] == json.loads(run.result.read_text())["test_accuracy"]
    assert {path: path.stat().st_mtime_ns for path in written} == before


def test_traced_statistics_are_the_running_mean_recomputed_by_hand(tiny):
    """An outside loop takes the same steps and keeps BatchNorm's average of its own."""
    tiny = replace(tiny, trace=TraceConfig(points=50, channels=64))
    traced = {
        (row["step"], row["layer"], row["quantity"], int(row["channel"])): float(row["value"])
        for row in read_rows(experiment.run(tiny).run.channels)
    }
    images = load_images(tiny.data)
    state = start_state(tiny, 10, torch.device("cpu"))
    seen: dict[str, torch.Tensor] = {}
    layer = dict(state.model.named_modules())["conv2.norm"]
    layer.register_forward_pre_hook(lambda module, inputs: seen.update(x=inputs[0].detach()))
    mean, var = torch.zeros(layer.num_features), torch.ones(layer.num_features)
    peak = peak_learning_rate(tiny.optimizer, tiny.batch_size)
    sizes = batch_sizes(120, tiny.batch_size)
    state.model.train()
    for epoch in range(tiny.epochs):
        plan = epoch_plan(tiny.seed, epoch, 120)
        batches = train_batches(
            images.train, plan, tiny.batch_size, images.mean, images.std, augment=True
        )
        for batch, labels in batches:
            rate = learning_rate_at(state.step, len(sizes) * tiny.epochs, peak, tiny.schedule)
            Step(state, StepSettings(seed=tiny.seed))(batch, labels, rate)
            mean = 0.9 * mean + 0.1 * seen["x"].mean(dim=(0, 2, 3))
            var = 0.9 * var + 0.1 * seen["x"].var(dim=(0, 2, 3), unbiased=True)
            for channel in range(layer.num_features):
                key = (str(state.step), "conv2.norm")
                if (*key, "running_mean", channel) in traced:
                    assert traced[*key, "running_mean", channel] == pytest.approx(
                        mean[channel].item(), rel=1e-4, abs=1e-6
                    )
                    assert traced[*key, "running_var", channel] == pytest.approx(
                        var[channel].item(), rel=1e-4
                    )
    assert state.step == 24


def test_last_trace_row_is_the_buffer_in_the_saved_weights(tiny):
    run = experiment.run(tiny).run
    weights = load_file(run.checkpoint / "weights.safetensors")
    last = [row for row in read_rows(run.traces) if row["step"] == "24"]
    assert {row["layer"] for row in last} == {"conv1.norm", "conv2.norm", "conv3.norm"}
    for row in last:
        buffer = weights[f"{row['layer']}.{row['quantity']}"].double()
        assert float(row["mean"]) == pytest.approx(buffer.mean().item(), rel=1e-6)
        assert float(row["std"]) == pytest.approx(buffer.std(unbiased=False).item(), rel=1e-6)
        assert np.float32(row["min"]) == np.float32(buffer.min().item())
        assert np.float32(row["max"]) == np.float32(buffer.max().item())


def test_traces_start_with_what_the_layer_was_built_with(tiny):
    rows = [row for row in read_rows(experiment.run(tiny).run.traces) if row["step"] == "0"]
    assert {(row["quantity"], row["mean"]) for row in rows} == {
        ("running_mean", "0.0"),
        ("running_var", "1.0"),
    }


def test_seconds_of_earlier_tries_count_until_their_epoch_ends():
    clock = Clock()
    clock.recall({"seconds": 9e9, "train_seconds": 8e9})
    assert clock.spent()["seconds"] >= 9e9 > clock.spent()["train_seconds"] >= 8e9
    clock.start_epoch()
    assert all(seconds < 8e9 for seconds in clock.spent().values())


def test_result_is_that_of_the_last_epoch_and_never_of_the_best(tiny, tmp_path):
    run, accuracies = RunDir(tmp_path), (0.9, 0.3, 0.7, 0.8, 0.5, 0.1, 0.6)
    for epoch, accuracy in enumerate(accuracies, 1):
        losses = {"train_loss": epoch + 0.5, "val_loss": float(epoch)}
        figures = {"train_accuracy": accuracy / 2, "val_accuracy": accuracy, "gradient_norm": 1.0}
        where = {"epoch": epoch, "step": epoch, "images": epoch, "learning_rate": 0.1}
        append_rows(run.metrics, [EpochRow(**where, **losses, **figures)])
        append_rows(run.timing, [TimingRow(epoch, 10.0, 1.0, 1.0)])
    counts = {"train": 70, "val": 20, "test": 30}
    write_json(run.images, {"classes": ["a", "b", "c", "d"], "counts": counts})
    write_json(run.environment, {})
    state = start_state(tiny, 4, torch.device("cpu"))
    result = make_result(run, tiny, state, {"test_accuracy": 0.4, "test_loss": 2.0}, 5.0)
    expected = {
        "epochs_finished": 7,
        "val_accuracy": 0.6,
        "val_accuracy_median5": 0.6,
        "mean_val_accuracy": pytest.approx(3.9 / 7),
        "val_loss": 7.0,
        "train_accuracy": 0.3,
        "train_loss": 7.5,
        "test_accuracy": 0.4,
        "seconds": 75.0,
        "chance_accuracy": 0.25,
        "test_images": 30,
    }
    assert {key: result[key] for key in expected} == expected


def test_loss_that_is_not_finite_ends_as_diverged_with_its_step(tiny):
    wild = replace(
        tiny,
        norm=NormConfig(name="none"),
        optimizer=OptimizerConfig(learning_rate=1e6, learning_rate_scaling="none"),
    )
    outcome = experiment.run(wild)
    assert outcome.status == "diverged"
    step = outcome.result["diverged_at_step"]
    assert 1 < step <= 24
    assert outcome.result["steps"] == step
    assert outcome.result["test_accuracy"] is None
    assert read_status(outcome.run) == {"status": "diverged", "step": step}
    assert experiment.run(wild).status == "diverged"  # a result: not run again
    (row,) = read_rows(outcome.run.path.parent / "results.csv")
    assert (row["status"], row["diverged_at_step"]) == ("diverged", str(step))


def test_norm_that_cannot_work_leaves_no_folder(tiny):
    wrong = replace(tiny, norm=NormConfig(name="group", num_groups=7))
    with pytest.raises(ConfigError, match="does not divide"):
        experiment.run(wrong)
    assert list(Path(tiny.runs_dir).iterdir()) == []


def test_error_that_nobody_foresaw_is_a_failed_run_with_its_traceback(tiny, monkeypatch):
    def broken(*args: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("nnexp.training.loop.learning_rate_at", broken)
    outcome = experiment.run(tiny)
    assert outcome.status == "failed"
    assert read_status(outcome.run) == {"status": "failed", "reason": "ZeroDivisionError: by zero"}
    assert "in broken" in outcome.run.log.read_text()
    monkeypatch.undo()
    assert experiment.run(tiny).status == "done"


def test_two_processes_never_train_one_run(tiny):
    run = RunDir(experiment.run(replace(tiny, epochs=1)).run.path)
    run.result.unlink()
    with locked(run), pytest.raises(RunError, match=f"is being trained by process {os.getpid()}"):
        experiment.run(replace(tiny, epochs=1))


@contextmanager
def as_another_user(folder: Path) -> Iterator[None]:
    """Let this process read a folder and all in it, and write nothing there."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & 0o555)
    user = os.geteuid()
    if user == 0:  # who may write everywhere
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for path in (folder, *folder.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)


@pytest.fixture
def near(tiny, tmp_path, monkeypatch):
    """A run in a relative folder: another user may not walk through those above it."""
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return replace(tiny, runs_dir="runs", epochs=1)


@pytest.mark.parametrize("left_open", [False, True])
def test_finished_run_is_read_where_nothing_can_be_written(near, left_open):
    run = experiment.run(near).run
    if left_open:  # by a kill between the result and the status
        write_status(run, "running")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with as_another_user(Path("runs")):
        outcome = experiment.run(replace(near, trace=TraceConfig(points=3)))
        assert (outcome.status, outcome.result["steps"]) == ("done", 8)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_finished_run_takes_no_lock(near):
    run = experiment.run(near).run
    (run.path / ".lock").unlink()
    (run.path / ".lock").symlink_to("victim")
    assert experiment.run(near).status == "done"
    assert not (run.path / "victim").exists()


@pytest.mark.parametrize("begun", [False, True])
def test_folder_of_another_user_is_refused_in_two_lines(near, begun):
    if begun:
        experiment.run(near).run.result.unlink()
    Path("runs").mkdir(exist_ok=True)
    with as_another_user(Path("runs")), pytest.raises(ConfigError) as refused:
        experiment.run(near)
    assert refused.value.problem.startswith(f"runs/{run_id(near)}")
    assert refused.value.problem.endswith("cannot be written: permission denied")
    assert "runs_dir=FOLDER" in refused.value.remedy


def test_run_that_another_user_trains_is_seen_to_be_held(near):
    run = RunDir(Path("runs") / run_id(near))
    with locked(run), as_another_user(Path("runs")):
        assert is_locked(run) == f"process {os.getpid()} on {socket.gethostname()}"


def test_edited_config_is_refused_not_mixed_in(tiny):
    run = experiment.run(tiny).run
    run.config.write_text(run.config.read_text().replace("batch_size: 16", "batch_size: 17"))
    run.result.unlink()
    with pytest.raises(RunError, match="was edited or is damaged"):
        experiment.run(tiny)


def test_other_images_are_refused_not_mixed_in(tiny):
    run = experiment.run(tiny).run
    record = json.loads(run.environment.read_text())
    write_json(run.environment, {**record, "images_sha256": "0" * 64})
    run.result.unlink()
    with pytest.raises(RunError, match="trained on other images"):
        experiment.run(tiny)


def test_finished_run_does_not_answer_for_other_photographs(tiny, tmp_path):
    write_photos(tmp_path / "a", seed=1)
    write_photos(tmp_path / "b", seed=2)
    config = replace(
        tiny, data=DataConfig(name="folder", root=str(tmp_path / "a"), val_images=10), epochs=1
    )
    assert experiment.run(config).status == "done"
    assert experiment.run(config).status == "done"
    with pytest.raises(RunError, match="trained on other images"):
        experiment.run(replace(config, data=replace(config.data, root=str(tmp_path / "b"))))


def write_photos(root: Path, seed: int) -> None:
    from PIL import Image

    generator = np.random.default_rng(seed)
    for split, count in (("train", 8), ("test", 2)):
        for name in ("cat", "dog", "emu"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{index}.png")


def test_weights_broken_by_the_last_step_are_a_divergence_too(tiny):
    wild = replace(
        tiny,
        batch_size=120,
        epochs=1,
        schedule=ScheduleConfig(warmup=0.0),
        optimizer=OptimizerConfig(learning_rate=1e30, learning_rate_scaling="none"),
    )
    outcome = experiment.run(wild)
    assert (outcome.status, outcome.result["diverged_at_step"]) == ("diverged", 1)


def test_model_is_checked_before_images_are_fetched(tiny):
    config = replace(
        tiny,
        norm=NormConfig(at={"conv9": "layer"}),
        data=DataConfig(name="folder", root="/nowhere"),
    )
    with pytest.raises(ConfigError, match="no block 'conv9'"):
        experiment.run(config)


def test_bf16_keeps_running_statistics_and_metrics_finite(tiny):
    outcome = experiment.run(replace(tiny, precision="bf16"))
    assert outcome.status == "done"
    assert math.isfinite(outcome.result["test_loss"])


def test_gradient_norm_is_clipped_where_asked(tiny):
    loose = experiment.run(tiny).run
    tight = experiment.run(replace(tiny, optimizer=replace(tiny.optimizer, clip_norm=0.01))).run
    first = [float(read_rows(run.metrics)[0]["gradient_norm"]) for run in (loose, tight)]
    assert all(norm > 0.01 for norm in first)  # reported as it was before clipping
    assert loose.metrics.read_bytes() != tight.metrics.read_bytes()


@pytest.mark.parametrize("has_bf16", [True, False])
def test_run_says_where_the_processor_emulates_bfloat16(tiny, monkeypatch, has_bf16):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: has_bf16)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
    outcome = experiment.run(replace(tiny, precision="bf16", epochs=1))
    assert ("emulates it; precision=fp32" in outcome.run.log.read_text("utf-8")) != has_bf16


class Noting(experiment.Listener):
    """Notes when a run begins and ends; `then` is called when it has begun."""

    def __init__(self, events, then=lambda: None):
        self.events, self.then = events, then

    def started(self, info):
        self.events.append(f"seed {info.config.seed} started")
        self.then()

    def finished(self, run, result):
        self.events.append(f"seed {result['seed']} finished")


def test_runs_in_two_threads_of_a_process_are_trained_one_after_the_other(tiny, tmp_path):
    events: list[str] = []
    configs = [replace(tiny, seed=0), replace(tiny, seed=1)]
    begun = threading.Event()
    with ThreadPoolExecutor(1) as threads:

        def train_second():
            begun.set()
            return experiment.run(configs[1], [Noting(events)])

        def start_second():
            later.append(threads.submit(train_second))
            begun.wait()

        later: list[Future[experiment.Outcome]] = []
        first = experiment.run(configs[0], [Noting(events, start_second)])
        second = later[0].result()
    assert events == [f"seed {seed} {what}" for seed in (0, 1) for what in ("started", "finished")]
    for outcome, config in zip((first, second), configs, strict=True):
        alone = experiment.run(replace(config, runs_dir=str(tmp_path / "alone")))
        assert tables_of(outcome.run) == tables_of(alone.run)


def test_a_run_inside_a_run_is_refused(tiny):
    refused: list[ConfigError] = []

    def train_another():
        with pytest.raises(ConfigError, match="inside another run") as error:
            experiment.run(replace(tiny, seed=1))
        refused.append(error.value)

    outcome = experiment.run(replace(tiny, epochs=1), [Noting([], train_another)])
    assert (outcome.status, len(refused)) == ("done", 1)
    assert refused[0].remedy
