"""What every figure shares: sizes, fonts, axes, the legend."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nnexp.figures.colours import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN = 3.5  # inches, of a paper's column; figures are made to be printed at their size
PAGE = 7.2  # inches, of both columns
TEXT = 7.5  # points
FAINT = "#d9dde1"
INK = "#2b3036"
FADED = "#5b646d"
SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": TEXT,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": TEXT,
    "axes.edgecolor": "#7b838c",
    "axes.linewidth": 0.6,
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": "#7b838c",
    "ytick.color": "#7b838c",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.2,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
}


def balanced(count: int, most: int) -> int:
    """Return how many panels stand beside each other: `most` or fewer, the rows evenly filled."""
    return -(-count // -(-count // most))


@contextmanager
def styled() -> Iterator[None]:
    """Draw in nnexp's style, whatever the user's matplotlibrc says."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


def open_panels(
    count: int, columns: int, height: float = 2.0, **shared: Any
) -> tuple["Figure", list["Axes"]]:
    """Return a figure of `count` panels in rows of `columns`: a column wide for one, else a page.

    `height` is a panel's, in inches.
    """
    from matplotlib.figure import Figure

    lines = -(-count // columns)
    width = {1: COLUMN, 2: 5.0}.get(columns, PAGE)
    figure = Figure(figsize=(width, height * lines + 0.6), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, **shared)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.remove()
    for one in axes[:count]:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(visible=True)
        one.set_axisbelow(True)
        one.tick_params(labelbottom=True)
    return figure, axes[:count]


def line_look(style: Style) -> dict[str, Any]:
    """Return what matplotlib's `plot` needs to draw a line in a style."""
    dashes = (0, style.dashes) if style.dashes else "solid"
    return {"color": style.colour, "linestyle": dashes}


def point_look(style: Style) -> dict[str, Any]:
    """Return what matplotlib's `plot` needs to draw points in a style."""
    return {
        "color": style.colour,
        "marker": style.marker,
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def add_legend(
    figure: "Figure", labels: dict[str, Style], note: str, *, points: bool = True
) -> None:
    """Put one legend for all panels below them, headed by what the marks mean.

    Where there is one line the heading stands alone.
    """
    from matplotlib.lines import Line2D

    note = textwrap.fill(note, int(figure.get_size_inches()[0] / 0.06))
    if len(labels) < 2:
        figure.supxlabel(note, fontsize=7, color=FADED)
        return
    handles = [
        Line2D([], [], label=label, **{**line_look(style), **(point_look(style) if points else {})})
        for label, style in labels.items()
    ]
    widest = max(len(label) for label in labels)
    room = max(1, int(figure.get_size_inches()[0] / (0.07 * widest + 0.65)))
    lines = -(-len(handles) // room)
    legend = figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=-(-len(handles) // lines),
        frameon=False,
        handlelength=3.2,
        columnspacing=1.4,
        title=note,
        title_fontsize=7,
    )
    legend.get_title().set_color(FADED)


def set_title(axes: "Axes", words: str, columns: int) -> None:
    """Head a panel; a title that is wider than one of `columns` panels is broken at its dots."""
    room = int(PAGE / columns / 0.062)
    pieces = [piece.replace(" ", "\u00a0") for piece in words.split(" · ")]
    lines = textwrap.wrap(" · ".join(pieces), room)
    axes.set_title("\n".join(line.removesuffix(" ·") for line in lines), loc="left")


def seeds_in_words(counts: Iterable[int]) -> str:
    """Return how many seeds stand behind means: `3 seeds`, `1 to 3 seeds`."""
    known = {count for count in counts if count}
    if not known:
        return "no seeds"
    low, high = min(known), max(known)
    return f"{low} seed{'s' if low > 1 else ''}" if low == high else f"{low} to {high} seeds"


def number_ticks(axes: "Axes", values: Sequence[float]) -> None:
    """Put the horizontal axis in log, with a tick at each value and nowhere else."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(values)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    room = (values[-1] / values[0]) ** 0.06
    axes.set_xlim(values[0] / room, values[-1] * room)
