"""`nnexp runs`: lists every run."""

from typing import Annotated

import typer

EXAMPLE = "nnexp runs --watch"


def runs(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A folder of runs.")] = "runs",
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Update the list until Ctrl-C.")
    ] = False,
) -> None:
    """List every run: its status, its epochs, its newest validation accuracy."""
    from nnexp.cli.runs_page import runs_page

    runs_page(folder, watch=watch)
