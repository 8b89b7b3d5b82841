"""Runs and a question → one HTML page that needs nothing but itself."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nnexp.compare import as_rows
from nnexp.compare.best import AT_BEST
from nnexp.compare.best_table import choices_legend, choices_table
from nnexp.compare.columns import Row
from nnexp.compare.comparison import Comparison, Question, make_comparison
from nnexp.compare.method import method_lines
from nnexp.compare.selection import filter_rows, find_setting
from nnexp.compare.tables import (
    differences_legend,
    differences_table,
    grid_table,
    legend,
    sums_table,
)
from nnexp.console import printable
from nnexp.figures.chance import chance_of
from nnexp.figures.defaults import at_best, complete
from nnexp.figures.series import plain
from nnexp.report.arms import Arms
from nnexp.report.cells import sort_value, whole_number
from nnexp.report.curves import find_curves
from nnexp.report.forest import make_forest
from nnexp.report.gaps import find_places
from nnexp.report.pictures import make_pictures
from nnexp.report.probes import probed_tables
from nnexp.report.reproduce import find_recipes
from nnexp.report.runs import describe_runs, same_settings
from nnexp.report.sample import readable
from nnexp.report.sentences import (
    by_column,
    default_question,
    default_title,
    method_notes,
    remarks,
    short_answer,
)
from nnexp.rundir import replacing
from nnexp.settings import ConfigError
from nnexp.settings.values import as_list
from nnexp.settings.version import __version__

if TYPE_CHECKING:
    from nnexp.compare.load import Runs

MOST_ROWS = 1000  # of a table
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageHead:
    """What a page is headed by; empty: said by what is compared."""

    title: str = ""
    question: str = ""


def write_report(  # noqa: PLR0913  one keyword an option of the command
    path: str | Path,
    runs: "Runs" = (),
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    metric: str = "test_accuracy",
    where: Sequence[str] = (),
    against: str | None = None,
    margin: float | None = None,
    paired: bool = False,
    best: str | None = None,
    confirm: bool = False,
    title: str = "",
    question: str = "",
    warnings: Sequence[str] = (),
) -> Path:
    """Write one self-contained page about runs and return its path.

    Args:
        path: The file to write; its ending is .html.
        runs: Folders of runs, run folders, `results.csv` files, globs, `study=NAME`; or what
            `load_runs` returned. Nothing: the runs in `runs/`.
        rows: The settings that make the rows of the tables.
        columns: The settings that make their columns.
        metric: The column of the results that is compared.
        where: Conditions that the runs must meet: `norm=batch,none`, `norm!=none`.
        against: The norm, or `key=value`, to which paired differences are taken.
        margin: A difference that does not matter, in the unit of the table: points for accuracies.
        paired: Compare runs that share a seed as pairs, whatever their correlation.
        best: The setting of which each cell is shown at its best value.
        confirm: With `best`, show only the seeds that took no part in choosing.
        title: What the page is headed by.
        question: The question below the title.
        warnings: What a reader has to know of the runs, below the answer.

    Raises:
        ConfigError: There are no such runs, or the file cannot be written.
    """
    path = _html_path(path)
    asked = Question(
        rows=rows,
        columns=columns,
        metric=metric,
        where=where,
        against=against,
        margin=margin,
        paired=paired,
        best=best,
        confirm=confirm,
    )
    head = PageHead(title=title, question=question)
    page = make_page(as_rows(runs), asked, head, as_list(warnings))
    with replacing(path) as scratch:
        scratch.write_text(page, "utf-8")
    return path


def _html_path(name: str | Path) -> Path:
    path = Path(name)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"cannot write a page into {path}", "its ending must be .html")
    if not path.parent.is_dir():
        raise ConfigError(f"no folder {path.parent}", "make it, or write the page elsewhere")
    return path


def make_page(
    rows: Sequence[Row], question: Question, head: PageHead, warnings: Sequence[str] = ()
) -> str:
    """Return the page: the answer in words, tables, figures, runs, failures, how to reproduce it.

    `warnings` stand below the answer, with those about the comparison.

    Raises:
        ConfigError: The question names what the runs do not have.
    """
    rows = filter_rows(rows, question.where)
    question = complete(question, rows)
    comparison = make_comparison(rows, question)
    arms = Arms(_compared(rows, question.best))
    chosen = at_best(rows, question.best, confirm=question.confirm)
    read, sampled = readable(chosen)
    curves, without = find_curves(read, arms)
    pictures, left_out = make_pictures(rows, chosen, read, question)
    recipes, recipes_left_out = find_recipes(rows)
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=head.title or default_title(comparison),
            question=head.question or default_question(comparison),
            version=__version__,
            style=_read("page.css") + arms.style(),
            script=_read("page.js"),
            arms=arms,
            most_rows=MOST_ROWS,
            answer=short_answer(comparison),
            forest=make_forest(find_places(comparison), comparison.metric, arms),
            by_column=by_column(comparison),
            remarks=remarks(comparison, chance_of(rows, comparison.metric)),
            method=method_notes(comparison),
            warnings=[*comparison.warnings, *warnings],
            tables=_tables(rows, question, comparison),
            inside=probed_tables(rows, question),
            curves=curves,
            pictures=pictures,
            left_out=[*sampled, *without, *left_out],
            runs=describe_runs(rows, comparison.metric),
            recipes=recipes,
            recipes_left_out=recipes_left_out,
            same=same_settings(rows),
        )
    )


def _compared(rows: Sequence[Row], best: str | None) -> list[Row]:
    """Return the rows as cells at their best are told apart: by all but the chosen setting."""
    return [{**row, find_setting(best): AT_BEST} for row in rows] if best else list(rows)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("nnexp.report"),
        autoescape=True,  # what others wrote is text, never markup
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "sort_value": sort_value,
        "whole_number": whole_number,
        "digest": _digest,
    }
    return environment


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text("utf-8")


def _digest(text: str) -> str:
    """Return what a Content-Security-Policy knows an inline style or script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _tables(rows: Sequence[Row], question: Question, comparison: Comparison) -> dict[str, Any]:
    """Return the tables with what a reader has to know of each; how they were judged aside."""
    metric, against = comparison.metric, comparison.against
    method = method_lines(comparison.judgements, metric)
    tables = {
        "grids": list(map(grid_table, comparison.grids)),
        "legend": [
            *(line for line in legend([comparison]) if line not in method),
            *(
                f"{key} goes with the rows and columns, and differs too: {', '.join(values)}"
                for key, values in comparison.implied.items()
            ),
        ],
        "differences": against and differences_table(against, metric, comparison.margin),
        "sums": against and sums_table(against, metric, comparison.margin),
        "differences_legend": against
        and [line for line in differences_legend(comparison) if line not in method],
        "choices": comparison.choices and choices_table(comparison),
    }
    if question.best is None:
        return tables
    fixed = replace(question.without_baseline(), best=None, confirm=False)
    shared = make_comparison(rows, fixed)
    return {
        **tables,
        "choices_legend": choices_legend(comparison),
        "chosen": plain(find_setting(question.best)),
        "shared": list(map(grid_table, shared.grids)),
        "shared_legend": legend([shared]),
    }
