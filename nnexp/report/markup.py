"""Tables and words → HTML; the only module that writes tags around what others wrote."""

import re
from collections.abc import Mapping, Sequence
from html import escape as escape_html

from nnexp.compare.tables import BEST_SIGN, NEAR_SIGN, NOTHING, TextCell, TextTable
from nnexp.console import printable
from nnexp.figures.colours import style_of

NUMBER = re.compile(r"[+−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
COUNT = re.compile(r"\d+ of \d+ ")
# The markers of the figures, in a square from -5 to 5.
SHAPES = {
    "o": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "s": "M-3.6-3.6h7.2v7.2h-7.2z",
    "^": "M0-4.4L4.4 3.6h-8.8z",
    "v": "M0 4.4L4.4-3.6h-8.8z",
    "D": "M0-4.6L4.6 0 0 4.6-4.6 0z",
    "X": "M-4.4-2.4l2-2L0-2l2.4-2.4 2 2L2 0l2.4 2.4-2 2L0 2l-2.4 2.4-2-2L-2 0z",
}
OTHER_SHAPE = "M0-4.6L1.4-1.4 4.6 0 1.4 1.4 0 4.6-1.4 1.4-4.6 0-1.4-1.4z"


def escape(text: str) -> str:
    """Return what others wrote as HTML that shows it, without control characters."""
    return escape_html(printable(text))


def tag(name: str, content: str = "", **attributes: str | None) -> str:
    """Return an element around HTML; `class_` and `data_x` are `class` and `data-x`."""
    words = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    ]
    return f"<{name}{''.join(words)}>{content}</{name}>"


def paragraphs(lines: Sequence[str], class_: str | None = None) -> str:
    """Return each line of text as a paragraph."""
    return "".join(tag("p", escape(line), class_=class_) for line in lines)


def details(summary: str, content: str, id_: str | None = None) -> str:
    """Return HTML that opens when its summary, HTML too, is clicked."""
    return tag("details", tag("summary", summary) + content, id_=id_)


def table(made: TextTable, *, words: bool = False, links: Sequence[str] = ()) -> str:
    """Return a table that can be sorted by its headings, in a box of its own that scrolls.

    Behind the labels stand figures, or `words`; `links` lead from the rows' first cells.
    """
    kind = None if words else "figure"
    heads = "".join(
        tag("th", escape(head), scope="col", class_=None if at < made.labels else kind)
        for at, head in enumerate(made.headings)
    )
    addresses = links or [""] * len(made.rows)
    rows = "".join(
        tag("tr", _cells(row, made, address, words=words))
        for row, address in zip(made.rows, addresses, strict=True)
    )
    caption = tag("caption", escape(made.title))
    content = caption + tag("thead", tag("tr", heads)) + tag("tbody", rows)
    box = {"class_": "box", "tabindex": "0", "role": "region", "aria_label": made.title}
    return tag("div", tag("table", content, class_="sortable"), **box)


def text_table(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], links: Sequence[str]
) -> str:
    """Return texts as a table that can be sorted."""
    cells = [[TextCell(text=text) for text in row] for row in rows]
    made = TextTable(title=title, headings=list(headings), labels=1, rows=cells)
    return table(made, words=True, links=links)


def pairs(values: Mapping[str, str]) -> str:
    """Return names and values as a list."""
    items = [tag("dt", escape(key)) + tag("dd", escape(value)) for key, value in values.items()]
    return tag("dl", "".join(tag("div", item) for item in items))


def swatch(norm: str) -> str:
    """Return a norm's marker in its colour, as the figures draw it."""
    style = style_of(norm)
    shape = SHAPES.get(style.marker, OTHER_SHAPE)
    path = f'<path d="{shape}" fill="{style.colour}"/>'
    return f'<svg class="swatch" viewBox="-6 -6 12 12" aria-hidden="true">{path}</svg>'


def named(norm: str) -> str:
    """Return a norm's name behind its marker."""
    return f"{swatch(norm)} {escape(norm)}"


def sort_value(text: str) -> str | None:
    """Return the number that a cell is sorted by, or None where it begins with none."""
    bare = text.lstrip(f"{BEST_SIGN}{NEAR_SIGN}< ")
    found = NUMBER.match(bare)
    if not found or COUNT.match(bare):
        return None
    return found[0].replace(",", "").replace("−", "-")


def _cells(row: Sequence[TextCell], made: TextTable, link: str, *, words: bool) -> str:
    cells = []
    for at, (cell, head) in enumerate(zip(row, made.headings, strict=True)):
        if at < made.labels:
            cells.append(_label(cell, head, link if at == 0 else ""))
        else:
            cells.append(tag("td", escape(cell.text)) if words else _figure(cell))
    return "".join(cells)


def _label(cell: TextCell, head: str, link: str) -> str:
    content = named(cell.text) if head == "norm" else escape(cell.text)
    content = tag("a", content, href=link) if link else content
    return tag("th", content, scope="row", data_value=_whole_number(cell.text))


def _whole_number(text: str) -> str | None:
    """Return a label that is a number altogether, as a batch size is and `3x3` is not."""
    found = NUMBER.fullmatch(text)
    return found[0].replace(",", "") if found else None


def _figure(cell: TextCell) -> str:
    content = escape(cell.text)
    value = None if cell.text == NOTHING else sort_value(cell.text)
    content = tag("strong", content) if cell.bold else content
    return tag("td", content, class_="figure", data_value=value)
