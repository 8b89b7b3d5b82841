"""What `nnexp figure` and `nnexp report` do: read runs, draw or write, say where it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnexp.cli.study_plan import STUDY, read_plan
from nnexp.compare.comparison import Question
from nnexp.compare.load import DEFAULT, WAYS, broken_in_words, read_runs
from nnexp.console import open_console, say
from nnexp.figures import find_plot, numbers_path, prepare, save_figure, write_numbers
from nnexp.figures.tables import NEEDS, set_aside
from nnexp.report import write_report
from nnexp.report.sample import readable
from nnexp.settings import ConfigError
from nnexp.settings.sharing import without_home


def figure_page(
    kind: str,
    sources: Sequence[str],
    output: Path | None,
    layer: str | None = None,
    config_dir: str | None = None,
    *,
    intervals: bool = False,
    **asked: Any,
) -> None:
    """Draw one figure into a file, by default KIND.png here, and its numbers into one beside it.

    Raises:
        ConfigError: There are no such runs, or they lack what the figure shows.
    """
    plot = find_plot(kind)
    path = output or Path(f"{kind}.png")
    rows, broken = read_runs(sources or DEFAULT, say, config_dir)
    rows, torn = set_aside(rows, plot.tables)
    broken += torn
    if not rows:
        raise ConfigError(broken_in_words(broken), WAYS)
    plan = prepare(kind, rows, Question(**asked), layer, intervals=intervals)
    numbers = numbers_path(path)
    save_figure(plan.figure(), path)
    write_numbers(plan.numbers(), numbers)
    open_console().print(f"figure: {path}\nnumbers: {numbers}", markup=False)
    if broken:
        say(broken_in_words(broken))


def report_page(
    sources: Sequence[str], output: Path, config_dir: str | None = None, **asked: Any
) -> None:
    """Write the page about runs.

    Raises:
        ConfigError: There are no such runs, or the question names what they do not have.
    """
    rows, broken = read_runs(sources or DEFAULT, say, config_dir)
    if not rows:
        raise ConfigError(broken_in_words(broken), WAYS)
    warnings = [without_home(broken_in_words(broken))] if broken else []
    asked = about_study(sources, asked, config_dir)
    size = write_report(output, rows, warnings=warnings, **asked).stat().st_size / 1e6
    open_console().print(f"report: {output} ({size:.1f} MB, {len(rows)} runs)", markup=False)
    broken += set_aside(readable(rows)[0], NEEDS)[1]
    if broken:
        say(broken_in_words(broken))


def about_study(
    sources: Sequence[str], asked: dict[str, Any], config_dir: str | None = None
) -> dict[str, Any]:
    """Return what is asked, with the title and question of the study if the runs are of one."""
    names = [word.removeprefix(STUDY) for word in sources if word.startswith(STUDY)]
    if len(names) != 1:
        return asked
    question = read_plan(names[0], config_dir).question
    return {
        **asked,
        "title": asked["title"] or f"Study {names[0]}",
        "question": asked["question"] or question,
    }
