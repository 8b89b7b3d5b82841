"""A norm's name → how it is drawn, the same in every figure and on every page."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """Colour, marker and dashes: the first tells known norms apart, as do the other two."""

    colour: str
    marker: str  # of matplotlib
    dashes: tuple[float, ...] = ()  # on, off, … in line widths; none: solid


# Every colour has a contrast of 3 or more with white, and all pairs differ by 17 (CIE76) to every
# kind of colour vision. Of the first six, which most figures compare, the lightness of any two
# differs by 6 or more (CIE L*), for grey print; more of them do not fit between black and white.
STYLES = {
    "batch": Style(colour="#004584", marker="o"),
    "group": Style(colour="#bf631e", marker="s", dashes=(5, 1.5)),
    "layer": Style(colour="#29793e", marker="^", dashes=(2, 1)),
    "layer_chw": Style(colour="#169fcb", marker="v", dashes=(6, 1.5, 1.5, 1.5)),
    "instance": Style(colour="#9f1b5e", marker="D", dashes=(1, 1)),
    "none": Style(colour="#262626", marker="*", dashes=(8, 2)),
    "ghost": Style(colour="#4000e0", marker="P", dashes=(4, 1)),
    "group_ws": Style(colour="#a02010", marker="p", dashes=(3, 2)),
    "rms": Style(colour="#501000", marker="h", dashes=(2, 2)),
    "evonorm_s0": Style(colour="#f02050", marker="P", dashes=(10, 2)),
    "frn": Style(colour="#b030f0", marker="p", dashes=(4, 2, 1, 2)),
    "batch_renorm": Style(colour="#100070", marker="h", dashes=(7, 1, 1, 1)),
    "dynamic_tanh": Style(colour="#809090", marker="P", dashes=(1, 2)),
    "switchable": Style(colour="#906090", marker="h", dashes=(5, 1, 2, 1)),
    "evonorm_b0": Style(colour="#501050", marker="p", dashes=(3, 1, 1, 1)),
    "scaled_ws": Style(colour="#ff46c3", marker="P", dashes=(3, 3)),
}
# For norms of plug-ins: as far from each other and from STYLES, to every kind of colour vision.
SPARE_COLOURS = ("#a09070", "#b070f0", "#7000b0")
SPARE_MARKERS = ("<", ">", "d")
SPARE_DASHES = ((4, 1), (3, 1, 1, 1), (1, 2), (7, 1, 1, 1))
VARIANT_MARKERS = ("s", "^", "D", "v", "P")
DIVERGED_MARKER = "x"  # shown as × in legends; no norm and no variant of one has it
NEUTRAL = Style(colour="#4a5560", marker="o")


def style_of(norm: str) -> Style:
    """Return how a norm is drawn; one of a plug-in has a spare style that depends on its name."""
    if norm in STYLES:
        return STYLES[norm]
    number = int.from_bytes(hashlib.sha256(norm.encode()).digest()[:4])
    number, colour = divmod(number, len(SPARE_COLOURS))
    number, marker = divmod(number, len(SPARE_MARKERS))
    return Style(
        colour=SPARE_COLOURS[colour],
        marker=SPARE_MARKERS[marker],
        dashes=SPARE_DASHES[number % len(SPARE_DASHES)],
    )


def variant_of(style: Style, position: int) -> Style:
    """Return the style of a norm's variant: lighter, with another marker and other dashes."""
    if position == 0:
        return style
    share = 1 - 0.65**position
    channels = [int(style.colour[at : at + 2], 16) for at in (1, 3, 5)]
    mixed = [round(channel + share * (215 - channel)) for channel in channels]
    markers = [marker for marker in VARIANT_MARKERS if marker != style.marker]
    return Style(
        colour="#" + "".join(f"{channel:02x}" for channel in mixed),
        marker=markers[(position - 1) % len(markers)],
        dashes=SPARE_DASHES[(position - 1) % len(SPARE_DASHES)],
    )
