"""`nnexp logs`: prints what a run has said."""

from typing import Annotated

import typer

from nnexp.cli.completion import complete_run

EXAMPLE = "nnexp logs vgg16-none-bs128-s0-0d1cf2a5 --follow"


def logs(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A run's folder or name.", autocompletion=complete_run),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run ends.")
    ] = False,
) -> None:
    """Print what a run has said: its epochs, its warnings, the traceback of a failure."""
    from nnexp.cli.runs_page import logs_page
    from nnexp.compare import find_run

    logs_page(find_run(run), follow=follow)
