"""What `nnexp figure` and `nnexp report` do: read runs, draw or write, say where it is."""

from collections.abc import Sequence
from pathlib import Path

from nnexp.choices import read_choices, remarks
from nnexp.compare.answer import Question
from nnexp.compare.load import DEFAULT, read_rows
from nnexp.config import ConfigError
from nnexp.console import open_console, say
from nnexp.report.figures import Request, draw
from nnexp.report.page import Topic, make_page
from nnexp.rundir import replacing
from nnexp.traces import save_figure

STUDY = "study="


def figure_page(kind: str, sources: Sequence[str], request: Request, output: Path | None) -> None:
    """Draw one figure into a file: by default KIND.png in the current folder.

    Raises:
        ConfigError: There are no such runs, or they lack what the figure shows.
    """
    path = output or Path(f"{kind}.png")
    figure = draw(kind, read_rows(sources or DEFAULT, say), request)
    save_figure(figure, path)
    open_console().print(f"figure: {path}", markup=False)


def report_page(sources: Sequence[str], question: Question, topic: Topic, output: Path) -> None:
    """Write the page about runs.

    Raises:
        ConfigError: There are no such runs, or the question names what they do not have.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"cannot write a page into {output}", "its ending must be .html")
    if not output.parent.is_dir():
        raise ConfigError(f"no folder {output.parent}", "make it, or write the page elsewhere")
    rows = read_rows(sources or DEFAULT, say)
    page = make_page(rows, question, about_study(sources, topic))
    with replacing(output) as scratch:
        scratch.write_text(page, "utf-8")
    size = len(page.encode()) / 1e6
    open_console().print(f"report: {output} ({size:.1f} MB, {len(rows)} runs)", markup=False)


def about_study(sources: Sequence[str], topic: Topic) -> Topic:
    """Return the topic with what heads the study's own file, where the runs are one study's."""
    names = [word.removeprefix(STUDY) for word in sources if word.startswith(STUDY)]
    if len(names) != 1:
        return topic
    first, *more = remarks(read_choices().groups["study"][names[0]]) or [""]
    return Topic(
        title=topic.title or f"Study {names[0]}",
        question=topic.question or first,
        remarks=tuple(line for line in more if not line.endswith("…")),
    )
