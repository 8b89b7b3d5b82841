"""What was measured → a table for the terminal, or CSV."""

from collections.abc import Sequence
from dataclasses import asdict, fields

from rich import box
from rich.table import Table

from nnexp.bench.bench import BenchRow
from nnexp.console import write_csv

OFTEN_ONE = ("precision", "memory_format", "step", "device", "threads")  # shown where they vary


def bench_table(rows: Sequence[BenchRow]) -> Table:
    """Lay the rows out for the terminal."""
    varying = [name for name in OFTEN_ONE if len({getattr(row, name) for row in rows}) > 1]
    timm = ["÷ timm's step"] if any(row.to_timm_step is not None for row in rows) else []
    table = Table("model", "norm", *varying, box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in (
        *("batch size", "images/s", "÷ bare step", *timm, "÷ plain loop", "÷ textbook loop"),
        *("of matmul", "traces cost", "peak MB"),
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.model,
            row.norm,
            *(str(getattr(row, name)) for name in varying),
            str(row.batch_size),
            f"{row.images_per_second:,.1f}",
            _ratio(row.to_bare_step),
            *([_ratio(row.to_timm_step)] if timm else []),
            _ratio(row.to_plain_loop),
            _ratio(row.to_textbook_loop),
            f"{row.share_of_matmul:.0%}",
            f"{row.trace_cost:.1%}",
            f"{row.peak_memory_mb:,.0f}",
        )
    return table


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def bench_notes(rows: Sequence[BenchRow], rounds: int, steps: int) -> list[str]:
    """Return what the table needs to be read: how it was measured, and on what."""
    shared = {name: {getattr(row, name) for row in rows} for name in OFTEN_ONE}
    equal = ", ".join(f"{name} {next(iter(v))}" for name, v in shared.items() if len(v) == 1)
    best = max(rows, key=lambda row: row.matmul_gflops)
    return [
        f"÷: ratios of throughput, medians of {rounds} rounds of {steps} steps; in each round the "
        "loops are measured one after another, nnexp's in one process and the others in another",
        f"of matmul: operations a second over those of a large matrix product in the same "
        f"precision, at most {best.matmul_gflops:,.0f} GFLOP/s here; a copy of much memory: "
        f"{best.copy_gb_per_second:.1f} GB/s",
        *([f"in every row: {equal}"] if equal else []),
    ]


def write_bench_csv(rows: Sequence[BenchRow]) -> None:
    """Write every value that was measured as CSV to standard output."""
    write_csv([one.name for one in fields(BenchRow)], [asdict(row) for row in rows])
