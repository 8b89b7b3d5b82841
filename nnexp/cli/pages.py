"""What the commands print that look at something and train nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from nnexp.compare.load import BrokenRun, broken_in_words
from nnexp.console import Console, open_console, print_table, say, write_csv
from nnexp.rundir import RunDir, UnreadableError
from nnexp.settings import ConfigError, ExperimentConfig

if TYPE_CHECKING:
    from nnexp.bench.bench import BenchSettings


def show_page(config: ExperimentConfig) -> None:
    """Print a model before training: blocks, parameters, norm sites, what is the same for all."""
    from nnexp.cli.show import block_table, policies, site_table
    from nnexp.cli.terminal import describe_norm
    from nnexp.models.sketch import sketch_model

    sketch = sketch_model(config)
    console = open_console()
    console.print(f"[bold]{config.model.name}[/] · norm [bold]{escape(describe_norm(config))}[/]")
    console.print(
        f"{sketch.parameters:,} parameters, {sketch.norm_parameters:,} of them in norms · "
        f"batch size {config.batch_size}\n"
    )
    print_table(console, block_table(sketch))
    print_table(console, site_table(sketch))
    for line in policies(config):
        console.print(escape(line))


def data_page(config: ExperimentConfig) -> None:
    """Fetch, verify and describe the images."""
    from nnexp.cli.terminal import TerminalListener
    from nnexp.data import describe

    listener = TerminalListener()
    try:
        facts = describe(config.data, listener.loading)
    finally:
        listener.close()
    console = open_console()
    console.print(f"[bold]{facts['name']}[/] · {len(facts['classes'])} classes")
    table = Table("split", pad_edge=False)
    for heading in ("images", *map(escape, facts["classes"])):
        table.add_column(heading, justify="right")
    for split, counts in facts["per_class"].items():
        table.add_row(split, f"{facts['images'][split]:,}", *(f"{n:,}" for n in counts.values()))
    print_table(console, table)
    for name in ("mean", "std"):
        console.print(f"{name:<12} " + " ".join(f"{value:.4f}" for value in facts[name]))
    console.print(f"{'sha256':<12} {facts['fingerprint'][:16]}…")
    console.print(f"{'place':<12} {escape(str(facts['place']))}")


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
