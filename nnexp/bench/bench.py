"""How fast nnexp trains, beside other loops, in turns in one process."""

import multiprocessing
import statistics
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
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
    peak_memory_mb: float  # of the process, before the other contenders ran
    matmul_gflops: float  # measured in the same process
    copy_gb_per_second: float
    device: str
    threads: int


def differing_in_speed(configs: Iterable[ExperimentConfig]) -> list[ExperimentConfig]:
    """Return one of all settings that differ in the seed or the learning rate alone."""
    cells: dict[str, ExperimentConfig] = {}
    for config in configs:
        optimizer = replace(config.optimizer, learning_rate=1.0)
        cells.setdefault(signature(replace(config, seed=0, optimizer=optimizer)), config)
    return list(cells.values())


def bench(config: ExperimentConfig, settings: BenchSettings) -> BenchRow:
    """Measure one model × norm × batch size, in the precision and layout of the settings.

    Contenders take turns of `settings.steps` steps, `settings.rounds` times, after one turn that
    does not count: nnexp's own loop (order, crops, flips, normalization, learning rate, totals),
    with traces and without; the bare step (forward, loss, backward, SGD on one batch in memory);
    timm's training step on the same batch, where timm is installed; a plain loop that is written
    with care; the loop of tutorials (DataLoader with two workers, PIL transforms, `.item()` at
    every step).
    """
    device = choose_device(config.device)
    prepare_process(config, device)
    run_steps = _run_steps(config)
    config = _short(config, settings.steps)
    images = load_images(config.data).to(device)
    gave_way: list[str] = []  # why captured steps gave way to eager ones
    turns = {
        name: nnexp_loop(config, images, device, traced=traced, note=gave_way.append)
        for name, traced in (("nnexp", False), ("traced", True))
    }
    for turn in turns.values():
        turn()
    memory = peak_memory_mb(device)
    others = _others(config, images, device, settings)
    for turn in others.values():
        turn()
    turns |= others
    seconds = [{name: turn() for name, turn in turns.items()} for _ in range(settings.rounds)]
    traced = len(trace_steps(run_steps, config.trace.points)) / run_steps
    row = _row(config, images, device, seconds, traced, memory)
    return replace(row, step="eager") if gave_way else row


def bench_in_own_process(config: ExperimentConfig, settings: BenchSettings) -> BenchRow:
    """Return what `bench` measures, in a fresh process, so that memory is this cell's own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(bench, config, settings).result()


def _others(
    config: ExperimentConfig, images: Images, device: torch.device, settings: BenchSettings
) -> dict[str, Turn]:
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
    return others


def _row(
    config: ExperimentConfig,
    images: Images,
    device: torch.device,
    seconds: Sequence[Mapping[str, float]],
    traced: float,
    memory: float,
) -> BenchRow:
    def ratios(name: str) -> list[float]:
        return [turn[name] / turn["nnexp"] for turn in seconds]

    def median_if_measured(name: str) -> float | None:
        return statistics.median(ratios(name)) if name in seconds[0] else None

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
        step=choose_step(config, device),
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
