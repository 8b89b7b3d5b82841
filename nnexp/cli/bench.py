"""`nnexp bench`: measures training speed."""

from typing import Annotated

import typer

from nnexp.cli import options as arguments

EXAMPLE = "nnexp bench model=vgg16,resnet18 batch_size=32,128"


def bench(
    overrides: arguments.Overrides = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each contender takes.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Steps of a turn.")] = 10,
    textbook: Annotated[bool, typer.Option(help="Also the loop of tutorials.")] = True,
    config_dir: arguments.ConfigDir = None,
) -> None:
    """Measure training speed beside the bare step and the textbook loop; commas make a grid."""
    from nnexp.bench.bench import BenchSettings, differing_in_speed
    from nnexp.cli.bench_page import bench_page
    from nnexp.settings.compose import compose_jobs

    jobs = differing_in_speed(config for _, config in compose_jobs(overrides or [], config_dir))
    bench_page(jobs, BenchSettings(rounds=rounds, steps=steps, textbook=textbook))
