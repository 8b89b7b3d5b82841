import hashlib
import os
import platform
import resource
import signal
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from nnexp import experiment
from nnexp.experiment import environment
from nnexp.experiment.environment import describe_environment, differences, environment_columns
from nnexp.rundir import read_json, write_json
from nnexp.settings import ConfigError, ExperimentConfig, signature
from nnexp.training import (
    EpochTotals,
    choose_device,
    peak_memory_mb,
    prepare_process,
    seed_random_layers,
)

CPU = torch.device("cpu")


class StopAfterFirstEpoch(experiment.Listener):
    """Interrupts the run, as Ctrl-C does, and keeps what it said."""

    def __init__(self) -> None:
        self.lines = []

    def epoch(self, row, images_per_second):
        if row["epoch"] == 1:
            signal.raise_signal(signal.SIGTERM)

    def note(self, text):
        self.lines.append(text)


def test_peak_memory_is_that_since_the_process_was_prepared(tiny):
    """A large run before must not show in the peak of a small one after it."""
    prepare_process(tiny, CPU)
    block = np.ones(64 * 2**20, dtype=np.uint8)
    with_block = peak_memory_mb(CPU)
    del block
    prepare_process(tiny, CPU)
    assert peak_memory_mb(CPU) < with_block - 50


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_is_freed_is_kept_for_the_next_step(tiny):
    def new_pages():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(10 * 2**20)  # 40 MiB: 10,240 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    prepare_process(tiny, CPU)
    pages = [new_pages() for _ in range(20)]  # glibc's caches of small chunks are full by then
    assert sum(pages[-5:]) < 1000


def test_threads_of_one_run_do_not_stay_for_the_next(tiny, monkeypatch):
    monkeypatch.setattr("nnexp.training.device.USUAL_THREADS", 1)
    prepare_process(replace(tiny, threads=2), CPU)
    assert torch.get_num_threads() == 2
    prepare_process(replace(tiny, threads=None), CPU)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "mps", "cpu:x"])
def test_device_that_is_not_here_is_refused(name):
    with pytest.raises(ConfigError, match=r"device"):
        choose_device(name)


@pytest.mark.parametrize("name", ["mps", "xpu"])
def test_device_that_nnexp_never_ran_on_is_let_through_where_it_is(name, monkeypatch):
    monkeypatch.setattr(f"torch.{name}.device_count", lambda: 1)
    assert choose_device(name) == torch.device(name)
    with pytest.raises(ConfigError) as refusal:
        choose_device(f"{name}:1")
    assert refusal.value.remedy == f"{name.upper()} devices here: 1"


def test_a_run_on_a_device_that_nnexp_never_ran_on_says_so(tiny, monkeypatch):
    """The images never reach the device, which is not here: the note comes before."""
    monkeypatch.setattr("torch.mps.device_count", lambda: 1)
    monkeypatch.setattr("nnexp.experiment.runner.load_images", lambda *args: 1 / 0)
    listener = StopAfterFirstEpoch()
    experiment.run(replace(tiny, device="mps"), [listener])
    assert "nnexp was never tested on mps: compare a short run with device=cpu" in listener.lines


def test_what_needs_float64_is_refused_on_a_device_without(tiny):
    reference = replace(tiny, norm=replace(tiny.norm, implementation="reference"))
    probed = replace(tiny, probe=replace(tiny.probe, points=1))
    for config in (reference, probed):
        prepare_process(config, CPU)
        with pytest.raises(ConfigError, match="needs float64, which mps does not have"):
            prepare_process(config, torch.device("mps"))


def test_sums_in_float64_are_kept_on_the_host_where_a_device_has_none():
    assert EpochTotals.zeros(torch.device("mps")).loss.device == CPU
    assert EpochTotals.zeros(torch.device("meta")).loss.device.type == "meta"


def test_peak_memory_of_other_devices_is_their_own(monkeypatch):
    monkeypatch.setattr("torch.mps.driver_allocated_memory", lambda: 3 * 2**20)
    monkeypatch.setattr("torch.xpu.max_memory_allocated", lambda device: 5 * 2**20)
    assert peak_memory_mb(torch.device("mps")) == 3
    assert peak_memory_mb(torch.device("xpu:1")) == 5


def test_random_layers_of_other_devices_are_seeded_as_those_of_the_cpu(monkeypatch):
    seeds, generators = [], [torch.Generator(), torch.Generator()]
    monkeypatch.setattr("torch.mps.manual_seed", seeds.append)
    monkeypatch.setattr("torch.xpu.default_generators", generators)
    seed_random_layers(3, 7, torch.device("mps"))
    seed_random_layers(3, 7, torch.device("xpu:1"))
    assert seeds == [torch.initial_seed()] == [generators[1].initial_seed()]


@pytest.fixture
def _backends():
    """Put what a process computes with back."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32)
    yield
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = before


@pytest.mark.usefixtures("_backends")
@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_exact_kernels_are_a_setting(tiny, monkeypatch, tf32, deterministic):
    monkeypatch.setattr("torch.cuda.init", lambda: None)
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda device: None)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is put back
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    config = replace(tiny, tf32=tf32, deterministic=deterministic)
    prepare_process(config, torch.device("cuda"))
    cudnn = torch.backends.cudnn
    assert cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == tf32
    assert cudnn.deterministic == deterministic == (not cudnn.benchmark)
    assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == deterministic


def test_execution_names_a_run_only_where_it_is_not_the_default(tiny):
    """So runs from before these settings keep their folders."""
    names = {signature(tiny)}
    others = ({"step": "eager"}, {"step": "compiled"}, {"tf32": True}, {"deterministic": False})
    names |= {signature(replace(tiny, **other)) for other in others}
    assert len(names) == 5
    assert signature(ExperimentConfig()) == hashlib.sha256(b"{}").hexdigest()[:8]


def test_run_says_how_its_steps_are_executed_and_one_from_before_the_choice_was_eager(
    tiny, monkeypatch
):
    listener = StopAfterFirstEpoch()
    run = experiment.run(tiny, [listener]).run
    record = read_json(run.environment)
    assert record.pop("step") == "eager"
    write_json(run.environment, record)
    monkeypatch.setattr("nnexp.experiment.runner.choose_step", lambda *args: "captured")
    result = experiment.run(tiny, [listener]).result
    assert (result["status"], result["environments"]) == ("done", 1)
    assert read_json(run.environment)["resumed"][0]["step"] == "eager"


def test_environment_names_the_build_and_the_command_as_it_can_be_typed_again():
    record = describe_environment(CPU, ["nnexp", "train", "tags=[a b]"], "nhwc", "eager")
    assert record["torch"] == torch.__version__
    assert record["command"] == "nnexp train 'tags=[a b]'"
    assert record["threads"] == torch.get_num_threads()


def test_only_what_decides_the_last_digits_counts_as_a_difference():
    record = {"torch": "2.15", "threads": 2, "device": "cpu"}
    assert differences(record, {**record, "cpus": 8}) == []
    assert differences(record, {**record, "threads": 1}) == ["threads: 2 then, 1 now"]


@pytest.mark.parametrize("key", ["threads", "device", "torch", "numpy", "commit"])
def test_tries_in_different_environments_are_counted(key):
    record = {"threads": 2, "device": "cpu", "torch": "2.15", "numpy": "2.4", "commit": "abc"}
    same, other = {**record, "cpus": 8}, {**record, key: "other"}
    assert environment_columns(record)["environments"] == 1
    assert environment_columns({**record, "resumed": [same]})["environments"] == 1
    assert environment_columns({**record, "resumed": [other, same]})["environments"] == 2


def test_result_of_a_run_resumed_by_another_commit_says_that_it_is_a_mix(tiny):
    listener = StopAfterFirstEpoch()
    run = experiment.run(tiny, [listener]).run
    write_json(run.environment, {**read_json(run.environment), "commit": "0" * 40})
    result = experiment.run(tiny, [listener]).result
    assert (result["status"], result["environments"]) == ("done", 2)
    assert result["environment.commit"] == "0" * 40
    assert any("resumed in another environment" in line for line in listener.lines)
    assert "environments" in (run.path.parent / "results.csv").read_text().splitlines()[0]


def test_resumed_epoch_counts_the_seconds_of_the_try_before(tiny, monkeypatch):
    earlier = {"seconds": 1000.0, "train_seconds": 500.0}
    with monkeypatch.context() as patch:
        patch.setattr("nnexp.experiment.clock.Clock.spent", lambda clock: earlier)
        run = experiment.run(tiny, [StopAfterFirstEpoch()]).run
    experiment.run(tiny)
    second = pd.read_csv(run.timing).iloc[1]
    assert 1000 < second["seconds"] < 1100
    assert second["images_per_second"] == pytest.approx(tiny.data.train_images / 500, rel=0.1)


def test_untracked_files_do_not_make_a_tree_dirty(tmp_path, monkeypatch):
    """As if nnexp lay in a repository of its own, of which one file is not known to git."""
    place = tmp_path / "nnexp" / "experiment" / "environment.py"
    place.parent.mkdir(parents=True)
    place.touch()
    monkeypatch.setattr(environment, "__file__", str(place))

    def git(*words):
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *author, *words], check=True, capture_output=True)

    git("init", "-q")
    git("add", "nnexp")
    git("commit", "-qm", "start")
    (tmp_path / "report.html").write_text("a page")
    assert environment._commit()["dirty"] is False
    place.write_text("changed")
    assert environment._commit()["dirty"] is True


@pytest.mark.usefixtures("_backends")
@pytest.mark.parametrize(("name", "chosen"), [("cuda:1", ["cuda:1"]), ("cuda", [])])
def test_process_uses_the_gpu_that_is_named_and_no_other(tiny, monkeypatch, name, chosen):
    current = []
    monkeypatch.setattr("torch.cuda.init", lambda: None)
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr("torch.cuda.set_device", lambda device: current.append(str(device)))
    prepare_process(replace(tiny, deterministic=False), torch.device(name))
    assert current == chosen


@pytest.mark.gpu
def test_cuda_is_prepared_before_anything_else_touched_it(tiny):
    prepare_process(tiny, torch.device("cuda"))
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
    assert torch.cuda.is_initialized()
