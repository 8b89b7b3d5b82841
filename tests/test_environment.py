import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import nnexp
from nnexp import experiment
from nnexp.experiment.environment import describe_environment, differences, environment_columns
from nnexp.rundir import read_json, write_json
from nnexp.settings import ConfigError
from nnexp.training import choose_device, peak_memory_mb, prepare_process

CPU = torch.device("cpu")


def test_peak_memory_is_that_since_the_process_was_prepared(tiny):
    """A large run before must not show in the peak of a small one after it."""
    prepare_process(tiny, CPU)
    block = np.ones(64 * 2**20, dtype=np.uint8)
    with_block = peak_memory_mb(CPU)
    del block
    prepare_process(tiny, CPU)
    assert peak_memory_mb(CPU) < with_block - 50


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


def test_environment_names_the_build_and_the_command_as_it_can_be_typed_again():
    record = describe_environment(CPU, ["nnexp", "train", "tags=[a b]"], "nhwc")
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


class StopAfterFirstEpoch(experiment.Listener):
    """Interrupts the run, as Ctrl-C does, and keeps what it said."""

    def __init__(self) -> None:
        self.lines = []

    def epoch(self, row, images_per_second):
        if row["epoch"] == 1:
            signal.raise_signal(signal.SIGTERM)

    def note(self, text):
        self.lines.append(text)


def test_result_of_a_run_resumed_by_another_commit_says_that_it_is_a_mix(tiny):
    listener = StopAfterFirstEpoch()
    run = experiment.run(tiny, [listener]).run
    write_json(run.environment, {**read_json(run.environment), "commit": "0" * 40})
    result = experiment.run(tiny, [listener]).result
    assert (result["status"], result["environments"]) == ("done", 2)
    assert result["environment.commit"] == "0" * 40
    assert any("resumed in another environment" in line for line in listener.lines)
    assert "environments" in (run.path.parent / "results.csv").read_text().splitlines()[0]


def test_untracked_files_do_not_make_a_tree_dirty(tmp_path):
    """A copy of nnexp in a repository of its own, of which one file is not known to git."""
    shutil.copytree(Path(nnexp.__file__).parent, tmp_path / "nnexp")

    def git(*words):
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *author, *words], check=True, capture_output=True)

    def dirty() -> str:
        code = "from nnexp.experiment.environment import _commit; print(_commit()['dirty'])"
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    git("add", "nnexp/__init__.py", "nnexp/experiment")
    git("commit", "-qm", "start")
    (tmp_path / "report.html").write_text("a page")
    assert dirty() == "False"
    (tmp_path / "nnexp" / "__init__.py").write_text('__version__ = "0"\n')
    assert dirty() == "True"


@pytest.mark.gpu
def test_cuda_is_prepared_before_anything_else_touched_it(tiny):
    prepare_process(tiny, torch.device("cuda"))
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
    assert torch.cuda.is_initialized()
