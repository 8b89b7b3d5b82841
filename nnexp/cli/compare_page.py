"""What `nnexp compare` prints: tables for a reader, a paper or a program."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from nnexp.compare.best_table import choice_records, choices_legend, choices_table, chosen_columns
from nnexp.compare.comparison import Comparison, Question, make_comparison
from nnexp.compare.grid import Cell
from nnexp.compare.load import DEFAULT, read_rows
from nnexp.compare.tables import (
    TextTable,
    differences_legend,
    differences_table,
    grid_table,
    latex,
    legend,
    markdown,
    markdown_text,
    one_line,
    side_by_side,
)
from nnexp.console import Console, open_console, print_table, say, write, write_csv
from nnexp.settings import ConfigError

Record = dict[str, Any]
NESTED = ("treatment", "settings", "chosen", "baseline_chosen", "notes")
STATES = ("done", "diverged", "failed", "interrupted", "running")


def compare_page(sources: Sequence[str], question: Question, form: str) -> None:
    """Print the answer in one of FORMS, for each metric; warnings go to standard error.

    Raises:
        ConfigError: There are no runs, or the question names what they do not have.
    """
    rows = read_rows(sources or DEFAULT, say)
    answers = [
        make_comparison(rows, replace(question, metric=m)) for m in question.metric.split(",")
    ]
    for warning in dict.fromkeys(warning for answer in answers for warning in answer.warnings):
        say(warning)
    FORMS[form](answers)


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


def _print_page(answers: Sequence[Comparison]) -> None:
    console = open_console()
    for table, notes in _all_parts(answers):
        console.print(f"[bold]{escape(table.title)}[/]")
        print_table(console, _rich_table(table))
        for note in notes:
            _print_dim(console, note)
        if notes:
            console.print()
    for note in _about(answers[0]):
        _print_dim(console, note)


def _print_markdown(answers: Sequence[Comparison]) -> None:
    for table, notes in _all_parts(answers):
        write(f"**{markdown_text(table.title)}**\n\n{markdown(table)}\n")
        for note in notes:
            write(f"- {markdown_text(note)}")
        if notes:
            write()
    for note in _about(answers[0]):
        write(f"- {markdown_text(note)}")


def _print_latex(answers: Sequence[Comparison]) -> None:
    write("% needs \\usepackage{booktabs}")
    for table, notes in _all_parts(answers):
        write(f"% {one_line(table.title)}\n{latex(table)}")
        for note in notes:
            write(f"% {one_line(note)}")
        write()
    for note in _about(answers[0]):
        write(f"% {one_line(note)}")


def _print_csv(answers: Sequence[Comparison]) -> None:
    """Print one row per comparison if there are any, else one per cell."""
    records = [
        record
        for answer in answers
        for record in _comparison_records(answer) or _cell_records(answer)
    ]
    write_csv(list(records[0]), records)


def _print_json(answers: Sequence[Comparison]) -> None:
    """Print one object, or for several metrics a list of them."""
    contents = [_content(answer) for answer in answers]
    content = contents if len(contents) > 1 else contents[0]
    write(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def _content(answer: Comparison) -> Record:
    content = {
        "metric": answer.metric,
        "runs": answer.runs,
        "warnings": answer.warnings,
        "cells": _cell_records(answer, seeds=True),
        **({"choices": choice_records(answer)} if answer.choices else {}),
        **({"comparisons": _comparison_records(answer)} if answer.comparisons else {}),
    }
    finite = _finite(content)
    if finite != content:
        finite["warnings"].append("a figure that is not finite is written as null")
    return finite


def _finite(value: Any) -> Any:
    """Return a value in which every number that JSON does not know is None."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


FORMS: dict[str, Callable[[Sequence[Comparison]], None]] = {
    "page": _print_page,
    "csv": _print_csv,
    "md": _print_markdown,
    "tex": _print_latex,
    "json": _print_json,
}


def _all_parts(answers: Sequence[Comparison]) -> list[tuple[TextTable, list[str]]]:
    """Return the tables of every metric; metrics of one column each stand side by side."""
    grids = [grid for answer in answers for grid in answer.grids]
    together = len(answers) > 1 and len(grids) == len(answers) and not grids[0].column_keys
    if not together:
        return [part for answer in answers for part in _parts(answer)]
    notes = dict.fromkeys(line for grid in grids for line in legend([grid], grid.metric))
    rest = [part for answer in answers for part in _parts(answer)[1:]]
    return [(side_by_side(grids), list(notes)), *rest]


def _parts(answer: Comparison) -> list[tuple[TextTable, list[str]]]:
    """Return each table with the notes below it; those on cells stand once, below the last."""
    tables = [grid_table(grid) for grid in answer.grids]
    notes: list[list[str]] = [[] for _ in tables]
    notes[-1] = legend(answer.grids, answer.metric)
    parts = list(zip(tables, notes, strict=True))
    if answer.choices:
        parts.append((choices_table(answer), choices_legend(answer)))
    if answer.comparisons:
        table = differences_table(answer.comparisons, answer.metric, answer.against)
        parts.append((table, differences_legend(answer.comparisons)))
    return parts


def _about(answer: Comparison) -> list[str]:
    """Return what holds for all tables."""
    lines = [f"runs: {answer.runs}"]
    for key, values in answer.along.items():
        lines.append(f"told by the rows and columns: {key} ({', '.join(values)})")
    if answer.same:
        pairs = ", ".join(f"{key}={value}" for key, value in answer.same.items())
        lines.append(f"the same in every run: {pairs}")
    return lines


def _cell_records(answer: Comparison, *, seeds: bool = False) -> list[Record]:
    """Return one record per cell, in full precision; a cell where nothing ran has n = 0."""
    met = (state for grid in answer.grids for cell in grid.cells.values() for state in cell.states)
    states = tuple(dict.fromkeys((*STATES, *met)))
    return [
        {
            **answer.same,
            **grid.layer,
            **dict(zip(grid.row_keys, row, strict=True)),
            **dict(zip(grid.column_keys, column, strict=True)),
            **_figures(grid.cell(row, column), grid.metric, states),
            **chosen_columns(answer, grid.cell(row, column).chosen),
            **({"seeds": grid.cell(row, column).values} if seeds else {}),
        }
        for grid in answer.grids
        for row in grid.rows
        for column in grid.columns
    ]


def _figures(cell: Cell, metric: str, states: Sequence[str]) -> Record:
    return {
        "metric": metric,
        "mean": cell.mean,
        "standard_deviation": cell.deviation,
        "n": len(cell.values),
        **{state: cell.states[state] for state in states},
        "mark": cell.mark,
    }


def _comparison_records(answer: Comparison) -> list[Record]:
    return [
        {
            **answer.same,
            **one.treatment,
            **one.settings,
            "metric": answer.metric,
            "against": answer.against,
            **{key: value for key, value in asdict(one).items() if key not in NESTED},
            **chosen_columns(answer, one.chosen),
            **chosen_columns(answer, one.baseline_chosen, before="baseline_"),
            "notes": "; ".join(one.notes),
        }
        for one in answer.comparisons
    ]


def _rich_table(table: TextTable) -> Table:
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for position, heading in enumerate(table.headings):
        justify = "left" if position < table.labels else "right"
        drawn.add_column(escape(heading), justify=justify, overflow="fold")
    for row in table.rows:
        drawn.add_row(
            *(f"[bold]{escape(cell.text)}[/]" if cell.bold else escape(cell.text) for cell in row)
        )
    return drawn


def _print_dim(console: Console, note: str) -> None:
    console.print(f"[dim]{escape(note)}[/]")
