"""Writes the pages of the studies: each from its plan, its rows and its remarks.

`uv run python docs/studies/make.py` writes all of them, `… make.py claims` one. A page, NAME.md, is
made of `configs/study/NAME.yaml` (question and commands), `NAME.csv` (the rows), `NAME.remarks.md`
(title, what leads the page, and what ends it, from its first `##` on), and draws the figures.
"""

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from nnexp.cli.study_plan import StudyPlan, asked_by, read_plan
from nnexp.compare.best_table import choices_legend, choices_table
from nnexp.compare.columns import SETTINGS, Row, shown
from nnexp.compare.comparison import Comparison, Question, make_comparison
from nnexp.compare.formats import markdown, markdown_note, markdown_text
from nnexp.compare.load import read_rows
from nnexp.compare.selection import filter_rows
from nnexp.compare.tables import (
    TextTable,
    differences_legend,
    differences_table,
    grid_table,
    legend,
    sums_table,
)
from nnexp.figures import PLOTS, draw, save_figure
from nnexp.figures.series import plain
from nnexp.report.sentences import remarks, short_answer

HERE = Path(__file__).resolve().parent
NAMES = sorted(file.stem for file in HERE.glob("*.csv"))
Part = tuple[TextTable, Sequence[str]]  # a table, and what stands below it


def main(names: Sequence[str]) -> None:
    """Write the pages of some studies, or of all, and their figures."""
    for name in names or NAMES:
        (HERE / f"{name}.md").write_text(make_page(name, read_remarks(name)), "utf-8")
        for command in read_plan(name).also:
            draw_figure(name, command, HERE)


def read_remarks(name: str) -> str:
    """Return what its authors wrote on a study: a title, and what they noted."""
    return (HERE / f"{name}.remarks.md").read_text("utf-8").strip()


def make_page(name: str, remarks: str) -> str:
    """Return the page of a study."""
    plan, rows = read_plan(name), read_rows([f"study={name}", str(HERE / f"{name}.csv")])
    first, mark, rest = remarks.partition("\n## ")
    title, _, lead = first.partition("\n")
    parts = [
        title,
        f"<!-- made by docs/studies/make.py from {name}.csv, the study's YAML and the remarks -->",
        f"*{plan.question}*",
        lead.strip(),
        "## The plan",
        _plan_table(plan),
        *_sections(name, plan, rows),
        f"{mark}{rest}".strip(),
        "## How it was made",
        _how_made(name, rows),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def draw_figure(name: str, command: str, folder: Path) -> None:
    """Draw what a command of the plan shows, if it is `nnexp figure`."""
    program, verb, kind, *_ = shlex.split(command)
    if (program, verb) != ("nnexp", "figure"):
        return
    rows = read_rows([f"study={name}", str(HERE / f"{name}.csv")])
    asked = asked_by(command)
    save_figure(draw(kind, rows, **asked), folder / _figure_name(name, command))


def _sections(name: str, plan: StudyPlan, rows: Sequence[Row]) -> Iterator[str]:
    """Yield what each command of the plan shows: its table, sentences and figures."""
    for command in (plan.read, *plan.also):
        _, verb, kind, *_ = shlex.split(command)
        if verb == "figure":
            yield f"![{PLOTS[kind].summary}]({_figure_name(name, command)})"
            continue
        asked = asked_by(command)
        members = filter_rows(rows, asked["where"])
        comparison = make_comparison(members, Question(**asked))
        yield f"## {'The answer' if command == plan.read else _heading(comparison, asked['where'])}"
        said = [markdown_text(line) for line in _sentences(comparison)]
        yield "\n".join(f"- {line[0].upper()}{line[1:]}" for line in said)
        yield _shell(command.replace(f"study={name}", f"study={name} docs/studies/{name}.csv"))
        for table, notes in _tables(comparison):
            yield f"**{markdown_text(table.title)}**"
            yield markdown(table)
            yield "\n".join(f"- {markdown_note(note)}" for note in notes)


def _heading(comparison: Comparison, where: Sequence[str]) -> str:
    axes = [*comparison.layout.rows, *comparison.layout.columns]
    words = [plain(key) for key in (comparison.metric, *axes)]
    return ", ".join([f"{words[0].capitalize()} by {' and '.join(words[1:])}", *where])


def _sentences(comparison: Comparison) -> Iterator[str]:
    """Yield the answer as a report of the same rows gives it, and what to read with care."""
    yield from short_answer(comparison)
    for one in remarks(comparison, None):
        yield f"{one.about}: {one.text[0].lower()}{one.text[1:]}"
    yield from (f"Warning: {one}." for one in comparison.warnings)


def _tables(comparison: Comparison) -> Iterator[Part]:
    """Yield the tables of a comparison, each with what a reader has to know of it."""
    *grids, last = [grid_table(grid) for grid in comparison.grids]
    yield from ((grid, ()) for grid in grids)
    yield last, legend([comparison])
    if comparison.choices:
        yield choices_table(comparison), choices_legend(comparison)
    if against := comparison.against:
        table = differences_table(against, comparison.metric, comparison.margin)
        sums = sums_table(against, comparison.metric, comparison.margin)
        notes = differences_legend(comparison)
        yield from [(table, ()), (sums, notes)] if sums else [(table, notes)]


def _plan_table(plan: StudyPlan) -> str:
    words = {"yes": "yes, if", "no": "no, if"}
    lines = [f"| {words.get(head, head)} | {text} |" for head, text in plan.heads.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _how_made(name: str, rows: Sequence[Row]) -> str:
    """Return what all runs share and nnexp would not do by itself."""
    same = make_comparison(rows, Question(everything=True)).same
    own = [f"`{key}={value}`" for key, value in same.items() if value != shown(SETTINGS[key])]
    precision = "" if same["precision"] == "fp32" else f" precision={same['precision']}"
    beyond = len(read_rows([str(HERE / f"{name}.csv")])) - len(rows)
    others = f", and {beyond} beyond its grid" if beyond else ""
    return (
        f"{len(rows)} runs{others}, every row in [{name}.csv]({name}.csv). All share "
        f"{', '.join(own)}; what is not named here, and no row or column of a table, is at its "
        f"[default](../settings.md). To repeat it:\n\n"
        + _shell(f"nnexp sweep study={name} scale=laptop data=folder data.root=photos{precision}")
    )


def _shell(command: str) -> str:
    return f"```sh\nuv run {command}\n```"


def _figure_name(name: str, command: str) -> str:
    kind = shlex.split(command)[2]
    return f"{name}-{kind}{'-best' if '--best' in command else ''}.svg"


if __name__ == "__main__":
    main(sys.argv[1:])
