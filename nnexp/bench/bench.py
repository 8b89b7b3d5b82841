"""How fast nnexp trains, beside the bare step and the textbook loop, in turns in one process."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from PIL import Image
from rich import box
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from nnexp.data import Images, batch_sizes, load_images, normalized
from nnexp.models.init import initialize
from nnexp.norms import keep_norms_in_fp32
from nnexp.probes import Recorder, trace_steps
from nnexp.settings import ExperimentConfig, signature
from nnexp.training import (
    EpochTotals,
    build_checked_model,
    build_optimizer,
    choose_device,
    peak_memory_mb,
    plan_run,
    precision,
    prepare_process,
    start_state,
    train_epoch,
)

RATE = 1e-3  # learning rate of the other contenders; it decides no time
WORKERS = 2  # of the textbook loop's DataLoader


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
    images_per_second: float
    to_bare_step: float
    to_bare_step_range: tuple[float, float]
    to_textbook_loop: float | None
    trace_cost: float  # share of a run's time that its traces take, at this config's length
    peak_memory_mb: float  # of the process, before the other contenders ran


def differing_in_speed(configs: Iterable[ExperimentConfig]) -> list[ExperimentConfig]:
    """Return one of all settings that differ in the seed or the learning rate alone."""
    cells: dict[str, ExperimentConfig] = {}
    for config in configs:
        optimizer = replace(config.optimizer, learning_rate=1.0)
        cells.setdefault(signature(replace(config, seed=0, optimizer=optimizer)), config)
    return list(cells.values())


def bench(config: ExperimentConfig, settings: BenchSettings) -> BenchRow:
    """Measure one model × norm × batch size.

    Contenders take turns of `settings.steps` steps, `settings.rounds` times, after one turn that
    does not count: nnexp's own loop (order, crops, flips, normalization, learning rate, totals),
    with traces and without; the bare step (forward, loss, backward, SGD on one batch in memory);
    the textbook loop (DataLoader with two workers, PIL transforms, `.item()` at every step).
    """
    device = choose_device(config.device)
    prepare_process(config, device)
    run_steps = _run_steps(config)
    config = _short(config, settings.steps)
    images = load_images(config.data).to(device)
    turns = {
        "nnexp": _nnexp(config, images, device, traced=False),
        "traced": _nnexp(config, images, device, traced=True),
    }
    for turn in turns.values():
        turn()
    memory = peak_memory_mb(device)
    turns["bare"] = _bare(config, images, device, settings.steps)
    if settings.textbook:
        turns["textbook"] = _textbook(config, images, device)
    for name in turns.keys() - {"nnexp", "traced"}:
        turns[name]()
    seconds = [{name: turn() for name, turn in turns.items()} for _ in range(settings.rounds)]
    return _row(config, settings, seconds, memory, run_steps)


def bench_in_own_process(config: ExperimentConfig, settings: BenchSettings) -> BenchRow:
    """Return what `bench` measures, in a fresh process, so that memory is this cell's own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(bench, config, settings).result()


def bench_table(rows: list[BenchRow]) -> Table:
    """Lay the rows out for the terminal."""
    table = Table("model", "norm", box=box.SIMPLE_HEAD, pad_edge=False)
    headings = ("batch size", "images/s", "÷ bare step", "min–max", "÷ textbook loop")
    for heading in (*headings, "traces cost", "peak MB"):
        table.add_column(heading, justify="right")
    for row in rows:
        low, high = row.to_bare_step_range
        table.add_row(
            row.model,
            row.norm,
            str(row.batch_size),
            f"{row.images_per_second:,.1f}",
            f"{row.to_bare_step:.3f}",
            f"{low:.3f}–{high:.3f}",
            "–" if row.to_textbook_loop is None else f"{row.to_textbook_loop:.2f}",
            f"{row.trace_cost:.1%}",
            f"{row.peak_memory_mb:,.0f}",
        )
    return table


def _row(
    config: ExperimentConfig,
    settings: BenchSettings,
    seconds: list[dict[str, float]],
    memory: float,
    run_steps: int,
) -> BenchRow:
    def ratios(name: str) -> list[float]:
        return [turn[name] / turn["nnexp"] for turn in seconds]

    traced_share = len(trace_steps(run_steps, config.trace.points)) / run_steps
    num_images = settings.steps * config.batch_size
    return BenchRow(
        model=config.model.name,
        norm=config.norm.name,
        batch_size=config.batch_size,
        images_per_second=num_images / statistics.median(turn["nnexp"] for turn in seconds),
        to_bare_step=statistics.median(ratios("bare")),
        to_bare_step_range=(min(ratios("bare")), max(ratios("bare"))),
        to_textbook_loop=statistics.median(ratios("textbook")) if settings.textbook else None,
        trace_cost=(statistics.median(ratios("traced")) - 1) * traced_share,
        peak_memory_mb=memory,
    )


def _run_steps(config: ExperimentConfig) -> int:
    num_images = config.data.train_images or 50_000 - config.data.val_images
    return config.epochs * len(batch_sizes(num_images, config.batch_size))


def _short(config: ExperimentConfig, steps: int) -> ExperimentConfig:
    """Return the settings with one epoch of `steps` full batches."""
    data = replace(config.data, train_images=steps * config.batch_size, val_images=10)
    return replace(config, data=replace(data, test_images=10), epochs=1)


def _nnexp(
    config: ExperimentConfig, images: Images, device: torch.device, *, traced: bool
) -> Callable[[], float]:
    """Return a turn of nnexp's loop: one epoch, as `nnexp train` runs it."""
    state = start_state(config, len(images.classes), device)
    plan = plan_run(config, len(images.train))
    recorder = Recorder(state.model, plan, points=0)
    if traced:
        recorder.steps = frozenset(range(plan.total_steps + 1))

    def turn() -> float:
        state.epoch = state.step = 0
        state.totals = EpochTotals.zeros(device)
        begun = time.perf_counter()
        train_epoch(state, images, config, plan, recorder, lambda: None)
        recorder.drain()
        return time.perf_counter() - begun

    return turn


def _network(config: ExperimentConfig, num_classes: int, device: torch.device) -> nn.Module:
    model = build_checked_model(config, num_classes)
    initialize(model, config.init, config.seed)
    if config.precision == "bf16":
        keep_norms_in_fp32(model)
    return model.to(device).train()


def _bare(
    config: ExperimentConfig, images: Images, device: torch.device, steps: int
) -> Callable[[], float]:
    """Return a turn of the bare step: the network's own work alone, with nnexp's optimizer."""
    model = _network(config, len(images.classes), device)
    optimizer = build_optimizer(model, config.optimizer, RATE)
    batch = normalized(images.train.images[: config.batch_size], images.mean, images.std)
    labels = images.train.labels[: config.batch_size]

    def turn() -> float:
        begun = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad()
            with precision(config.precision, device):
                logits = model(batch)
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()
        _wait(device)
        return time.perf_counter() - begun

    return turn


class _Pictures(Dataset[tuple[Tensor, int]]):
    """The training images as a textbook holds them: PIL pictures and their transforms."""

    def __init__(self, images: Images) -> None:
        from torchvision import transforms

        self.pictures = [
            Image.fromarray(image.permute(1, 2, 0).cpu().numpy()) for image in images.train.images
        ]
        self.labels = images.train.labels.tolist()
        self.transform: Callable[[Image.Image], Tensor] = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(images.mean, images.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.pictures[index]), self.labels[index]


def _textbook(
    config: ExperimentConfig, images: Images, device: torch.device
) -> Callable[[], float]:
    """Return a turn of the loop that tutorials show: one epoch in fp32; its workers outlive it."""
    model = _network(config, len(images.classes), device)
    settings = config.optimizer
    optimizer = torch.optim.SGD(
        model.parameters(), RATE, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    loader = DataLoader(
        _Pictures(images),
        batch_size=config.batch_size,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
    )

    def turn() -> float:
        begun = time.perf_counter()
        loss_sum, num_correct = 0.0, 0
        for batch in loader:
            inputs, labels = (tensor.to(device) for tensor in batch)
            optimizer.zero_grad()
            logits = model(inputs)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            num_correct += int((logits.argmax(1) == labels).sum().item())
        _wait(device)
        return time.perf_counter() - begun

    return turn


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
