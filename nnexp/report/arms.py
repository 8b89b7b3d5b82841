"""Rows → the page's arms: each norm, or variant of it, with its colour, marker and dashes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nnexp.compare.columns import Row
from nnexp.compare.tables import TextCell
from nnexp.figures.colours import Style
from nnexp.figures.series import line_settings, line_styles

MARKER = 9.0  # of a square of 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What is drawn alike everywhere on the page."""

    number: int
    label: str
    settings: Mapping[str, str]
    colour: str
    dashes: str  # of an SVG's line
    marker: str  # the path of an SVG, in a square from -6 to 6


class Arms:
    """The arms of a page, found by settings."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.keys = line_settings(rows)
        styles = line_styles(rows, self.keys)
        self.by_line = {
            line: _make_arm(number, label, dict(zip(self.keys, line, strict=True)), style)
            for number, (line, (label, style)) in enumerate(styles.items())
        }
        self.all = list(self.by_line.values())

    def style(self) -> str:
        """Return the arms' colours as rules of a style sheet."""
        return "".join(f".arm-{arm.number} {{ --own: {arm.colour}; }}\n" for arm in self.all)

    def find(self, settings: Mapping[str, str]) -> Arm | None:
        """Return the one arm that has these settings; None where several do."""
        found = [arm for arm in self.all if _agree(arm.settings, settings)]
        return found[0] if len(found) == 1 else None

    def of_norm(self, norm: str) -> Arm | None:
        """Return the first arm of a norm."""
        return next((arm for arm in self.all if arm.settings["norm"] == norm), None)

    def of_row(self, headings: Sequence[str], cells: Sequence[TextCell]) -> Arm | None:
        """Return the arm that a table's row is about."""
        settings = zip(headings, (cell.text for cell in cells), strict=False)
        return self.find(dict(settings))


def _agree(own: Mapping[str, str], asked: Mapping[str, str]) -> bool:
    return all(asked[key] == value for key, value in own.items() if key in asked)


def _make_arm(number: int, label: str, settings: dict[str, str], style: Style) -> Arm:
    return Arm(
        number=number,
        label=label,
        settings=settings,
        colour=style.colour,
        dashes=" ".join(f"{2 * part:g}" for part in style.dashes),
        marker=_marker_path(style.marker),
    )


def _marker_path(marker: str) -> str:
    """Return matplotlib's marker as the path of an SVG."""
    from matplotlib.markers import MarkerStyle
    from matplotlib.path import Path as Outline
    from matplotlib.transforms import Affine2D

    style = MarkerStyle(marker)
    scale = Affine2D().scale(MARKER, -MARKER)
    outline = style.get_path().transformed(style.get_transform() + scale)
    letters = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C"}
    return "".join(
        letters.get(code, "Z") + ("" if code == Outline.CLOSEPOLY else _points(vertices))
        for vertices, code in outline.iter_segments(simplify=False)
    )


def _points(values: Iterable[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)
