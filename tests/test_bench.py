import csv
import multiprocessing
import sys
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from nnexp.bench.attainable import count_flops
from nnexp.bench.bench import BenchRow, BenchSettings, bench
from nnexp.bench.contenders import bare_step, starting_network, timm_step
from nnexp.bench.tables import bench_notes, bench_table, write_bench_csv
from nnexp.data import load_images
from nnexp.settings import NormConfig, OptimizerConfig


class Here(Executor):
    """Calls functions in this process, where the other one would."""

    def submit(self, fn, /, *args, **named):
        future = Future()
        future.set_result(fn(*args, **named))
        return future


def bench_here(config, settings) -> BenchRow:
    return bench(config, settings, Here(), Here())


@pytest.fixture
def row(tiny) -> BenchRow:
    config = replace(tiny, norm=NormConfig(name="group"))
    return bench_here(config, BenchSettings(rounds=2, steps=3))


def test_bench_measures_every_contender_and_its_row_adds_up(row):
    assert 0 < row.to_bare_step_least <= row.to_bare_step <= row.to_bare_step_most
    assert 0 < row.step_ms_fastest <= row.step_ms <= row.step_ms_slowest
    assert row.images_per_second == pytest.approx(16 * 1000 / row.step_ms)
    assert row.to_plain_loop > 0
    assert 0 < row.share_of_matmul < 1
    assert row.to_textbook_loop is not None
    assert row.to_textbook_loop > 0
    assert row.to_timm_step is not None
    assert row.to_timm_step > 0
    assert row.peak_memory_mb > 50
    assert (row.model, row.norm, row.batch_size) == ("baseline", "group", 16)


def test_row_of_captured_steps_that_gave_way_to_eager_ones_says_eager(tiny, monkeypatch):
    class NoGraphs:
        def __init__(self, device):
            pass

        def record(self, work):
            raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr("nnexp.training.step_kinds.CudaGraphs", NoGraphs)
    for module in ("bench", "contenders"):
        monkeypatch.setattr(f"nnexp.bench.{module}.choose_step", lambda *args: "captured")
    settings = BenchSettings(rounds=1, steps=2, textbook=False)
    assert bench_here(tiny, settings).step == "eager"


def test_table_shows_the_row_and_names_once_what_is_equal_in_all(row):
    table = bench_table([row])
    cells = [next(iter(column.cells)) for column in table.columns]
    assert cells[:3] == ["baseline", "group", "16"]
    assert cells[4] == f"{row.to_bare_step:.2f}"
    assert bench_notes([row], 2, 3)[-1] == (
        "in every row: precision fp32, memory_format nhwc, step eager, device cpu, threads 1"
    )
    both = bench_table([row, replace(row, precision="bf16")])
    assert [*both.columns[2].cells] == ["fp32", "bf16"]


def test_csv_holds_every_value(row, capsys):
    write_bench_csv([row])
    (read,) = pd.read_csv(StringIO(capsys.readouterr().out)).to_dict("records")
    assert read == pytest.approx(asdict(row))


def test_operations_of_a_step_are_those_of_the_formula():
    """A convolution forward, and backward for its weight; for its input only where one asks."""
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8)),
        *(nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Flatten(), nn.Linear(4 * 64, 10)),
    )
    conv, depthwise, transposed = 2 * 2 * 16 * 8 * 27, 2 * 2 * 16 * 8 * 9, 2 * 2 * 16 * 8 * 4 * 4
    linear = 2 * 2 * 256 * 10
    counted = count_flops(model, torch.randn(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64))
    assert counted == 2 * conv + 3 * (depthwise + transposed + linear)


def test_textbook_loop_can_be_left_out_in_a_process_of_its_own(tiny):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        settings = BenchSettings(rounds=1, steps=2, textbook=False)
        row = bench(tiny, settings, process, process)
    assert row.to_textbook_loop is None
    assert row.to_plain_loop > 0


def test_without_timm_its_step_is_not_measured_and_has_no_column(tiny, row, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    without = bench_here(tiny, BenchSettings(rounds=1, steps=2, textbook=False))
    assert without.to_timm_step is None
    headings = {column.header for column in bench_table([row]).columns}
    assert headings - {column.header for column in bench_table([without]).columns} == {
        "÷ timm's step"
    }
    assert [*bench_table([row, without]).columns[5].cells] == [f"{row.to_timm_step:.2f}", "–"]


@pytest.mark.parametrize("decay_norm_and_bias", [False, True])
def test_timms_step_learns_what_the_bare_step_learns(tiny, decay_norm_and_bias):
    optimizer = OptimizerConfig(weight_decay=1.0, decay_norm_and_bias=decay_norm_and_bias)
    config = replace(tiny, model=replace(tiny.model, dropout=0.0), optimizer=optimizer)
    images, cpu = load_images(config.data), torch.device("cpu")

    def learned(make_turn):
        model = starting_network(config, len(images.classes), cpu)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        make_turn(model, config, images, cpu)()
        return {name: tensor - before[name] for name, tensor in model.state_dict().items()}

    bare, timm = learned(bare_step), learned(timm_step)
    for name, change in bare.items():
        assert change.abs().max() > 0, name
        scale = change.abs().max()
        torch.testing.assert_close(timm[name] / scale, change / scale, rtol=0, atol=1e-4)


def test_page_shows_the_ratios_of_its_rows():
    root = Path(__file__).parent.parent / "docs"
    page = (root / "commands.md").read_text("utf-8")
    rows = list(csv.DictReader((root / "results/bench-cpu.csv").read_text("utf-8").splitlines()))
    assert len(rows) == page.count(") | ") == 32
    for row in rows:
        others = ("bare_step", "bare_step_least", "bare_step_most", "timm_step", "plain_loop")
        middle, least, most, timm, plain = (f"{float(row[f'to_{name}']):.2f}" for name in others)
        start = " | ".join(row[name] for name in ("model", "norm", "batch_size", "precision"))
        speed = f"{float(row['images_per_second']):,.0f}"
        assert f"| {start} | {speed} | {middle} ({least} to {most}) | {timm} | {plain} |" in page
