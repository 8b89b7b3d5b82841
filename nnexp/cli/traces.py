"""`nnexp traces`: draws running means and variances."""

from pathlib import Path
from typing import Annotated

import typer

from nnexp.cli.completion import complete_run

EXAMPLE = "nnexp traces runs/vgg16-batch-* -o traces.svg"


def traces(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of runs.", autocompletion=complete_run),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The figure: .png, .svg or .pdf.", show_default=False),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="This layer alone.", show_default=False)] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, draw nothing.")] = False,
) -> None:
    """Draw how running means and variances move over the steps of a run."""
    from nnexp.cli.traces_page import traces_page

    traces_page(runs, output, layer, as_csv)
