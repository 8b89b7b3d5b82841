"""`nnexp traces`: draws running means and variances."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnexp.cli import options as arguments
from nnexp.cli.completion import complete_run

if TYPE_CHECKING:
    from rich.table import Table

    from nnexp.rundir import RunDir

EXAMPLE = "nnexp traces runs/vgg16-batch-* -o traces.svg"


def traces(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Run folders, or names of runs under runs/.",
            autocompletion=complete_run,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The figure: .png, .svg or .pdf; without it, traces.png in the first run.",
        ),
    ] = None,
    layer: arguments.Layer = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, draw nothing.")] = False,
) -> None:
    """Draw how running means and variances change over the steps of a run."""
    from rich.markup import escape

    from nnexp.compare import find_run
    from nnexp.console import open_console, print_table
    from nnexp.figures import save_figure
    from nnexp.figures.traces import draw_traces

    readable = _readable(list(map(find_run, runs)))
    if as_csv:
        _write_traces(readable, layer)
        return
    console = open_console()
    for run in readable:
        console.print(f"[bold]{escape(run.path.name)}[/] · averaged over each layer's channels")
        print_table(console, _table(run, layer))
    path = output or readable[0].path / "traces.png"
    save_figure(draw_traces(readable, layer), path)
    console.print(f"figure: {escape(str(path))}")


def _readable(runs: "Sequence[RunDir]") -> "list[RunDir]":
    """Return the runs whose table can be read, and say which cannot; one alone must be."""
    from nnexp.compare.load import BrokenRun, broken_in_words
    from nnexp.console import say
    from nnexp.figures.traces import load_traces
    from nnexp.rundir import UnreadableError
    from nnexp.settings import ConfigError

    kept, broken = [], []
    for run in runs:
        try:
            load_traces(run)
        except UnreadableError as error:
            if len(runs) == 1:
                raise
            broken.append(BrokenRun(name=str(run.path), reason=error.reason))
        else:
            kept.append(run)
    if broken and not kept:
        raise ConfigError(broken_in_words(broken), "repair the files, or move the folders away")
    if broken:
        say(broken_in_words(broken))
    return kept


def _table(run: "RunDir", layer: str | None) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    from nnexp.figures.traces import load_series, load_traces

    table = Table("layer", "statistic", "step 0 → last step (log scale)", pad_edge=False)
    for heading in ("first", "last", "settled at step"):
        table.add_column(heading, justify="right")
    for line in load_series(load_traces(run), layer):
        settled = "–" if line.settled_at is None else f"{line.settled_at:,}"
        figures = (f"{line.values[0]:.4g}", f"{line.values[-1]:.4g}", settled)
        table.add_row(*map(escape, (line.layer, line.quantity, line.sparkline, *figures)))
    return table


def _write_traces(runs: "Sequence[RunDir]", layer: str | None) -> None:
    from nnexp.console import write_csv
    from nnexp.figures.traces import load_series, load_traces

    for position, run in enumerate(runs):
        table = load_traces(run)
        load_series(table, layer)  # refuses a layer that is not there
        if layer is not None:
            table = table.loc[table["layer"] == layer]
        table.insert(0, "run_id", run.path.name)
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.to_numpy(object)]
        write_csv(list(table.columns), rows, header=position == 0)
