import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from nnexp.experiment.environment import describe_environment, differences
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
    record = describe_environment(CPU, ["nnexp", "train", "tags=[a b]"])
    assert record["torch"] == torch.__version__
    assert record["command"] == "nnexp train 'tags=[a b]'"
    assert record["threads"] == torch.get_num_threads()


def test_only_what_decides_the_last_digits_counts_as_a_difference():
    record = {"torch": "2.15", "threads": 2, "device": "cpu"}
    assert differences(record, {**record, "cpus": 8}) == []
    assert differences(record, {**record, "threads": 1}) == ["threads: 2 then, 1 now"]


@pytest.mark.gpu
def test_cuda_is_prepared_before_anything_else_touched_it(tiny):
    prepare_process(tiny, torch.device("cuda"))
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
    assert torch.cuda.is_initialized()
