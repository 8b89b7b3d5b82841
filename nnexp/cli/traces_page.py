"""What `nnexp traces` prints."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from nnexp.compare.load import BrokenRun, broken_in_words
from nnexp.console import open_console, print_table, say, write_csv
from nnexp.rundir import RunDir, UnreadableError
from nnexp.settings import ConfigError


def traces_page(
    folders: Sequence[Path], output: Path | None, layer: str | None, as_csv: bool
) -> None:
    """Draw the running statistics of runs: a picture here, and a figure in a file."""
    from nnexp.figures import save_figure
    from nnexp.figures.traces import draw_traces, load_series, load_traces

    runs = _readable(list(map(RunDir, folders)), load_traces)
    if as_csv:
        _write_traces(runs, layer)
        return
    console = open_console()
    for run in runs:
        table = Table("layer", "statistic", "step 0 → last, in log", pad_edge=False)
        for heading in ("first", "last", "settled at step"):
            table.add_column(heading, justify="right")
        for line in load_series(load_traces(run), layer):
            first, last = line.values[0], line.values[-1]
            settled = "–" if line.settled_at is None else f"{line.settled_at:,}"
            figures = (f"{first:.4g}", f"{last:.4g}", settled)
            words = (line.layer, line.quantity, line.sparkline, *figures)
            table.add_row(*map(escape, words))
        console.print(f"[bold]{escape(run.path.name)}[/] · averaged over each layer's channels")
        print_table(console, table)
    path = output or runs[0].path / "traces.png"
    save_figure(draw_traces(runs, layer), path)
    console.print(f"figure: {escape(str(path))}")


def _readable(runs: Sequence[RunDir], load: Callable[[RunDir], object]) -> list[RunDir]:
    """Return the runs whose table can be read, and say which cannot; one alone must be."""
    kept, broken = [], []
    for run in runs:
        try:
            load(run)
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


def _write_traces(runs: Sequence[RunDir], layer: str | None) -> None:
    from nnexp.figures.traces import load_series, load_traces

    for position, run in enumerate(runs):
        traces = load_traces(run)
        load_series(traces, layer)  # refuses a layer that is not there
        if layer is not None:
            traces = traces.loc[traces["layer"] == layer]
        traces.insert(0, "run_id", run.path.name)
        rows = [dict(zip(traces.columns, row, strict=True)) for row in traces.to_numpy(object)]
        write_csv(list(traces.columns), rows, header=position == 0)
