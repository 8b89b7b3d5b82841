"""What `nnexp figure` and `nnexp report` do: read runs, draw or write, say where it is."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nnexp.compare.comparison import Question
from nnexp.compare.load import DEFAULT, WAYS, BrokenRun, broken_in_words, read_runs
from nnexp.console import open_console, say
from nnexp.figures.kinds import Request, draw
from nnexp.figures.tables import NEEDS, set_aside
from nnexp.figures.traces import save_figure
from nnexp.report.page import PageHead, make_page
from nnexp.rundir import replacing
from nnexp.settings import ConfigError
from nnexp.settings.choices import read_choices, remarks
from nnexp.settings.sharing import without_home

STUDY = "study="
DRAWN_FROM = {
    "curves": ["metrics"],
    "traces": ["traces"],
    "heatmap": ["channels"],
    "probes": ["probes"],
}  # kind of figure → tables of the run folders


def figure_page(kind: str, sources: Sequence[str], request: Request, output: Path | None) -> None:
    """Draw one figure into a file: by default KIND.png in the current folder.

    Raises:
        ConfigError: There are no such runs, or they lack what the figure shows.
    """
    path = output or Path(f"{kind}.png")
    rows, broken = read_runs(sources or DEFAULT, say)
    rows, torn = set_aside(rows, DRAWN_FROM.get(kind, ()))
    broken += torn
    if not rows:
        raise ConfigError(broken_in_words(broken), WAYS)
    save_figure(draw(kind, rows, request), path)
    open_console().print(f"figure: {path}", markup=False)
    if broken:
        say(broken_in_words(broken))


def report_page(sources: Sequence[str], question: Question, topic: PageHead, output: Path) -> None:
    """Write the page about runs.

    Raises:
        ConfigError: There are no such runs, or the question names what they do not have.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"cannot write a page into {output}", "its ending must be .html")
    if not output.parent.is_dir():
        raise ConfigError(f"no folder {output.parent}", "make it, or write the page elsewhere")
    rows, broken = read_runs(sources or DEFAULT, say)
    if not rows:
        raise ConfigError(broken_in_words(broken), WAYS)
    page = make_page(rows, question, _with_broken(about_study(sources, topic), broken))
    with replacing(output) as scratch:
        scratch.write_text(page, "utf-8")
    size = len(page.encode()) / 1e6
    open_console().print(f"report: {output} ({size:.1f} MB, {len(rows)} runs)", markup=False)
    broken += set_aside(rows, NEEDS)[1]
    if broken:
        say(broken_in_words(broken))


def _with_broken(topic: PageHead, broken: Sequence[BrokenRun]) -> PageHead:
    """Return the topic with a remark on what is not on the page."""
    if not broken:
        return topic
    return replace(topic, remarks=(*topic.remarks, without_home(broken_in_words(broken))))


def about_study(sources: Sequence[str], topic: PageHead) -> PageHead:
    """Return the topic with what heads the study's own file, where the runs are one study's."""
    names = [word.removeprefix(STUDY) for word in sources if word.startswith(STUDY)]
    if len(names) != 1:
        return topic
    first, *more = remarks(read_choices().groups["study"][names[0]]) or [""]
    return PageHead(
        title=topic.title or f"Study {names[0]}",
        question=topic.question or first,
        remarks=tuple(line for line in more if not line.endswith("…")),
    )
