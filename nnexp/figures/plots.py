"""PLOTS: one record for each kind of figure, and `draw`, which draws one by its name.

Nothing heavy is imported before something is drawn, so that help can list the kinds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnexp.settings import ConfigError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nnexp.compare.columns import Row
    from nnexp.compare.comparison import Question
    from nnexp.compare.load import Runs
    from nnexp.rundir import RunDir

MOST_TRACES = 12  # runs in one figure


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotRequest:
    """What is to be drawn of rows that already meet every condition, at their best values."""

    question: "Question"
    layer: str | None = None
    across: int = 3  # panels beside each other, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One kind of figure."""

    name: str
    summary: str  # what it shows, in a line
    caption: str  # below it on a page; {metric}, {error}, {run} are filled in
    draw: Callable[[Sequence["Row"], PlotRequest], "Figure"]
    varies: str = ""  # the setting that must have several values
    table: str = ""  # the table of the run folders that it reads
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


def draw(  # noqa: PLR0913  one keyword an option of the command
    kind: str,
    runs: "Runs" = (),
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    metric: str = "test_accuracy",
    where: Sequence[str] = (),
    best: str | None = None,
    layer: str | None = None,
) -> "Figure":
    """Return a figure of runs: `draw("error", "runs").savefig("error.png")`.

    Args:
        kind: A name in PLOTS.
        runs: Folders of runs, run folders, `results.csv` files, globs, `study=NAME`; or what
            `load_runs` returned. Nothing: the runs in `runs/`.
        rows: The settings that make the rows of the table, for `dots`.
        columns: The settings that make its columns.
        metric: The column of the results that is drawn.
        where: Conditions that the runs must meet: `norm=batch,none`, `norm!=none`.
        best: The setting of which each cell is drawn at its best value.
        layer: The one layer to draw, for `traces` and `heatmap`.

    Raises:
        ConfigError: There is no such kind, no such run, or the runs lack what the figure shows.
    """
    from nnexp.compare import as_rows
    from nnexp.compare.comparison import Question
    from nnexp.compare.selection import filter_rows, find_metric, find_setting
    from nnexp.figures.defaults import at_best

    plot = find_plot(kind)
    if best and plot.shows_all:
        raise ConfigError(f"{kind} shows every {plot.varies}", "leave out --best")
    if best and find_setting(best) in map(find_setting, (*rows, *columns)):
        raise ConfigError(f"{best} is chosen by --best", "leave it out of --rows and --cols")
    members = filter_rows(as_rows(runs), where)
    if not plot.table:
        find_metric(metric, members)
    question = Question(rows=rows, columns=columns, metric=metric)
    request = PlotRequest(question=question, layer=layer, across=plot.across[0])
    drawn = at_best(members, best)
    if not drawn:
        raise ConfigError(f"no {best} could be chosen", f"nnexp compare --best {best} says why")
    return plot.draw(drawn, request)


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
    from nnexp.figures.lines import draw_error

    return draw_error(rows, request.question.metric, request.across)


def _rates(rows: Sequence["Row"], request: PlotRequest) -> "Figure":
    from nnexp.figures.lines import draw_rates

    return draw_rates(rows, request.question.metric, request.across)


def _dots(rows: Sequence["Row"], request: PlotRequest) -> "Figure":
    from nnexp.compare.comparison import make_comparison
    from nnexp.figures.chance import chance_of
    from nnexp.figures.defaults import complete
    from nnexp.figures.dots import draw_dots

    question = replace(complete(request.question, rows, choose_best=False), against=None)
    grids = make_comparison(rows, question).grids
    return draw_dots(grids, question.metric, request.across, chance_of(rows, question.metric))


def _curves(rows: Sequence["Row"], request: PlotRequest) -> "Figure":
    from nnexp.figures.curves import draw_curves

    return draw_curves(rows, request.across)


def _traces(rows: Sequence["Row"], request: PlotRequest) -> "Figure":
    from nnexp.compare.selection import grouped, values_of, varying
    from nnexp.figures.series import title_of
    from nnexp.figures.traces import draw_traces

    names = varying(rows)
    runs = _folders([row for _, members in grouped(rows, names) for row in members])
    if len(runs) > MOST_TRACES:
        raise ConfigError(
            f"traces of {len(runs)} runs do not fit into one figure", "choose some: --where seed=0"
        )
    told = {row["folder"]: dict(zip(names, values_of(row, names), strict=True)) for row in rows}
    titles = [" · ".join(filter(None, (title_of(told[str(r.path)]), r.path.name))) for r in runs]
    return draw_traces(runs, request.layer, titles)


def _heatmap(rows: Sequence["Row"], request: PlotRequest) -> "Figure":
    from nnexp.figures.heatmap import draw_heatmap

    runs = _folders(rows)
    if len(runs) > 1:
        raise ConfigError(f"heatmap draws one run, these are {len(runs)}", "name one run's folder")
    return draw_heatmap(runs[0], request.layer)


def _probes(rows: Sequence["Row"], request: PlotRequest) -> "Figure":
    from nnexp.figures.probes import draw_probes

    return draw_probes(rows, request.across)


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
            varies="batch_size",
        ),
        Plot(
            name="rates",
            summary="accuracy (or another metric) against learning rate, a line for each norm",
            caption="{metric} against learning rate",
            draw=_rates,
            varies="optimizer.learning_rate",
            shows_all=True,
        ),
        Plot(
            name="dots",
            summary="the table of --rows and --cols: every seed, mean, deviation",
            caption="{metric} of every seed",
            draw=_dots,
        ),
        Plot(
            name="curves",
            summary="loss and accuracy over the epochs, training beside validation",
            caption="loss and accuracy over the epochs",
            draw=_curves,
            table="metrics",
            across=(4, 2),
        ),
        Plot(
            name="traces",
            summary="running mean and variance of each layer over the steps",
            caption="running mean and variance of each layer",
            draw=_traces,
            table="traces",
            across=(2, 2),
        ),
        Plot(
            name="heatmap",
            summary="running mean and variance of single channels over the steps, of one run",
            caption="running mean and variance of single channels, {run}",
            draw=_heatmap,
            table="channels",
            across=(2, 2),
        ),
        Plot(
            name="probes",
            summary="inside the network: covariate shift, activation drift, gradients in depth",
            caption="covariate shift and drift over the steps, outputs and gradients in depth",
            draw=_probes,
            table="probes",
            across=(2, 1),
        ),
    )
}
