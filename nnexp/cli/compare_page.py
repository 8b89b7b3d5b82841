"""What `nnexp compare` prints: tables for a reader, a paper or a program."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nnexp.compare.best_table import choices_legend, choices_table
from nnexp.compare.columns import Row
from nnexp.compare.comparison import Comparison, Question, make_comparison
from nnexp.compare.formats import (
    aligned,
    latex,
    latex_note,
    markdown,
    markdown_note,
    markdown_text,
    one_line,
)
from nnexp.compare.load import DEFAULT, read_rows
from nnexp.compare.records import cell_records, difference_records, json_content
from nnexp.compare.tables import (
    TextTable,
    differences_legend,
    differences_table,
    grid_table,
    legend,
    side_by_side,
    sums_table,
)
from nnexp.console import Console, open_console, print_table, say, write, write_csv
from nnexp.settings import ConfigError


def compare_page(
    sources: Sequence[str], question: Question, form: str, config_dir: str | None = None
) -> None:
    """Print the comparison in one of FORMS, for each metric; warnings go to standard error.

    Raises:
        ConfigError: There are no runs, or the question names what they do not have.
    """
    print_comparison(read_rows(sources or DEFAULT, say, config_dir), question, form)


def print_comparison(rows: Sequence[Row], question: Question, form: str = "page") -> None:
    """Print what a question asks of rows.

    Raises:
        ConfigError: The question names what the rows do not have.
    """
    comparisons = [
        make_comparison(rows, replace(question, metric=m)) for m in question.metric.split(",")
    ]
    for warning in dict.fromkeys(
        warning for comparison in comparisons for warning in comparison.warnings
    ):
        say(warning)
    FORMS[form](comparisons)


def choose_form(**wanted: bool) -> str:
    """Return the one form that is wanted, a page if none.

    Raises:
        ConfigError: There are several.
    """
    forms = [form for form, chosen in wanted.items() if chosen]
    if len(forms) > 1:
        raise ConfigError(
            f"{' and '.join(f'--{form}' for form in forms)} are both wanted",
            "ask for one form at a time",
        )
    return forms[0] if forms else "page"


def _print_page(comparisons: Sequence[Comparison]) -> None:
    console = open_console()
    for table, notes in _all_parts(comparisons):
        console.print(f"[bold]{escape(table.title)}[/]")
        if console.is_terminal:
            print_table(console, _rich_table(table))
        else:  # rich would take half a millisecond a row
            write(f"{aligned(table)}\n")
        for note in notes:
            _print_dim(console, note)
        if notes:
            console.print()
    for note in _about(comparisons[0]):
        _print_dim(console, note)


def _print_markdown(comparisons: Sequence[Comparison]) -> None:
    for table, notes in _all_parts(comparisons):
        write(f"**{markdown_text(table.title)}**\n\n{markdown(table)}\n")
        for note in notes:
            write(f"- {markdown_note(note)}")
        if notes:
            write()
    for note in _about(comparisons[0]):
        write(f"- {markdown_note(note)}")


def _print_latex(comparisons: Sequence[Comparison]) -> None:
    write("% needs \\usepackage{booktabs}")
    for table, notes in _all_parts(comparisons):
        write(f"% {one_line(table.title)}\n{latex(table)}")
        for note in notes:
            write(f"% {latex_note(note)}")
        write()
    for note in _about(comparisons[0]):
        write(f"% {latex_note(note)}")


def _print_csv(comparisons: Sequence[Comparison]) -> None:
    """Print one row per comparison if there are any, else one per cell."""
    records = [
        record
        for comparison in comparisons
        for record in difference_records(comparison) or cell_records(comparison)
    ]
    write_csv(list(dict.fromkeys(chain.from_iterable(records))), records)


def _print_json(comparisons: Sequence[Comparison]) -> None:
    """Print one object, or for several metrics a list of them."""
    contents = [json_content(comparison) for comparison in comparisons]
    content = contents if len(contents) > 1 else contents[0]
    write(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


FORMS: dict[str, Callable[[Sequence[Comparison]], None]] = {
    "page": _print_page,
    "csv": _print_csv,
    "md": _print_markdown,
    "tex": _print_latex,
    "json": _print_json,
}


def _all_parts(comparisons: Sequence[Comparison]) -> list[tuple[TextTable, list[str]]]:
    """Return the tables of every metric; metrics of one column each stand side by side."""
    grids = [grid for comparison in comparisons for grid in comparison.grids]
    together = len(comparisons) > 1 and len(grids) == len(comparisons) and not grids[0].column_keys
    if not together:
        return [part for comparison in comparisons for part in _parts(comparison)]
    rest = [part for comparison in comparisons for part in _parts(comparison)[1:]]
    return [(side_by_side(grids), legend(comparisons)), *rest]


def _parts(comparison: Comparison) -> list[tuple[TextTable, list[str]]]:
    """Return each table with the notes below it; those on cells stand once, below the last."""
    tables = [grid_table(grid) for grid in comparison.grids]
    notes: list[list[str]] = [[] for _ in tables]
    notes[-1] = legend([comparison])
    parts = list(zip(tables, notes, strict=True))
    if comparison.choices:
        parts.append((choices_table(comparison), choices_legend(comparison)))
    if against := comparison.against:
        parts.append((differences_table(against, comparison.metric, comparison.margin), []))
        if sums := sums_table(against, comparison.metric, comparison.margin):
            parts.append((sums, []))
        parts[-1][1].extend(differences_legend(comparison))
    return parts


def _about(comparison: Comparison) -> list[str]:
    """Return what holds for all tables."""
    lines = [f"runs: {comparison.runs}"]
    for key, values in comparison.implied.items():
        lines.append(f"implied by the rows and columns: {key} ({', '.join(values)})")
    if comparison.same:
        pairs = ", ".join(f"{key}={value}" for key, value in comparison.same.items())
        lines.append(f"the same in every run: {pairs}")
    return lines


def _rich_table(table: TextTable) -> Table:
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for position, heading in enumerate(table.headings):
        justify = "left" if position < table.labels else "right"
        drawn.add_column(escape(heading), justify=justify, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell.text, "bold" if cell.bold else "") for cell in row))
    return drawn


def _print_dim(console: Console, note: str) -> None:
    console.print(f"[dim]{escape(note)}[/]")
