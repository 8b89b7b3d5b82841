"""What all figures share: sizes, fonts, axes, the legend, and the files they are written to."""

import math
import textwrap
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nnexp.figures.colours import Style
from nnexp.figures.settings import FADED, FILE_SETTINGS, SETTINGS
from nnexp.settings import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN = 3.5  # inches, of a paper's column; figures are made to be printed at their size
PAGE = 7.2  # inches, of both columns
CHARACTER = 0.062  # inches, of an average letter
LABEL = 28  # letters of a name before it is broken into lines
FORMATS = (".png", ".svg", ".pdf")
PAGE_DOTS = 200  # an inch, of a PNG that a report page holds
FILE_DOTS = 300  # of one in its own file: what journals ask for
STEP_LABELS = 4  # about so many fit below a panel that is half a column wide
INTERVAL = "95 % interval of each mean"
UNDATED = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in nnexp's style, whatever the user's matplotlibrc says."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG, SVG or PDF, by the ending of `path`.

    Raises:
        ConfigError: The ending is none of them, or the folder is not there.
    """
    check_ending(path)
    if not path.parent.is_dir():
        raise ConfigError(f"no folder {path.parent}", "make it, or write the figure elsewhere")
    write_figure(figure, path, path.suffix.lower().removeprefix("."), FILE_DOTS)


def check_ending(path: Path) -> None:
    """Refuse a file that is none of a figure's.

    Raises:
        ConfigError: Its ending is not one of FORMATS.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"cannot draw into {path}", f"its ending must be one of {', '.join(FORMATS)}"
        )


def write_figure(
    figure: "Figure", file: Path | IO[bytes], form: str, dots: int = PAGE_DOTS
) -> None:
    """Write a figure as png, svg or pdf: the same figure gives the same bytes on every day.

    `dots` is the resolution to the inch, of a PNG and of the images in the others.
    """
    import matplotlib as mpl

    with mpl.rc_context(FILE_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # drawn as an empty box
        figure.savefig(file, format=form, dpi=dots, metadata=UNDATED[form])


def balanced(count: int, most: int) -> int:
    """Return how many panels stand beside each other: `most` or fewer, the rows evenly filled."""
    return -(-count // -(-count // most))


def check_panels(count: int, most: int, what: str) -> None:
    """Refuse a figure of too many panels.

    Raises:
        ConfigError: There are more than `most`.
    """
    if count > most:
        raise ConfigError(
            f"{what} of {count} combinations of settings do not fit into one figure",
            "choose some: --where batch_size=128",
        )


def open_panels(
    count: int, across: int, height: float = 2.0, *, width: float | None = None, **shared: Any
) -> tuple["Figure", list["Axes"]]:
    """Return a figure of panels, `across` beside each other.

    `height` is a panel's, `width` the figure's, in inches: a paper's column for one panel, else
    up to a page.
    """
    from matplotlib.figure import Figure

    lines = -(-count // across)
    width = width or {1: COLUMN, 2: 5.0}.get(across, PAGE)
    figure = Figure(figsize=(width, height * lines + 0.6), layout="constrained")
    grid = figure.subplots(lines, across, squeeze=False, **shared)
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
        "markersize": 6.5 if style.marker == "*" else 4.2,  # a star covers less of its square
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def add_legend(
    figure: "Figure", labels: dict[str, Style], note: str, *, points: bool = True
) -> None:
    """Put one legend for all panels below them, headed by what the marks mean.

    Where there is one line the heading stands alone.
    """
    handles = [
        (label, {**line_look(style), **(point_look(style) if points else {})})
        for label, style in labels.items()
    ]
    add_line_legend(figure, handles if len(handles) > 1 else [], note)


def add_line_legend(
    figure: "Figure", lines: Sequence[tuple[str, dict[str, Any]]], note: str
) -> None:
    """Put a legend of lines, each with its look, below all panels; without lines the note alone."""
    from matplotlib.lines import Line2D

    width = figure.get_size_inches()[0]
    note = textwrap.fill(note, int(width / 0.06))
    if not lines:
        figure.supxlabel(note, fontsize=7, color=FADED)
        return
    labels = [wrapped(label, LABEL) for label, _ in lines]
    widest = max(_letters(line) for label in labels for line in label.split("\n"))
    rows = -(-len(lines) // max(1, int(width / (0.07 * widest + 0.65))))
    legend = figure.legend(
        handles=[
            Line2D([], [], label=label, **look)
            for label, (_, look) in zip(labels, lines, strict=True)
        ],
        loc="outside lower center",
        ncols=-(-len(lines) // rows),
        frameon=False,
        handlelength=3.2,
        columnspacing=1.4,
        title=note,
        title_fontsize=7,
    )
    legend.get_title().set_color(FADED)


def set_title(axes: "Axes", words: str, across: int) -> None:
    """Head a panel; a title that is wider than one of `across` panels is broken at its dots."""
    pieces = [piece.replace(" ", "\u00a0") for piece in words.split(" · ")]
    lines = wrapped(" · ".join(pieces), int(PAGE / across / CHARACTER)).split("\n")
    axes.set_title("\n".join(line.removesuffix(" ·") for line in lines), loc="left")


def wrapped(text: str, room: int) -> str:
    """Return text broken into lines of `room` letters; one of Chinese or Japanese counts two."""
    wide = _letters(text) / max(1, len(text))
    return textwrap.fill(text, max(1, int(room / max(1.0, wide))))


def _letters(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def seeds_in_words(counts: Iterable[int]) -> str:
    """Return how many seeds stand behind means: `3 seeds`, `1 to 3 seeds`."""
    known = {count for count in counts if count}
    if not known:
        return "no seeds"
    low, high = min(known), max(known)
    return f"{low} seed{'s' if low > 1 else ''}" if low == high else f"{low} to {high} seeds"


def number_ticks(axes: "Axes", values: Sequence[float]) -> None:
    """Put the horizontal axis in log, with a tick at each value and nowhere else."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(values)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    room = (values[-1] / values[0]) ** 0.06
    axes.set_xlim(values[0] / room, values[-1] * room)


def log_ticks(axes: "Axes") -> None:
    """Put the vertical axis in log, with plain numbers, so few that they do not meet."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = math.log10(high / low)
    subs = (1,) if decades > 2.5 else (1, 3) if decades > 1.2 else (1, 2, 5)
    locator = LogLocator(subs=subs) if decades > 0.7 else MaxNLocator(4)
    axes.yaxis.set_major_locator(locator)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(low, high)


def step_ticks(axes: "Axes") -> None:
    """Make the horizontal axis one of optimizer steps: 0, then in log, labels that do not meet."""
    from matplotlib.ticker import SymmetricalLogLocator

    axes.set_xscale("symlog", linthresh=1)
    locator = SymmetricalLogLocator(base=10, linthresh=1)
    locator.set_params(numticks=STEP_LABELS)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(left=0)
    axes.set_xlabel("optimizer steps (0, then log)")


def mark_chance(panels: Iterable["Axes"], value: float | None, *, vertical: bool = False) -> bool:
    """Draw a dotted line at what guessing gives, where a panel has it; return whether any does."""
    marked = False
    for axes in panels:
        low, high = axes.get_xlim() if vertical else axes.get_ylim()
        if value is not None and low <= value <= high:
            look = {"color": FADED, "linewidth": 0.9, "linestyle": (0, (1, 2)), "zorder": 1}
            (axes.axvline if vertical else axes.axhline)(value, **look)
            marked = True
    return marked
