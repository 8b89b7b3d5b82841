"""Rows and a question → one HTML page that needs nothing but itself."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template

from nnexp import __version__
from nnexp.compare.best_table import choices_legend, choices_table
from nnexp.compare.columns import Row
from nnexp.compare.comparison import Comparison, Question, make_comparison
from nnexp.compare.selection import filter_rows, find_setting
from nnexp.compare.tables import differences_legend, differences_table, grid_table, legend
from nnexp.figures.defaults import complete
from nnexp.figures.kinds import at_best
from nnexp.figures.series import plain
from nnexp.report.markup import details, escape, pairs, paragraphs, table, tag
from nnexp.report.pictures import make_pictures
from nnexp.report.probes import inside_section
from nnexp.report.reproduce import MOST_COMMANDS, Recipe, find_recipes, ways
from nnexp.report.runs import lost_section, runs_section, same_settings
from nnexp.report.sentences import (
    Statement,
    default_question,
    default_title,
    reading_notes,
    short_answer,
)

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class PageHead:
    """What a page is headed by; empty: said by what is compared."""

    title: str = ""
    question: str = ""
    remarks: tuple[str, ...] = ()


def make_page(rows: Sequence[Row], question: Question, topic: PageHead) -> str:
    """Return the page: the answer in words, tables, figures, runs, failures, how to reproduce it.

    Raises:
        ConfigError: The question names what the runs do not have.
    """
    rows = filter_rows(rows, question.where)
    question = complete(question, rows)
    answer = make_comparison(rows, question)
    pictures, left_out = make_pictures(rows, at_best(rows, question.best), answer)
    inside = inside_section(rows, question)
    sections = {
        "answer": ("The short answer", _answer(answer)),
        "tables": ("Tables", _tables(answer) + _shared(rows, question)),
        **({"inside": ("Inside the network", inside)} if inside else {}),
        "figures": ("Figures", "".join([*pictures, paragraphs(left_out, "note")])),
        "lost": ("What failed", lost_section(rows) or paragraphs(["Nothing: every run is done."])),
        "runs": ("Runs", runs_section(rows, answer.metric)),
        "reproduce": ("How to reproduce it", _reproduce(rows)),
    }
    return _filled(topic, answer, sections)


def _filled(topic: PageHead, answer: Comparison, sections: dict[str, tuple[str, str]]) -> str:
    style, script = (_read(name) for name in ("page.css", "page.js"))
    title = topic.title or default_title(answer)
    links = [tag("a", escape(head), href=f"#{name}") for name, (head, _) in sections.items()]
    return Template(_read("page.html")).substitute(
        title=escape(title),
        question=escape(topic.question or default_question(answer)),
        remarks=paragraphs(topic.remarks, "note"),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        links="".join(links),
        sections="".join(
            tag("section", tag("h2", escape(head)) + content, id_=name)
            for name, (head, content) in sections.items()
        ),
        footer=f"{answer.runs} runs; made by nnexp {escape(__version__)}",
    )


def _read(name: str) -> str:
    return (HERE / name).read_text("utf-8")


def _hash(text: str) -> str:
    """Return what a Content-Security-Policy knows an inline style or script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _answer(answer: Comparison) -> str:
    items = [_statement(one) for one in short_answer(answer)]
    warnings = [tag("li", escape(warning)) for warning in answer.warnings]
    box = tag("div", tag("h3", "Read with care") + tag("ul", "".join(warnings)), class_="warning")
    notes = paragraphs(reading_notes(answer), "note")
    return tag("dl", "".join(items), class_="answer") + notes + (box if warnings else "")


def _statement(one: Statement) -> str:
    return tag("div", tag("dt", escape(one.about)) + tag("dd", escape(one.text)))


def _tables(answer: Comparison) -> str:
    parts = [_grids(answer)]
    for key, values in answer.along.items():
        line = f"{key} goes with the rows and columns, and differs too: {', '.join(values)}"
        parts.append(paragraphs([line], "note"))
    if answer.comparisons:
        made = differences_table(answer.comparisons, answer.metric, answer.against)
        parts.append(tag("h3", "Paired differences") + table(made))
        parts.append(paragraphs(differences_legend(answer.comparisons), "note"))
    if answer.choices:
        parts.append(tag("h3", f"How each {plain(answer.choices[0].chosen.key)} was chosen"))
        parts.append(table(choices_table(answer)))
        parts.append(paragraphs(choices_legend(answer), "note"))
    return "".join(parts)


def _grids(answer: Comparison) -> str:
    tables = [table(grid_table(grid)) for grid in answer.grids]
    return "".join(tables) + paragraphs(legend(answer.grids, answer.metric), "note")


def _shared(rows: Sequence[Row], question: Question) -> str:
    """Return the tables in which all cells share a value, where the others show each's best."""
    if question.best is None:
        return ""
    answer = make_comparison(rows, replace(question, best=None, against=None))
    name = plain(find_setting(question.best))
    return details(f"The same tables at each {name}", _grids(answer))


def _reproduce(rows: Sequence[Row]) -> str:
    recipes = find_recipes(rows)
    unknown = len(rows) - sum(recipe.runs for recipe in recipes)
    parts = [_recipe(recipe) for recipe in recipes]
    if unknown:
        parts.append(paragraphs([f"Of {unknown} runs the environment is not known here."], "note"))
    same = same_settings(rows)
    parts.append(details(f"The {len(same)} settings that are equal in every run", pairs(same)))
    return "".join(parts)


def _recipe(recipe: Recipe) -> str:
    lines = ways(recipe)
    hidden = len(recipe.commands) - MOST_COMMANDS
    more = [f"{hidden} more commands are left out here; each run's environment.json has its own."]
    return "".join(
        [
            tag("h3", f"{recipe.runs} run{'s' if recipe.runs > 1 else ''}"),
            tag("div", tag("pre", escape("\n".join(lines))), class_="box"),
            paragraphs(more if hidden > 0 else [], "note"),
            pairs(recipe.facts),
        ]
    )
