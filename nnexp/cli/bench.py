"""`nnexp bench`: measures training speed."""

from typing import Annotated

import typer

from nnexp.cli import options as arguments

EXAMPLE = "nnexp bench model=vgg16,resnet18 batch_size=32,128"


def bench(
    overrides: arguments.Overrides = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each loop is measured.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Steps in one measurement.")] = 10,
    textbook: Annotated[bool, typer.Option(help="Also measure the loop of tutorials.")] = True,
    csv: Annotated[bool, typer.Option("--csv", help="Every measured value as CSV.")] = False,
    config_dir: arguments.ConfigDir = None,
) -> None:
    """Compare nnexp's training speed with a single repeated step and with plain loops.

    Settings with several values, such as batch_size=32,128, are measured in every combination.
    """
    from nnexp.bench.bench import (
        BenchSettings,
        bench_in_own_processes,
        differing_in_speed,
    )
    from nnexp.bench.tables import bench_notes, bench_table, write_bench_csv
    from nnexp.console import Console, open_console, print_table
    from nnexp.settings.compose import compose_jobs

    console, messages = open_console(), Console(stderr=True, highlight=False)
    settings, rows = BenchSettings(rounds=rounds, steps=steps, textbook=textbook), []
    jobs = compose_jobs(overrides or [], config_dir)
    for config in differing_in_speed(config for _, config in jobs):
        cell = (
            f"{config.model.name}, {config.norm.name}, batch size {config.batch_size}, "
            f"{config.precision}, memory format {config.memory_format}"
        )
        messages.print(f"measuring {cell} …")
        rows.append(bench_in_own_processes(config, settings))
    if csv:
        write_bench_csv(rows)
        return
    print_table(console, bench_table(rows))
    for note in bench_notes(rows, rounds, steps):
        console.print(note)
