"""Rows → the page's figures, each wide and narrow, as images that a page can hold."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnexp.compare.columns import Row
from nnexp.compare.comparison import Comparison
from nnexp.compare.tables import in_percent
from nnexp.figures.curves import draw_curves
from nnexp.figures.defaults import RATE
from nnexp.figures.dots import draw_dots
from nnexp.figures.heatmap import draw_heatmap
from nnexp.figures.lines import draw_error, draw_rates, quantity_label
from nnexp.figures.probes import draw_probes
from nnexp.figures.tables import NEEDS, set_aside
from nnexp.figures.traces import write_figure
from nnexp.report.markup import escape, tag
from nnexp.rundir import RunDir
from nnexp.settings import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCREEN = 1.3  # a screen's figure to a paper's
MOST_PANELS = 30  # of a figure
MOST_HEATMAPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure to be drawn with some number of panels beside each other."""

    title: str
    alt: str
    draw: Callable[[int], "Figure"]
    columns: tuple[int, int]  # on a desk, on a phone
    form: str = "svg"


def picture_html(picture: Picture) -> str:
    """Return a figure as an image within the page, another one where the screen is narrow.

    Raises:
        ConfigError: There is nothing to draw, or too much.
    """
    wide, narrow = (picture.draw(columns) for columns in picture.columns)
    source = f'<source media="(max-width: 640px)" srcset="{data_uri(narrow, picture.form)}">'
    width = f"{wide.get_size_inches()[0] * 96 * SCREEN:.0f}"
    image = (
        f'<img src="{data_uri(wide, picture.form)}" alt="{escape(picture.alt)}" width="{width}">'
    )
    if picture.columns[0] == picture.columns[1]:
        source = ""
    content = f"<picture>{source}{image}</picture>" + tag(
        "figcaption", escape(picture.title[:1].upper() + picture.title[1:])
    )
    return tag("figure", content, class_="plate")


def data_uri(figure: "Figure", form: str) -> str:
    """Return a figure's file as an address that needs no network."""
    file = io.BytesIO()
    write_figure(figure, file, form)
    kind = {"svg": "svg+xml"}.get(form, form)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def make_pictures(
    rows: Sequence[Row], best: Sequence[Row], answer: Comparison
) -> tuple[list[str], list[str]]:
    """Return the figures that the rows allow, and a line for each that was left out.

    `best` are the rows that the answer is about; the learning rate's figure has them all.
    """
    drawn: list[str] = []
    left_out = [f"drawn without what cannot be read: {one}" for one in set_aside(rows, NEEDS)[1]]
    for picture in _wanted(rows, best, answer):
        try:
            drawn.append(picture_html(picture))
        except ConfigError as error:
            left_out.append(f"{picture.title}: {error.problem}")
    return drawn, left_out


def _wanted(rows: Sequence[Row], best: Sequence[Row], answer: Comparison) -> list[Picture]:
    pictures = []
    if _varies(best, "batch_size"):
        pictures.append(_error(best, answer.metric))
    if _varies(rows, RATE):
        pictures.append(_rates(rows, answer.metric))
    if sum(len(grid.columns) for grid in answer.grids) <= MOST_PANELS:
        pictures.append(_dots(answer))
    probed, _ = set_aside(best, ["probes"])
    if any(RunDir(Path(row["folder"])).probes.is_file() for row in probed):
        pictures.append(_probes(probed))
    curved, _ = set_aside(best, ["metrics"])
    return [*pictures, _curves(curved), *_heatmaps(set_aside(rows, ["channels"])[0])]


def _varies(rows: Sequence[Row], key: str) -> bool:
    return len({row[key] for row in rows}) > 1


def _probes(rows: Sequence[Row]) -> Picture:
    return Picture(
        title="covariate shift and activation drift over the steps, outputs and gradients in depth",
        alt="A line for each norm in four panels; the table Inside the network has the figures",
        draw=lambda columns: draw_probes(rows, columns),
        columns=(2, 1),
    )


def _error(rows: Sequence[Row], metric: str) -> Picture:
    name = quantity_label(metric, as_error=in_percent(metric))
    return Picture(
        title=f"{name} against batch size",
        alt=f"A line for each norm: {name} against batch size; the tables have the figures",
        draw=lambda columns: draw_error(rows, metric, columns),
        columns=(3, 1),
    )


def _rates(rows: Sequence[Row], metric: str) -> Picture:
    name = quantity_label(metric)
    return Picture(
        title=f"{name} against learning rate",
        alt=f"A line for each norm: {name} against learning rate; the tables have the figures",
        draw=lambda columns: draw_rates(rows, metric, columns),
        columns=(3, 1),
    )


def _curves(rows: Sequence[Row]) -> Picture:
    return Picture(
        title="Loss and accuracy over the epochs",
        alt="Training and validation loss and accuracy over the epochs, a line for each norm",
        draw=lambda columns: draw_curves(rows, columns),
        columns=(4, 2),
    )


def _dots(answer: Comparison) -> Picture:
    name = quantity_label(answer.metric)
    return Picture(
        title=f"{name} of every seed",
        alt=f"Each seed's {name} as a dot, with mean and deviation; the tables have the figures",
        draw=lambda columns: draw_dots(answer.grids, answer.metric, columns),
        columns=(3, 1),
    )


def _heatmaps(rows: Sequence[Row]) -> list[Picture]:
    """Return heat maps of the first runs that have single channels, a norm once."""
    runs: dict[str, RunDir] = {}
    for row in rows:
        run = RunDir(Path(row["folder"]))
        if run.channels.exists():
            runs.setdefault(row["norm"], run)
    return [
        Picture(
            title=f"Running mean and variance of single channels, {run.path.name}",
            alt="Heat maps, channels by steps, of each layer's mean and variance",
            draw=lambda _, run=run: draw_heatmap(run),
            columns=(1, 1),
            form="png",
        )
        for run in list(runs.values())[:MOST_HEATMAPS]
    ]
