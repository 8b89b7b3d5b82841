"""Tables of text → plain lines, Markdown and LaTeX."""

import re
from collections.abc import Sequence

from rich.cells import cell_len

from nnexp.compare.tables import BEST_SIGN, TextCell, TextTable

SIGNED = f"{BEST_SIGN} and "  # begins a note on what is bold, and on a terminal has a sign too
LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",  # bare, it is an option of the \\ or the rule before it
    "]": "{]}",
    "*": "{*}",  # bare, it changes the \\ before it
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "≥": r"$\geq$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "↕": r"$\updownarrow$",
    "–": "--",
    "−": "$-$",
    "×": r"$\times$",
    "γ": r"$\gamma$",
    "β": r"$\beta$",
}


def aligned(table: TextTable) -> str:
    """Return lines with columns side by side, texts to the left and numbers to the right."""
    rows = [table.headings, *([cell.text for cell in row] for row in table.rows)]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        spaces = [" " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)]
        texts = [
            cell + space if position < table.labels else space + cell
            for position, (cell, space) in enumerate(zip(cells, spaces, strict=True))
        ]
        return " ".join(texts)

    return "\n".join(map(line, rows))


def markdown(table: TextTable) -> str:
    """Return a GitHub table."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    rows = [[_markdown_cell(cell) for cell in row] for row in table.rows]
    marks = [
        "---" if position < table.labels else "---:" for position in range(len(table.headings))
    ]
    heads = [markdown_text(head) for head in table.headings]
    return "\n".join([line(heads), line(marks), *map(line, rows)])


def latex(table: TextTable) -> str:
    """Return a tabular in the rules of booktabs."""

    def line(cells: Sequence[str]) -> str:
        return f"{' & '.join(cells)} \\\\"

    rows = [[_latex_cell(cell) for cell in row] for row in table.rows]
    columns = "l" * table.labels + "r" * (len(table.headings) - table.labels)
    body = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        line([escape_latex(head) for head in table.headings]),
        r"\midrule",
        *map(line, rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(body)


def escape_latex(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(LATEX.get(character, character) for character in one_line(text))


def markdown_text(text: str) -> str:
    """Return text that Markdown prints as it is."""
    return re.sub(r"([\\|*_<>`\[\]])", r"\\\1", one_line(text))


def markdown_note(note: str) -> str:
    """Return a note below a table of Markdown, where the best is bold and has no sign."""
    return markdown_text(note.removeprefix(SIGNED))


def latex_note(note: str) -> str:
    """Return the same as the text of a LaTeX comment."""
    return one_line(note.removeprefix(SIGNED))


def one_line(text: str) -> str:
    """Return text with a space for each line break."""
    return re.sub(r"\s*[\r\n\u2028\u2029]\s*", " ", text)


def _markdown_cell(cell: TextCell) -> str:
    text = markdown_text(cell.text.removeprefix(f"{BEST_SIGN} "))
    return f"**{text}**" if cell.bold else text


def _latex_cell(cell: TextCell) -> str:
    text = escape_latex(cell.text.removeprefix(f"{BEST_SIGN} "))
    text = re.sub(r"(?<![\w.-])-(?=\d)", "$-$", text)  # a minus, not a hyphen
    return rf"\textbf{{{text}}}" if cell.bold else text
