"""`nnexp diff`: says what differs between two runs."""

from typing import Annotated

import typer

from nnexp.cli.completion import complete_run

EXAMPLE = "nnexp diff vgg16-batch-bs128-s0-44136fa3 runs/vgg16-none-*"


def diff(
    first: Annotated[
        str,
        typer.Argument(metavar="A", help="A run's folder or name.", autocompletion=complete_run),
    ],
    second: Annotated[
        str, typer.Argument(metavar="B", help="Another.", autocompletion=complete_run)
    ],
) -> None:
    """Say what differs between two runs: settings, results, epochs, environment."""
    from nnexp.cli.diff_page import diff_page
    from nnexp.compare import find_run

    diff_page(find_run(first), find_run(second))
