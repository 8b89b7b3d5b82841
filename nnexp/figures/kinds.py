"""The kinds of figures by name: what `nnexp figure` draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnexp.compare.best import choose
from nnexp.compare.columns import Row
from nnexp.compare.comparison import Question, make_comparison
from nnexp.compare.selection import (
    filter_rows,
    find_metric,
    find_setting,
    in_order,
    values_of,
    varying,
)
from nnexp.figures.curves import draw_curves
from nnexp.figures.defaults import complete
from nnexp.figures.dots import draw_dots
from nnexp.figures.heatmap import draw_heatmap
from nnexp.figures.lines import draw_error, draw_rates
from nnexp.figures.probes import draw_probes
from nnexp.figures.series import title_of
from nnexp.figures.traces import draw_traces
from nnexp.rundir import RunDir
from nnexp.settings import ConfigError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_TRACES = 12  # runs in one figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be drawn beside the kind of the figure."""

    question: Question
    layer: str | None = None


def draw(kind: str, rows: Sequence[Row], request: Request) -> "Figure":
    """Return the figure of that kind.

    Raises:
        ConfigError: There is no such kind, or the rows lack what it draws.
    """
    if kind not in KINDS:
        near = nearest(kind, KINDS)
        listed = f"figures: {', '.join(KINDS)}"
        raise ConfigError(
            f"no figure {kind!r}", f"did you mean {near} ({listed})" if near else listed
        )
    return KINDS[kind](filter_rows(rows, request.question.where), request)


def at_best(rows: Sequence[Row], best: str | None) -> list[Row]:
    """Return the rows at each cell's best value of a setting; all of them where none is named."""
    return list(rows) if best is None else choose(rows, find_setting(best))[0]


def _error(rows: Sequence[Row], request: Request) -> "Figure":
    metric = find_metric(request.question.metric, rows)
    return draw_error(at_best(rows, request.question.best), metric)


def _rates(rows: Sequence[Row], request: Request) -> "Figure":
    if request.question.best:
        raise ConfigError("rates shows every learning rate", "leave out --best")
    return draw_rates(rows, find_metric(request.question.metric, rows))


def _dots(rows: Sequence[Row], request: Request) -> "Figure":
    question = complete(request.question, rows, choose_best=False)
    return draw_dots(make_comparison(rows, question).grids, question.metric)


def _curves(rows: Sequence[Row], request: Request) -> "Figure":
    return draw_curves(at_best(rows, request.question.best))


def _heatmap(rows: Sequence[Row], request: Request) -> "Figure":
    runs = _folders(rows)
    if len(runs) > 1:
        raise ConfigError(f"heatmap draws one run, these are {len(runs)}", "name one run's folder")
    return draw_heatmap(runs[0], request.layer)


def _traces(rows: Sequence[Row], request: Request) -> "Figure":
    names = varying(rows)
    order = in_order(values_of(row, names) for row in rows)
    rows = sorted(rows, key=lambda row: order.index(values_of(row, names)))
    runs = _folders(rows)
    if len(runs) > MOST_TRACES:
        raise ConfigError(
            f"traces of {len(runs)} runs do not fit into one figure", "choose some: --where seed=0"
        )
    titles = {Path(row["folder"]): _trace_title(row, names) for row in rows}
    return draw_traces(runs, request.layer, [titles[run.path] for run in runs])


def _trace_title(row: Row, names: Sequence[str]) -> str:
    """Return what tells the run from the others, then its name."""
    told = title_of(dict(zip(names, values_of(row, names), strict=True)))
    return f"{told} · {row['run_id']}" if told else row["run_id"]


def _probes(rows: Sequence[Row], request: Request) -> "Figure":
    return draw_probes(at_best(rows, request.question.best))


def _folders(rows: Sequence[Row]) -> list[RunDir]:
    runs = [RunDir(Path(row["folder"])) for row in rows if Path(row["folder"]).is_dir()]
    if not runs:
        raise ConfigError("no folder of a run is here", "a results.csv holds no traces")
    return runs


KINDS: dict[str, Callable[[Sequence[Row], Request], "Figure"]] = {
    "error": _error,
    "rates": _rates,
    "dots": _dots,
    "curves": _curves,
    "traces": _traces,
    "heatmap": _heatmap,
    "probes": _probes,
}
