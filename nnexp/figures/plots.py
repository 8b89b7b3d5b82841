"""PLOTS: one record for each kind of figure.

Nothing heavy is imported before something is drawn, so that help can list the kinds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnexp.settings import ConfigError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nnexp.compare.columns import Row
    from nnexp.compare.comparison import Question
    from nnexp.compare.grid import Grid
    from nnexp.rundir import RunDir

MOST_TRACES = 12  # runs in one figure


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotRequest:
    """What is to be drawn of rows that already meet every condition, at their best values."""

    question: "Question"
    layer: str | None = None
    intervals: bool = False  # 95 % intervals of means instead of standard deviations
    across: int = 3  # panels beside each other, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One kind of figure."""

    name: str
    summary: str  # what it shows, in a line
    caption: str  # below it on a page; {metric}, {error}, {run} are filled in
    draw: Callable[[Sequence["Row"], PlotRequest], "Figure"]
    numbers: Callable[[Sequence["Row"], PlotRequest], "list[Row]"]  # a row for each mark
    varies: str = ""  # the setting that must have several values
    table: str = ""  # the table of the run folders that it reads
    uses: tuple[str, ...] = ()  # what of a request it shows, by the options of the command
    has_means: bool = False  # over seeds, of which intervals can be drawn
    shows_all: bool = False  # values of `varies`, so that none can be chosen as the best
    across: tuple[int, int] = (3, 1)  # panels beside each other: on paper, on a phone

    @property
    def tables(self) -> list[str]:
        """The tables of the run folders that it reads."""
        return [self.table] if self.table else []

    @property
    def needs(self) -> str:
        """What the runs must have."""
        if self.varies:
            return f"several values of {self.varies}"
        return f"run folders with {self.table}.csv" if self.table else "finished runs"

    def fits(self, rows: Sequence["Row"]) -> bool:
        """Return whether the rows have what the figure shows."""
        if self.varies:
            return len({row[self.varies] for row in rows}) > 1
        return not self.table or any(
            (Path(row["folder"]) / f"{self.table}.csv").is_file() for row in rows
        )


def find_plot(kind: str) -> Plot:
    """Return the record of a kind of figure.

    Raises:
        ConfigError: There is none.
    """
    if kind not in PLOTS:
        near = nearest(kind, PLOTS)
        listed = f"figures: {', '.join(PLOTS)}"
        raise ConfigError(
            f"no figure {kind!r}", f"did you mean {near} ({listed})" if near else listed
        )
    return PLOTS[kind]


def _error(rows: Sequence["Row"], request: PlotRequest) -> "Figure":
    from nnexp.figures.lines import draw_lines, over_batch_size

    plan = over_batch_size(request.question.metric, intervals=request.intervals)
    return draw_lines(rows, plan, request.across)


def _error_numbers(rows: Sequence["Row"], request: PlotRequest) -> "list[Row]":
    from nnexp.figures.lines import line_numbers, over_batch_size

    return line_numbers(rows, over_batch_size(request.question.metric, intervals=request.intervals))


def _rates(rows: Sequence["Row"], request: PlotRequest) -> "Figure":
    from nnexp.figures.lines import draw_lines, over_rates

    plan = over_rates(request.question.metric, intervals=request.intervals)
    return draw_lines(rows, plan, request.across)


def _rate_numbers(rows: Sequence["Row"], request: PlotRequest) -> "list[Row]":
    from nnexp.figures.lines import line_numbers, over_rates

    return line_numbers(rows, over_rates(request.question.metric, intervals=request.intervals))


def _dots(rows: Sequence["Row"], request: PlotRequest) -> "Figure":
    from nnexp.figures.chance import chance_of
    from nnexp.figures.dots import draw_dots

    metric = request.question.metric
    return draw_dots(_grids(rows, request), metric, request.across, chance_of(rows, metric))


def _dot_numbers(rows: Sequence["Row"], request: PlotRequest) -> "list[Row]":
    from nnexp.figures.dots import dot_numbers

    return dot_numbers(_grids(rows, request), request.question.metric)


def _grids(rows: Sequence["Row"], request: PlotRequest) -> "Sequence[Grid]":
    from nnexp.compare.comparison import make_comparison
    from nnexp.compare.intervals import with_intervals
    from nnexp.figures.defaults import complete

    question = complete(request.question, rows, choose_best=False)
    grids = make_comparison(rows, question.without_baseline()).grids
    return with_intervals(grids) if request.intervals else grids


def _curves(rows: Sequence["Row"], request: PlotRequest) -> "Figure":
    from nnexp.figures.curves import draw_curves

    return draw_curves(rows, request.across, intervals=request.intervals)


def _curve_numbers(rows: Sequence["Row"], request: PlotRequest) -> "list[Row]":
    from nnexp.figures.curves import curve_numbers

    return curve_numbers(rows, intervals=request.intervals)


def _traces(rows: Sequence["Row"], request: PlotRequest) -> "Figure":
    from nnexp.figures.traces import draw_traces

    runs, titles = _traced(rows)
    return draw_traces(runs, request.layer, titles)


def _trace_numbers(rows: Sequence["Row"], request: PlotRequest) -> "list[Row]":
    from nnexp.figures.traces import trace_numbers

    return trace_numbers(*_traced(rows), layer=request.layer)


def _traced(rows: Sequence["Row"]) -> "tuple[list[RunDir], list[str]]":
    """Return the runs whose traces are drawn, and their titles."""
    from nnexp.compare.selection import grouped, values_of, varying
    from nnexp.figures.series import title_of

    names = varying(rows)
    runs = _folders([row for _, members in grouped(rows, names) for row in members])
    if len(runs) > MOST_TRACES:
        raise ConfigError(
            f"traces of {len(runs)} runs do not fit into one figure", "choose some: --where seed=0"
        )
    told = {row["folder"]: dict(zip(names, values_of(row, names), strict=True)) for row in rows}
    titles = [" · ".join(filter(None, (title_of(told[str(r.path)]), r.path.name))) for r in runs]
    return runs, titles


def _heatmap(rows: Sequence["Row"], request: PlotRequest) -> "Figure":
    from nnexp.figures.heatmap import draw_heatmap

    return draw_heatmap(_one_run(rows), request.layer)


def _channel_numbers(rows: Sequence["Row"], request: PlotRequest) -> "list[Row]":
    from nnexp.figures.heatmap import channel_numbers

    return channel_numbers(_one_run(rows), request.layer)


def _one_run(rows: Sequence["Row"]) -> "RunDir":
    runs = _folders(rows)
    if len(runs) > 1:
        raise ConfigError(f"heatmap draws one run, these are {len(runs)}", "name one run's folder")
    return runs[0]


def _probes(rows: Sequence["Row"], request: PlotRequest) -> "Figure":
    from nnexp.figures.probes import draw_probes

    return draw_probes(rows, request.across)


def _probe_numbers(rows: Sequence["Row"], _request: PlotRequest) -> "list[Row]":
    from nnexp.figures.probes import probe_numbers

    return probe_numbers(rows)


def _folders(rows: Sequence["Row"]) -> list["RunDir"]:
    from nnexp.rundir import RunDir

    runs = [RunDir(Path(row["folder"])) for row in rows if Path(row["folder"]).is_dir()]
    if not runs:
        raise ConfigError("no folder of a run is here", "a results.csv holds no traces")
    return runs


PLOTS = {
    plot.name: plot
    for plot in (
        Plot(
            name="error",
            summary="error (or another metric) against batch size, a line for each norm",
            caption="{error} against batch size",
            draw=_error,
            numbers=_error_numbers,
            uses=("--metric",),
            has_means=True,
            varies="batch_size",
        ),
        Plot(
            name="rates",
            summary="accuracy (or another metric) against learning rate, a line for each norm",
            caption="{metric} against learning rate",
            draw=_rates,
            numbers=_rate_numbers,
            uses=("--metric",),
            has_means=True,
            varies="optimizer.learning_rate",
            shows_all=True,
        ),
        Plot(
            name="dots",
            summary="the table of --rows and --cols: every seed, mean, deviation",
            caption="{metric} of every seed",
            draw=_dots,
            numbers=_dot_numbers,
            uses=("--metric", "--rows", "--cols"),
            has_means=True,
        ),
        Plot(
            name="curves",
            summary="loss and accuracy over the epochs, training beside validation",
            caption="loss and accuracy over the epochs",
            draw=_curves,
            numbers=_curve_numbers,
            has_means=True,
            table="metrics",
            across=(4, 2),
        ),
        Plot(
            name="traces",
            summary="running mean and variance of each layer over the steps",
            caption="running mean and variance of each layer",
            draw=_traces,
            numbers=_trace_numbers,
            uses=("--layer",),
            table="traces",
            across=(2, 2),
        ),
        Plot(
            name="heatmap",
            summary="running mean and variance of single channels over the steps, of one run",
            caption="running mean and variance of single channels, {run}",
            draw=_heatmap,
            numbers=_channel_numbers,
            uses=("--layer",),
            table="channels",
            across=(2, 2),
        ),
        Plot(
            name="probes",
            summary="inside the network: shift, drift and rates over the steps, gradients in depth",
            caption="what steps do inside the network, and its outputs and gradients in depth",
            draw=_probes,
            numbers=_probe_numbers,
            table="probes",
            across=(2, 1),
        ),
    )
}
