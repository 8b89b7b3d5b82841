"""Rows → the page's figures, each wide and narrow, as images that a page can hold."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnexp.compare.columns import Row
from nnexp.compare.comparison import Question
from nnexp.compare.metrics import metric_of
from nnexp.compare.selection import find_metric
from nnexp.figures import PLOTS, Plot, PlotRequest, write_figure
from nnexp.figures.defaults import at_best
from nnexp.figures.lines import quantity_label
from nnexp.figures.tables import NEEDS, set_aside
from nnexp.rundir import RunDir
from nnexp.settings import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCREEN = 1.3  # a screen's figure to a paper's
MOST_HEATMAPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure in two layouts, as addresses that need no network."""

    title: str
    wide: str
    narrow: str  # empty where one layout does for both
    width: int  # pixels


def make_pictures(rows: Sequence[Row], question: Question) -> tuple[list[Picture], list[str]]:
    """Return the figures that the rows allow, and a line for each that was left out."""
    pictures = []
    left_out = [f"drawn without what cannot be read: {one}" for one in set_aside(rows, NEEDS)[1]]
    metric = find_metric(question.metric, rows)
    names = {
        "metric": quantity_label(metric),
        "error": quantity_label(metric, as_error=metric_of(metric).is_accuracy),
    }
    request = PlotRequest(question=replace(question, best=None, where=()))
    for plot, members in _wanted(rows, at_best(rows, question.best)):
        title = plot.caption.format(**names, run=members[0]["run_id"])
        title = title[:1].upper() + title[1:]
        try:
            pictures.append(_picture(plot, members, request, title))
        except ConfigError as error:
            left_out.append(f"{title}: {error.problem}")
    return pictures, left_out


def _wanted(rows: Sequence[Row], best: Sequence[Row]) -> Iterator[tuple[Plot, Sequence[Row]]]:
    """Yield each figure with its rows: the rates' have every value, one run makes a heat map."""
    for kind in ("error", "rates", "dots", "probes"):
        members = rows if PLOTS[kind].shows_all else best
        members, _ = set_aside(members, PLOTS[kind].tables)
        if PLOTS[kind].fits(members):
            yield PLOTS[kind], members
    by_norm: dict[str, Row] = {}
    for row in set_aside(rows, PLOTS["heatmap"].tables)[0]:
        if RunDir(Path(row["folder"])).channels.exists():
            by_norm.setdefault(row["norm"], row)
    for row in list(by_norm.values())[:MOST_HEATMAPS]:
        yield PLOTS["heatmap"], [row]


def _picture(plot: Plot, rows: Sequence[Row], request: PlotRequest, title: str) -> Picture:
    form = "png" if plot.name == "heatmap" else "svg"
    figures = [plot.draw(rows, replace(request, across=n)) for n in dict.fromkeys(plot.across)]
    wide, *narrow = [_data_uri(figure, form) for figure in figures]
    width = round(figures[0].get_size_inches()[0] * 96 * SCREEN)
    return Picture(title=title, wide=wide, narrow="".join(narrow), width=width)


def _data_uri(figure: "Figure", form: str) -> str:
    file = io.BytesIO()
    write_figure(figure, file, form)
    kind = {"svg": "svg+xml"}.get(form, form)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
