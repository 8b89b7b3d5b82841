"""A kind of figure and runs → the figure, and the numbers in it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nnexp.figures.plots import PLOTS, Plot, PlotRequest, find_plot
from nnexp.settings import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nnexp.compare.columns import Row
    from nnexp.compare.comparison import Question
    from nnexp.compare.load import Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class FigurePlan:
    """One figure: its kind, the rows that it is drawn of, and what is asked."""

    plot: Plot
    rows: "Sequence[Row]"
    request: PlotRequest

    def figure(self) -> "Figure":
        """Return the figure."""
        return self.plot.draw(self.rows, self.request)

    def numbers(self) -> "list[Row]":
        """Return a row for each mark of the figure."""
        return self.plot.numbers(self.rows, self.request)


def draw(  # noqa: PLR0913  one keyword an option of the command
    kind: str,
    runs: "Runs" = (),
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    metric: str = "test_accuracy",
    where: Sequence[str] = (),
    best: str | None = None,
    confirm: bool = False,
    layer: str | None = None,
    intervals: bool = False,
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
        confirm: With `best`, draw only the seeds that took no part in choosing.
        layer: The one layer to draw, for `traces` and `heatmap`.
        intervals: Draw the 95 % interval of each mean instead of the standard deviation.

    Raises:
        ConfigError: There is no such kind, no such run, or the runs lack what the figure shows.
    """
    from nnexp.compare.comparison import Question

    question = Question(
        rows=rows, columns=columns, metric=metric, where=where, best=best, confirm=confirm
    )
    return prepare(kind, runs, question, layer, intervals=intervals).figure()


def prepare(
    kind: str,
    runs: "Runs",
    question: "Question",
    layer: str | None = None,
    *,
    intervals: bool = False,
) -> FigurePlan:
    """Return the plan of a figure, of the runs that meet the question's conditions.

    Raises:
        ConfigError: There is no such kind, no such run, or the question does not go with it.
    """
    from nnexp.compare import as_rows
    from nnexp.compare.selection import filter_rows, find_metric, find_setting
    from nnexp.figures.defaults import at_best

    plot, best = find_plot(kind), question.best
    _check_uses(plot, question, layer)
    if best and plot.shows_all:
        raise ConfigError(f"{kind} shows every {plot.varies}", "leave out --best")
    if intervals and not plot.has_means:
        kinds = ", ".join(name for name, one in PLOTS.items() if one.has_means)
        raise ConfigError(f"{kind} draws no intervals of means", f"--intervals is for {kinds}")
    if best and find_setting(best) in map(find_setting, (*question.rows, *question.columns)):
        raise ConfigError(f"{best} is chosen by --best", "leave it out of --rows and --cols")
    members = filter_rows(as_rows(runs), question.where)
    if not plot.table:
        find_metric(question.metric, members)
    drawn = at_best(members, best, confirm=question.confirm)
    if not drawn and question.confirm:
        raise ConfigError(
            f"no fresh seed: all took part in choosing {best}",
            f"nnexp compare --best {best} --confirm names the command that trains some",
        )
    if not drawn:
        raise ConfigError(f"no {best} could be chosen", f"nnexp compare --best {best} says why")
    question = replace(question, where=(), best=None, confirm=False)
    request = PlotRequest(
        question=question, layer=layer, intervals=intervals, across=plot.across[0]
    )
    return FigurePlan(plot=plot, rows=drawn, request=request)


def _check_uses(plot: Plot, question: "Question", layer: str | None) -> None:
    """Refuse what is asked of a figure that does not show it.

    Raises:
        ConfigError: An option is for other kinds.
    """
    asked = {
        "--rows": question.rows,
        "--cols": question.columns,
        "--metric": question.metric != type(question)().metric,
        "--layer": layer,
    }
    for option in (option for option, value in asked.items() if value):
        if option not in plot.uses:
            kinds = ", ".join(name for name, one in PLOTS.items() if option in one.uses)
            raise ConfigError(f"{plot.name} does not use {option}", f"{option} is for {kinds}")
