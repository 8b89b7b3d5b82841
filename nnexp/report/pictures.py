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
from nnexp.compare.selection import find_metric, values_of, varying
from nnexp.figures import PLOTS, Plot, PlotRequest, write_figure
from nnexp.figures.lines import quantity_label
from nnexp.figures.tables import NEEDS, set_aside
from nnexp.rundir import RunDir
from nnexp.settings import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCREEN = 1.3  # a screen's figure to a paper's
MOST_HEATMAPS = 2
MOST_DOTS, MOST_MEANS = 800, 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure in two layouts, as addresses that need no network."""

    title: str
    wide: str
    narrow: str  # empty where one layout does for both
    width: int  # pixels


def make_pictures(
    rows: Sequence[Row], chosen: Sequence[Row], read: Sequence[Row], question: Question
) -> tuple[list[Picture], list[str]]:
    """Return the figures that the rows allow, and a line for each that was left out.

    Args:
        rows: All of them.
        chosen: Those at each cell's best value.
        read: Of these, the ones whose tables are read.
        question: What is asked of them.
    """
    pictures = []
    left_out = [f"drawn without what cannot be read: {one}" for one in set_aside(read, NEEDS)[1]]
    metric = find_metric(question.metric, rows)
    names = {
        "metric": quantity_label(metric),
        "error": quantity_label(metric, as_error=metric_of(metric).is_accuracy),
    }
    request = PlotRequest(question=replace(question, best=None, confirm=False, where=()))
    for plot, members in _wanted(rows, chosen, read):
        title = plot.caption.format(**names, run=members[0]["run_id"])
        title = title[:1].upper() + title[1:]
        try:
            _check_size(plot, members)
            pictures.append(_picture(plot, members, request, title))
        except ConfigError as error:
            left_out.append(f"{title}: {error.problem}")
    return pictures, left_out


def _wanted(
    rows: Sequence[Row], chosen: Sequence[Row], read: Sequence[Row]
) -> Iterator[tuple[Plot, Sequence[Row]]]:
    """Yield each figure with its rows: the rates' have every value, one run makes a heat map."""
    for plot in (PLOTS["error"], PLOTS["rates"], PLOTS["dots"]):
        members = rows if plot.shows_all else chosen
        if members and plot.fits(members):  # no members: no cell had a choice, as the tables say
            yield plot, members
    members, _ = set_aside(read, ["probes"])
    if members and PLOTS["probes"].fits(members):
        yield PLOTS["probes"], members
    by_norm: dict[str, Row] = {}
    for row in set_aside(read, PLOTS["heatmap"].tables)[0]:
        if RunDir(Path(row["folder"])).channels.exists():
            by_norm.setdefault(row["norm"], row)
    for row in list(by_norm.values())[:MOST_HEATMAPS]:
        yield PLOTS["heatmap"], [row]


def _check_size(plot: Plot, rows: Sequence[Row]) -> None:
    """Refuse a figure whose marks would hide each other, and take long to draw.

    Raises:
        ConfigError: There are too many.
    """
    keys = varying(rows)
    marks = len(rows) if plot.name == "dots" else len({values_of(row, keys) for row in rows})
    most = MOST_DOTS if plot.name == "dots" else MOST_MEANS
    if marks > most:
        raise ConfigError(f"{marks} marks do not fit into one figure", "choose some by --where")


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
