import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from nnexp import experiment
from nnexp.figures import save_figure
from nnexp.figures.traces import Series, draw_traces, load_series, load_traces
from nnexp.probes import batch_statistics, trace_steps
from nnexp.rundir import RunDir
from nnexp.settings import ConfigError, NormConfig, TraceConfig


def line(values, steps=None) -> Series:
    steps = np.arange(len(values)) if steps is None else np.asarray(steps)
    return Series(layer="a", quantity="running_mean", steps=steps, values=np.asarray(values))


@pytest.mark.parametrize("total", [1, 2, 7, 240, 100_000])
@pytest.mark.parametrize("points", [1, 2, 10, 50])
def test_trace_steps_run_from_the_first_to_the_last_and_are_no_more_than_asked(total, points):
    steps = trace_steps(total, points)
    assert total in steps
    assert points == 1 or 0 in steps
    assert len(steps) <= points
    assert min(steps) >= 0
    assert max(steps) == total


def test_trace_steps_are_even_in_log():
    steps = sorted(trace_steps(100_000, 60))[-20:]
    ratios = np.diff(np.log(steps))
    assert ratios.std() < 0.01 * ratios.mean()


@pytest.mark.parametrize("total", [1, 2, 7, 240, 3000])
def test_trace_steps_are_what_all_points_in_log_round_to(total):
    for points in (3, 10, 500, *range(round(total * np.log(total)), 30_000, 2_500)):
        spaced = np.geomspace(1, total, max(3, points) - 1)
        steps = {0, total, *(round(step) for step in spaced.tolist())}
        assert trace_steps(total, max(3, points)) == steps


def test_more_points_than_steps_take_no_more_memory():
    tracemalloc.start()
    try:
        assert trace_steps(1000, 10**12) == frozenset(range(1001))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_no_points_mean_no_steps():
    assert trace_steps(100, 0) == frozenset()


@pytest.mark.parametrize("norm", ["layer", "layer_chw", "instance", "group", "none"])
def test_norm_without_running_statistics_is_traced_at_its_input(tiny, norm):
    run = experiment.run(replace(tiny, norm=NormConfig(name=norm), epochs=1)).run
    traces = load_traces(run)
    assert set(traces["quantity"]) == {"batch_mean", "batch_var"}
    assert set(traces["layer"]) == {"conv1.norm", "conv2.norm", "conv3.norm"}
    assert traces["step"].min() == 1
    assert traces["step"].max() == 8
    assert (traces["epoch"] == traces["step"] // 8).all()


@pytest.mark.parametrize("shape", [(8, 5, 6, 6), (2, 3, 1, 1), (1, 4, 7, 7), (4, 300, 2, 2)])
def test_batch_statistics_are_mean_and_unbiased_variance_of_each_channel(shape):
    x_NCHW = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 5
    mean, variance = batch_statistics(x_NCHW)
    values = x_NCHW.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean.double(), values.mean(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(variance.double(), values.var(1), rtol=1e-4, atol=1e-6)


def test_every_norm_is_shown_the_same_first_batch_by_the_first_convolution(tiny):
    """Same seed, same weights, same images: what reaches the first norm is the same for all."""
    firsts = []
    for norm in ("layer", "group", "instance"):
        run = experiment.run(replace(tiny, norm=NormConfig(name=norm), epochs=1)).run
        traces = load_traces(run)
        firsts.append(traces[traces["step"] == 1].head(2).drop(columns="epoch").to_csv())
    assert firsts[0] == firsts[1] == firsts[2]


def test_settled_is_the_step_from_which_it_stays_near_its_end():
    assert line([0.0, 10.0, 1.0, 1.0, 1.0]).settled_at == 2
    assert line([0.0, 1.0, 1.0, 5.0], steps=[0, 1, 10, 100]).settled_at == 100
    assert line([3.0, 3.0, 3.0]).settled_at == 0


def test_line_of_a_diverged_run_is_drawn_as_far_as_it_is_finite(tmp_path):
    lost = line([0.0, 1.0, float("inf"), float("nan")], steps=[0, 1, 10, 100])
    assert lost.sparkline[0] == "▁"
    assert lost.sparkline[-1] == "×"
    assert lost.settled_at is None
    assert line([float("nan")] * 3).sparkline == "×" * 32


def test_diverged_run_can_be_drawn(tiny, tmp_path):
    wild = replace(
        tiny,
        norm=NormConfig(name="none"),
        optimizer=replace(tiny.optimizer, learning_rate=1e10),
    )
    outcome = experiment.run(wild)
    assert outcome.status == "diverged"
    save_figure(draw_traces([outcome.run]), tmp_path / "traces.png")
    assert any("×" in one.sparkline for one in load_series(load_traces(outcome.run)))


def test_sparkline_rises_with_the_values():
    bars = line(np.linspace(0, 1, 100), steps=np.arange(100)).sparkline
    assert len(bars) == 32
    assert bars[0] == "▁"
    assert bars[-1] == "█"
    assert list(bars) == sorted(bars)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_figure_is_written_in_the_format_of_its_ending(tiny, tmp_path, ending):
    run = experiment.run(tiny).run
    path = tmp_path / f"traces.{ending}"
    save_figure(draw_traces([run, run]), path)
    magic = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(magic)


def test_figure_draws_what_the_table_holds(tiny):
    run = experiment.run(tiny).run
    figure = draw_traces([run])
    drawn = {line.get_label(): line.get_ydata() for line in figure.axes[0].get_lines()}
    table = pd.read_csv(run.traces)
    rows = table[(table["layer"] == "conv2.norm") & (table["quantity"] == "running_mean")]
    assert np.array_equal(drawn["conv2.norm"], rows["mean"])


def test_single_layer_is_picked_by_name_and_a_wrong_one_is_answered_with_the_names(tiny):
    traces = load_traces(experiment.run(tiny).run)
    assert {one.layer for one in load_series(traces, "conv3.norm")} == {"conv3.norm"}
    with pytest.raises(ConfigError, match=r"conv1\.norm, conv2\.norm, conv3\.norm"):
        load_series(traces, "conv4.norm")


def test_run_that_is_not_there_or_has_no_traces_is_said(tiny, tmp_path):
    with pytest.raises(ConfigError, match="no run at"):
        load_traces(RunDir(tmp_path / "nowhere"))
    run = experiment.run(replace(tiny, trace=TraceConfig(points=0), epochs=1)).run
    with pytest.raises(ConfigError, match="has no traces"):
        load_traces(run)


def test_figure_into_an_unknown_format_or_folder_is_refused(tiny, tmp_path):
    figure = draw_traces([experiment.run(replace(tiny, epochs=1)).run])
    with pytest.raises(ConfigError, match=r"\.png, \.svg, \.pdf"):
        save_figure(figure, tmp_path / "traces.jpeg2")
    with pytest.raises(ConfigError, match="no folder"):
        save_figure(figure, Path(tmp_path / "nowhere" / "traces.png"))
