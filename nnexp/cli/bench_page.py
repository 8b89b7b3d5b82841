"""What `nnexp bench` prints."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nnexp.console import Console, open_console, print_table
from nnexp.settings import ExperimentConfig

if TYPE_CHECKING:
    from nnexp.bench.bench import BenchSettings


def bench_page(configs: Sequence[ExperimentConfig], settings: "BenchSettings") -> None:
    """Measure nnexp's speed beside the bare step and the textbook loop, cell by cell."""
    from nnexp.bench.bench import bench_in_own_process, bench_table

    console, messages = open_console(), Console(stderr=True, highlight=False)
    rows = []
    for config in configs:
        cell = f"{config.model.name}, {config.norm.name}, batch size {config.batch_size}"
        messages.print(f"measuring {cell} …")
        rows.append(bench_in_own_process(config, settings))
    print_table(console, bench_table(rows))
    console.print(
        f"ratios of throughput, medians of {settings.rounds} rounds of {settings.steps} steps; "
        "the contenders take turns"
    )
