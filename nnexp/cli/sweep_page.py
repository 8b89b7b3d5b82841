"""`nnexp sweep`: lists the runs of a sweep, or trains them and says what became of them."""

import shlex
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import yaml
from rich.markup import escape

from nnexp.cli.compare_page import print_comparison
from nnexp.compare import Question, make_comparison, metric_of
from nnexp.compare.load import read_rows
from nnexp.compare.planning import POWER, detectable
from nnexp.console import (
    Console,
    counted,
    duration,
    forgiving_output,
    open_console,
    percent,
    plain_table,
    print_table,
    write,
)
from nnexp.figures.defaults import complete
from nnexp.settings import ExperimentConfig
from nnexp.settings.compose import run_hydra
from nnexp.settings.grid import refuse_intervals
from nnexp.settings.overrides import split_words
from nnexp.sweeps.display import SweepDisplay
from nnexp.sweeps.estimate import Estimate, estimate_seconds
from nnexp.sweeps.jobs import FAILED, Job
from nnexp.sweeps.launcher import count_cpus, most_jobs
from nnexp.sweeps.precision import Precision, sweep_until
from nnexp.sweeps.runner import (
    OWN,
    SweepOptions,
    SweepOutcome,
    is_search,
    launcher_of,
    plan_jobs,
    run_sweep,
)

ONLY_SHOW = ("--cfg", "-c", "--info", "-i", "--hydra-help")  # flags with which Hydra runs nothing
STUDY = "study="
LONGEST_TABLE = 40  # runs of a study whose table is printed at its end


def sweep_command(words: Sequence[str], options: SweepOptions, wanted: Precision) -> int:
    """Train what is missing of a sweep, say how it ended, and return the exit code.

    With a precision that is `wanted`, also more seeds until it is reached.

    Returns:
        1 where a run has no result, 128 + its number after a signal.

    Raises:
        ConfigError: A word names nothing, a value cannot be, or no run can have its images.
    """
    if any(word.split("=")[0] in ONLY_SHOW for word in words):
        run_hydra(["-m", *words], _train_nothing)
        return 0
    with forgiving_output():
        study = study_of(words)
        if wanted.reach is None:
            outcome = run_sweep(words, options, SweepDisplay())
        else:
            outcome = sweep_until(words, options, SweepDisplay, wanted)
        conclude(outcome, study, own=launcher_of(words) == OWN)
        if is_search(words):
            _say_best(outcome.jobs[0].run.path.parent)
        elif study and outcome.complete:
            _show_table(outcome.jobs)
    return 128 + outcome.signum if outcome.signum is not None else int(not outcome.complete)


def _train_nothing(config: ExperimentConfig, words: list[str]) -> int:
    """Stand in for training where Hydra only shows something."""
    raise AssertionError("Hydra was asked to show something and not to run it")


def study_of(words: Sequence[str]) -> str:
    """Return the word that names a study, or nothing."""
    return next((word for word in split_words(words)[1] if word.startswith(STUDY)), "")


def _show_table(jobs: Sequence[Job]) -> None:
    """Print the table of a finished study: rows, columns and baseline as a report chooses them."""
    rows = read_rows([str(job.run.path) for job in jobs])
    if len(jobs) <= LONGEST_TABLE and any(row["status"] == "done" for row in rows):
        open_console().print()
        print_comparison(rows, complete(Question(), rows))


def dry_run(words: Sequence[str], options: SweepOptions, wanted: Precision) -> int:
    """Print each run of a sweep, where it stands, and what the whole will take; return 0.

    Where runs of it are done, also what difference its seeds can show.

    Raises:
        ConfigError: A word names nothing, or a value cannot be.
    """
    jobs = plan_jobs(words, SweepDisplay())
    refuse_intervals(split_words(words)[1])
    todo = jobs if options.rerun else [job for job in jobs if job.is_wanted(options.retry_failed)]
    at_a_time = min(options.jobs or most_jobs(), max(1, len(todo)))
    estimate = estimate_seconds(todo, max(1, count_cpus() // at_a_time))
    console = open_console()
    table = plain_table("run", "status", numbers=("estimate",))
    table.add_column("made by", overflow="fold")
    common = set.intersection(*(set(job.words) for job in jobs)) if len(jobs) > 1 else set()
    for job in jobs:
        cost = estimate.seconds.get(job.name)
        words = " ".join(word for word in job.words if word not in common)
        cells = (job.name, job.status, "" if cost is None else duration(cost), words)
        table.add_row(*(escape(cell) for cell in cells))
    print_table(console, table)
    _say_cost(console, jobs, todo, estimate, at_a_time)
    _say_power(console, jobs, wanted.question)
    return 0


def _say_power(console: Console, jobs: Sequence[Job], question: Question) -> None:
    """Say what the planned seeds can show, by the spread of those that are done."""
    done = [str(job.run.path) for job in jobs if job.status == "done"]
    seeds = len({job.config.seed for job in jobs})
    if not done or seeds < 2:
        return
    rows = read_rows(done)
    judgements = make_comparison(rows, complete(question, rows)).judgements.values()
    shown = [least for one in judgements if (least := detectable(one, seeds)) is not None]
    if shown:
        metric = metric_of(question.metric)
        unit = " points" if metric.in_percent else ""
        console.print(
            f"{seeds} seeds show a true difference of {metric.text(max(shown))}{unit} with a "
            f"probability of {100 * POWER:.0f} %, by the spread of the {counted(len(done), 'run')} "
            "that are done"
        )


def _say_best(runs_dir: Path) -> None:
    """Print what a search has found, which its sweeper leaves in a file."""
    with suppress(OSError, ValueError):
        found = yaml.safe_load((runs_dir / "optimization_results.yaml").read_text("utf-8"))
        words = " ".join(f"{key}={value}" for key, value in found["best_params"].items())
        value = percent(found["best_value"])
        write(f"best by validation accuracy: {words}  ({value})")


def conclude(outcome: SweepOutcome, study: str, *, own: bool) -> None:
    """Say how the sweep ended and which command comes next; `own` is nnexp's launcher."""
    jobs, console = outcome.jobs, open_console()
    console.print(f"\n{_counted(jobs)}")
    odd = [job for job in jobs if job.status != "done"]
    if odd:
        table = plain_table("run", "status", "why")
        for job in odd:
            table.add_row(*map(escape, (job.name, job.status, job.reason.partition("\n")[0])))
        print_table(console, table)
    failed = next((job for job in odd if job.status == FAILED), None)
    if failed is not None:
        console.print(f"[dim]to see why a run failed:[/] nnexp logs {escape(str(failed.run.path))}")
        how = " with --retry-failed" if own else ""  # other launchers try again by themselves
        console.print(f"[dim]to train it again:[/] the same command{how}")
    elif not outcome.complete:
        console.print("[dim]to resume:[/] the same command; every run resumes where it stopped")
    if len(odd) < len(jobs):
        folder = str(jobs[0].run.path.parent)
        sources = [*([] if folder == "runs" else [folder]), *([study] if study else [])]
        reader = ["report", *sources, "-o", "report.html"] if study else ["compare", *sources]
        console.print(f"[dim]next:[/]  nnexp {escape(shlex.join(reader))}")


def _counted(jobs: Sequence[Job]) -> str:
    """Return how many runs there are, and how many of each status."""
    counts = Counter(job.status for job in jobs)
    statuses = ", ".join(f"{n} {status}" for status, n in counts.items())
    return f"[bold]{counted(len(jobs), 'run')}[/]: {escape(statuses)}"


def _say_cost(
    console: Console, jobs: Sequence[Job], todo: Sequence[Job], estimate: Estimate, at_a_time: int
) -> None:
    console.print(f"{_counted(jobs)}; {len(todo)} to train")
    if not todo:
        return
    costs = list(estimate.seconds.values())
    if not costs:
        why = f": {estimate.problem}" if estimate.problem else ""
        console.print(f"[dim]no estimate{escape(why)}[/]")
        return
    total = sum(costs) / len(costs) * len(todo) / at_a_time
    partly = "" if len(costs) == len(todo) else f", estimated from {len(costs)} of them"
    console.print(f"about {duration(total)} with {counted(at_a_time, 'run')} at a time{partly}")
