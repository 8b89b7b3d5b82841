"""How fast nnexp trains, beside other loops that take turns with it."""

import multiprocessing
import statistics
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch
from torch import nn

from nnexp.bench.attainable import count_flops, measure_attainable
from nnexp.bench.contenders import (
    Turn,
    bare_step,
    nnexp_loop,
    plain_loop,
    starting_network,
    textbook_loop,
    timm_step,
)
from nnexp.data import Images, load_images, normalized
from nnexp.probes import trace_steps
from nnexp.settings import ExperimentConfig, signature
from nnexp.training import (
    build_checked_model,
    choose_device,
    choose_layout,
    choose_step,
    device_name,
    peak_memory_mb,
    plan_run,
    prepare_process,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """How long to measure."""

    rounds: int = 5  # times that all contenders take their turn
    steps: int = 10  # steps of a turn
    textbook: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """What one cell came to; ratios are nnexp's throughput over the other's, median of rounds."""

    model: str
    norm: str
    batch_size: int
    precision: str
    memory_format: str
    step: str  # as it was executed: eager where a capture failed
    images_per_second: float
    step_ms: float
    step_ms_fastest: float
    step_ms_slowest: float
    to_bare_step: float
    to_bare_step_least: float
    to_bare_step_most: float
    to_plain_loop: float
    to_textbook_loop: float | None
    to_timm_step: float | None
    share_of_matmul: float  # operations a second, over those of a large matrix product
    trace_cost: float  # share of a run's time that its traces take, at this config's length
    peak_memory_mb: float  # of nnexp's process
    matmul_gflops: float  # measured in the same process
    copy_gb_per_second: float
    device: str
    threads: int


_turns: dict[str, Turn] = {}  # of this process, by the name of the loop


def differing_in_speed(configs: Iterable[ExperimentConfig]) -> list[ExperimentConfig]:
    """Return one of all settings that differ in the seed or the learning rate alone."""
    cells: dict[str, ExperimentConfig] = {}
    for config in configs:
        optimizer = replace(config.optimizer, learning_rate=1.0)
        cells.setdefault(signature(replace(config, seed=0, optimizer=optimizer)), config)
    return list(cells.values())


def bench(
    config: ExperimentConfig, settings: BenchSettings, ours: Executor, others: Executor
) -> BenchRow:
    """Measure one model × norm × batch size, in the precision and layout of the settings.

    Loops take turns of `settings.steps` steps, `settings.rounds` times, after one turn that does
    not count: nnexp's own loop (order, crops, flips, normalization, learning rate, totals), with
    traces and without; the bare step (forward, loss, backward, SGD on one batch in memory); timm's
    training step on the same batch, where timm is installed; a plain loop that is written with
    care; the loop of tutorials (DataLoader with two workers, PIL transforms, `.item()` at every
    step).

    Args:
        config: The settings.
        settings: How long to measure.
        ours: Calls functions in the process in which nnexp's loop runs, as `nnexp train` would.
        others: Calls them where the other loops run, with memory as PyTorch's users have it.
    """
    run_steps = _run_steps(config)
    traced = len(trace_steps(run_steps, config.trace.points)) / run_steps
    config = _short(config, settings.steps)
    own = ours.submit(_make_own_turns, config)
    names = others.submit(_make_others, config, settings).result()
    step, memory = own.result()
    processes = dict.fromkeys(("nnexp", "traced"), ours) | dict.fromkeys(names, others)
    seconds = [
        {name: process.submit(_take_turn, name).result() for name, process in processes.items()}
        for _ in range(settings.rounds)
    ]
    return ours.submit(_row, config, seconds, traced, memory, step).result()


def bench_in_own_processes(config: ExperimentConfig, settings: BenchSettings) -> BenchRow:
    """Return what `bench` measures in two fresh processes, so that memory is this cell's own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as ours, ProcessPoolExecutor(1, spawn) as others:
        return bench(config, settings, ours, others)


def _make_own_turns(config: ExperimentConfig) -> tuple[str, float]:
    """Return how the steps are executed, and the most memory that they took, in MiB."""
    device = choose_device(config.device)
    prepare_process(config, device)
    images = load_images(config.data).to(device)
    gave_way: list[str] = []  # why captured steps gave way to eager ones
    for name, traced in (("nnexp", False), ("traced", True)):
        _turns[name] = nnexp_loop(config, images, device, traced=traced, note=gave_way.append)
        _take_turn(name)
    return "eager" if gave_way else choose_step(config, device), peak_memory_mb(device)


def _make_others(config: ExperimentConfig, settings: BenchSettings) -> list[str]:
    """Return the names of the other loops."""
    device = choose_device(config.device)
    prepare_process(config, device, keep_memory=False)
    images = load_images(config.data).to(device)

    def network() -> nn.Module:
        return starting_network(config, len(images.classes), device)

    others = {
        "bare": bare_step(network(), config, images, device),
        "plain": plain_loop(config, images, device),
    }
    if find_spec("timm"):
        others["timm"] = timm_step(network(), config, images, device)
    if settings.textbook:
        others["textbook"] = textbook_loop(config, images, device)
    _turns.update(others)
    for name in others:
        _take_turn(name)
    return list(others)


def _take_turn(name: str) -> float:
    return _turns[name]()


def _row(
    config: ExperimentConfig,
    seconds: Sequence[Mapping[str, float]],
    traced: float,
    memory: float,
    step: str,
) -> BenchRow:
    def ratios(name: str) -> list[float]:
        return [turn[name] / turn["nnexp"] for turn in seconds]

    def median_if_measured(name: str) -> float | None:
        return statistics.median(ratios(name)) if name in seconds[0] else None

    device = choose_device(config.device)
    images = load_images(config.data).to(device)
    steps = len(images.train) // config.batch_size
    step_ms = [1000 * turn["nnexp"] / steps for turn in seconds]
    attainable = measure_attainable(config.precision, device)
    flops = _flops_of_step(config, images, device) / statistics.median(step_ms) * 1000
    return BenchRow(
        model=config.model.name,
        norm=config.norm.name,
        batch_size=config.batch_size,
        precision=config.precision,
        memory_format=choose_layout(config, device),
        step=step,
        images_per_second=1000 * config.batch_size / statistics.median(step_ms),
        step_ms=statistics.median(step_ms),
        step_ms_fastest=min(step_ms),
        step_ms_slowest=max(step_ms),
        to_bare_step=statistics.median(ratios("bare")),
        to_bare_step_least=min(ratios("bare")),
        to_bare_step_most=max(ratios("bare")),
        to_plain_loop=statistics.median(ratios("plain")),
        to_textbook_loop=median_if_measured("textbook"),
        to_timm_step=median_if_measured("timm"),
        share_of_matmul=flops / attainable.flops,
        trace_cost=(statistics.median(ratios("traced")) - 1) * traced,
        peak_memory_mb=memory,
        matmul_gflops=attainable.flops / 1e9,
        copy_gb_per_second=attainable.bytes / 1e9,
        device=device_name(device),
        threads=torch.get_num_threads(),
    )


def _flops_of_step(config: ExperimentConfig, images: Images, device: torch.device) -> int:
    """Return the operations of a step; every norm and layout has the same."""
    part = slice(config.batch_size)
    model = build_checked_model(config, len(images.classes)).to(device)
    batch = normalized(images.train.images[part], images.mean, images.std)
    return count_flops(model, batch, images.train.labels[part])


def _run_steps(config: ExperimentConfig) -> int:
    num_images = config.data.train_images or 50_000 - config.data.val_images
    return plan_run(config, num_images).total_steps


def _short(config: ExperimentConfig, steps: int) -> ExperimentConfig:
    """Return the settings with one epoch of `steps` full batches."""
    data = replace(config.data, train_images=steps * config.batch_size, val_images=10)
    return replace(config, data=replace(data, test_images=10), epochs=1, max_steps=None)
