"""`nnexp verify`: what studies expect, and whether the runs agree."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.markup import escape

from nnexp.cli.study_plan import PREFIX, STUDY, StudyPlan, asked_by, checked_studies
from nnexp.cli.sweep_page import conclude
from nnexp.compare import Question, make_comparison
from nnexp.compare.checks import AGREES, DISAGREES, Verdict, judge_check, read_check
from nnexp.compare.load import read_rows
from nnexp.console import counted, forgiving_output, open_console, plain_table, print_table, say
from nnexp.settings import ConfigError
from nnexp.sweeps.display import SweepDisplay
from nnexp.sweeps.runner import OWN, SweepOptions, launcher_of, plan_jobs, run_sweep

COLOURS = {AGREES: "green", DISAGREES: "red"}


def _named(word: str, studies: Mapping[str, StudyPlan]) -> str:
    """Return the study that a word means; `init` is short for `verify_init`.

    Raises:
        ConfigError: There is no such study, or its file has no checks.
    """
    name = word.removeprefix(STUDY)
    for one in (name, f"{PREFIX}{name}"):
        if one in studies:
            return one
    known = ", ".join(study.removeprefix(PREFIX) for study in studies)
    raise ConfigError(f"no study {name!r} with checks", f"there are: {known}")


def list_checked(config_dir: str | None) -> None:
    """Print the studies that can be verified, what they ask and what they cost."""
    table = plain_table("study")
    table.add_column("asks", overflow="fold")
    table.add_column("cost", overflow="fold")
    for name, plan in checked_studies(config_dir).items():
        table.add_row(*map(escape, (name.removeprefix(PREFIX), plan.question, plan.cost)))
    console = open_console()
    print_table(console, table)
    console.print("[dim]to verify one:[/] nnexp verify STUDY")


def verify_study(
    name: str, words: Sequence[str], options: SweepOptions | None, config_dir: str | None
) -> int:
    """Train what is missing of a study, print a verdict on each check, and return the exit code.

    Without options nothing is trained.

    Raises:
        ConfigError: There is no such study, it has no checks, or a word names nothing.
    """
    studies = checked_studies(config_dir)
    name = _named(name, studies)
    plan = studies[name]
    checks = [read_check(text) for text in plan.checks]
    words = [f"{STUDY}{name}", *words]
    with forgiving_output():
        if options is None:
            jobs = plan_jobs(words, SweepDisplay())
        else:
            outcome = run_sweep(words, options, SweepDisplay())
            jobs = outcome.jobs
            if not outcome.complete:
                conclude(outcome, f"{STUDY}{name}", own=launcher_of(words) == OWN)
                return 128 + outcome.signum if outcome.signum is not None else 1
        ended = [str(job.run.path) for job in jobs if job.status in ("done", "diverged")]
        if len(ended) < len(jobs):
            missing = len(jobs) - len(ended)
            raise ConfigError(
                f"{counted(missing, 'run')} of {STUDY}{name} have no result",
                "leave --no-training out to train them",
            )
        rows, metric = read_rows(ended), plan.heads.get("metric", "test_accuracy")
        verdicts = [judge_check(check, rows, metric) for check in checks]
        asked = Question(**asked_by(plan.read)) if plan.read else Question()
        for warning in make_comparison(rows, asked).warnings:
            say(warning)
        _print(plan, verdicts, len(rows))
    return int(any(one.state != AGREES for one in verdicts))


def _print(plan: StudyPlan, verdicts: Sequence[Verdict], runs: int) -> None:
    console = open_console()
    console.print(f"\n{escape(plan.question)}")
    table = plain_table("verdict")
    table.add_column("expected", overflow="fold")
    table.add_column("measured", overflow="fold")
    for one in verdicts:
        colour = COLOURS.get(one.state, "yellow")
        verdict = f"[{colour}]{one.state}[/]"
        table.add_row(verdict, escape(one.check.text), escape(one.measured))
    print_table(console, table)
    counts = Counter(one.state for one in verdicts)
    states = ", ".join(f"{number} {state}" for state, number in counts.items())
    console.print(f"[bold]{counted(len(verdicts), 'check')}[/] of {counted(runs, 'run')}: {states}")
    console.print(
        "[dim]in brackets: the 95 % interval, of all comparisons of its table at once; "
        "a check agrees only where the whole interval does[/]"
    )
    if plan.source:
        console.print(f"[dim]source:[/] {escape(plan.source)}")
