"""Overrides → the runs of a sweep → Hydra's launcher → what failed, and the exit code."""

import shlex
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from rich.markup import escape
from rich.table import Table

from nnexp.console import (
    Console,
    duration,
    forgiving_output,
    open_console,
    percent,
    print_table,
    say,
    write,
)
from nnexp.rundir import FINAL, BusyError, RunDir, empty_folder, read_config, write_results_view
from nnexp.settings import ConfigError, ExperimentConfig
from nnexp.settings.compose import compose_jobs, launch_jobs, run_hydra
from nnexp.settings.overrides import refuse_intervals, split_words, value_of
from nnexp.settings.plugins import refuse_session_code
from nnexp.sweeps.cluster_task import train_job
from nnexp.sweeps.estimate import estimate_seconds
from nnexp.sweeps.jobs import FAILED, NEW, RUNNING, Job, make_jobs
from nnexp.sweeps.launcher import JOBS, bearable_jobs, count_cpus, register_launcher, warm_up

ONLY_SHOW = ("--cfg", "-c", "--info", "-i", "--hydra-help")  # flags with which Hydra runs nothing
LAUNCHER, SWEEPER = "hydra/launcher=", "hydra/sweeper="


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepOptions:
    """What `nnexp sweep` takes beside settings."""

    jobs: int | None = None
    devices: Sequence[str] = ()
    timeout: float | None = None
    fail_fast: bool = False
    retry_failed: bool = False
    rerun: bool = False

    def as_overrides(self) -> list[str]:
        """Return the options as settings of nnexp's launcher."""
        words = [
            f"hydra.launcher.jobs={self.jobs}" if self.jobs is not None else "",
            f"hydra.launcher.devices=[{','.join(self.devices)}]" if self.devices else "",
            f"hydra.launcher.timeout={self.timeout}" if self.timeout is not None else "",
            "hydra.launcher.fail_fast=true" if self.fail_fast else "",
            "hydra.launcher.retry_failed=true" if self.retry_failed else "",
        ]
        return [word for word in words if word]


def run_sweep(overrides: Sequence[str], flags: Sequence[str], options: SweepOptions) -> int:
    """Train what is missing of a sweep and return its exit code: 1 where a run has no result.

    Raises:
        ConfigError: A word names nothing, a value cannot be, or no run can have its images.
        SystemExit: A signal stopped it; every run is saved.
    """
    register_launcher()
    words = [*flags, *overrides]
    if any(word.split("=")[0] in ONLY_SHOW for word in words):
        run_hydra(["-m", *words], _train_nothing)
        return 0
    with forgiving_output():
        return _train_missing(words, options)


def _train_missing(words: list[str], options: SweepOptions) -> int:
    launcher, searching = _chosen(LAUNCHER, words, "process"), bool(_chosen(SWEEPER, words, ""))
    _check_options(launcher, options)
    planned = _plan(words)
    if options.rerun:
        _empty(planned)
    JOBS.clear()
    if launcher == "process":
        if any(job.is_wanted(options.retry_failed) for job in planned):
            warm_up(planned)
        words += options.as_overrides()
    with _ledger(planned, searching) as ledger:
        signum = _launch(words, launcher, ledger)
        jobs = JOBS or (_jobs_of(ledger, planned) if searching else planned)
    code = _conclude(jobs, own=launcher == "process")
    if searching:
        _say_best(planned[0].run.path.parent)
    if signum is not None:
        raise SystemExit(128 + signum)
    return code


def _launch(words: Sequence[str], launcher: str, ledger: str) -> int | None:
    """Hand the words to Hydra; return the signal that ended the sweep, if one did."""
    try:
        launch_jobs(words, partial(train_job, ledger=ledger))
    except SystemExit as end:
        return int(end.code or 0) - 128
    except KeyboardInterrupt:
        return signal.SIGINT
    except ConfigError:
        raise
    except Exception as error:
        if launcher == "process":
            raise
        say(f"the launcher {launcher} stopped: {type(error).__name__}: {_first_line(error)}")
    return None


def dry_run(overrides: Sequence[str], flags: Sequence[str], options: SweepOptions) -> None:
    """Print each run of a sweep, where it stands, and what the whole will take.

    Raises:
        ConfigError: A word names nothing, or a value cannot be.
    """
    jobs = _plan([*flags, *overrides])
    refuse_intervals(overrides)
    todo = jobs if options.rerun else [job for job in jobs if job.is_wanted(options.retry_failed)]
    at_a_time = min(options.jobs or bearable_jobs(), max(1, len(todo)))
    costs = estimate_seconds(todo, max(1, count_cpus() // at_a_time))
    console = open_console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading, justify in (("run", "left"), ("state", "left"), ("estimate", "right")):
        table.add_column(heading, justify=justify)  # pyright: ignore[reportArgumentType]
    table.add_column("made by", overflow="fold")
    common = set.intersection(*(set(job.words) for job in jobs)) if len(jobs) > 1 else set()
    for job in jobs:
        cost = costs.get(job.name)
        words = " ".join(word for word in job.words if word not in common)
        cells = (job.name, job.state, "" if cost is None else duration(cost), words)
        table.add_row(*(escape(cell) for cell in cells))
    print_table(console, table)
    _say_cost(console, jobs, todo, list(costs.values()), at_a_time)


def _plan(words: Sequence[str]) -> list[Job]:
    flags, overrides = split_words(words)
    planned = compose_jobs(overrides, value_of("--config-dir", flags))
    refuse_session_code(config for _, config in planned)
    return make_jobs(planned)


def _train_nothing(config: ExperimentConfig, words: list[str]) -> int:
    """Stand in for training where Hydra only shows something."""
    raise AssertionError("Hydra was asked to show something and not to run it")


def _chosen(group: str, words: Sequence[str], default: str) -> str:
    return next((word.removeprefix(group) for word in words if word.startswith(group)), default)


def _check_options(launcher: str, options: SweepOptions) -> None:
    """Refuse options of nnexp's own launcher where another one is at work."""
    given = options.as_overrides()
    if launcher != "process" and given:
        option = given[0].partition("=")[0].removeprefix("hydra.launcher.").replace("_", "-")
        raise ConfigError(
            f"--{option} belongs to nnexp's own launcher, not to {LAUNCHER}{launcher}",
            "leave it out, or see docs/clusters.md for that launcher's own settings",
        )


@contextmanager
def _ledger(planned: Sequence[Job], searching: bool) -> Iterator[str]:
    """Give a folder in which each run of a search is named: nobody knows them beforehand."""
    if not searching:
        yield ""
        return
    runs_dir = planned[0].run.path.parent.absolute()
    runs_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".sweep-", dir=runs_dir) as folder:
        yield folder


def _jobs_of(ledger: str, planned: Sequence[Job]) -> list[Job]:
    """Return the runs that a search has chosen, by the names in its ledger."""
    runs_dir, jobs = planned[0].run.path.parent, []
    for name in sorted(path.name for path in Path(ledger).iterdir()):
        with suppress(OSError, ConfigError):
            if config := read_config(RunDir(runs_dir / name)):
                jobs.append(Job(words=[], config=config))
    return jobs


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _say_best(runs_dir: Path) -> None:
    """Print what a search has found, which its sweeper leaves in a file."""
    with suppress(OSError, ValueError):
        found = yaml.safe_load((runs_dir / "optimization_results.yaml").read_text("utf-8"))
        words = " ".join(f"{key}={value}" for key, value in found["best_params"].items())
        value = percent(found["best_value"])
        write(f"best by validation accuracy: {words}  ({value})")


def _empty(jobs: Sequence[Job]) -> None:
    """Empty every folder, or none where one of them is in use."""
    for job in jobs:
        if job.state == RUNNING:
            raise ConfigError(
                f"{job.run.path} is being trained by {job.reason}",
                "--rerun needs runs that nobody trains",
            )
    for job in jobs:
        try:
            empty_folder(job.run)
        except BusyError as error:
            raise ConfigError(str(error), "--rerun needs runs that nobody trains") from None
    for folder in {job.run.path.parent for job in jobs}:
        write_results_view(folder)


def _conclude(jobs: Sequence[Job], *, own: bool) -> int:
    """Say how the sweep ended, and return its exit code; `own` is nnexp's launcher."""
    for job in jobs:
        job.look()
    for folder in {job.run.path.parent for job in jobs}:
        with suppress(OSError):  # a run that was killed at its very end has no row yet
            write_results_view(folder)
    console = open_console()
    counts = Counter(job.state for job in jobs)
    runs = "1 run" if len(jobs) == 1 else f"{len(jobs)} runs"
    told = [f"{n} {state if state != NEW else 'not begun'}" for state, n in counts.items()]
    console.print(f"\n[bold]{runs}[/]: {escape(', '.join(told))}")
    odd = [job for job in jobs if job.state != "done"]
    if odd:
        print_table(console, _odd_table(odd))
    _say_next(console, counts, jobs, own)
    return int(any(job.state not in FINAL for job in jobs))


def _odd_table(jobs: Sequence[Job]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("run", "state", "why"):
        table.add_column(heading, overflow="fold")
    for job in jobs:
        table.add_row(*map(escape, (job.name, job.state, job.reason.partition("\n")[0])))
    return table


def _say_next(console: Console, counts: Counter[str], jobs: Sequence[Job], own: bool) -> None:
    failed = next((job for job in jobs if job.state == FAILED), None)
    if failed is not None:
        console.print(f"[dim]why:[/]   nnexp logs {escape(str(failed.run.path))}")
        how = " with --retry-failed" if own else ""  # other launchers try again by themselves
        console.print(f"[dim]again:[/] the same command{how}")
    elif any(state not in FINAL for state in counts):
        console.print("[dim]go on:[/] the same command; every run goes on where it stopped")
    if counts["done"]:
        folder = str(jobs[0].run.path.parent)
        where = "" if folder == "runs" else f" {escape(shlex.quote(folder))}"
        console.print(f"[dim]next:[/]  nnexp compare{where}")


def _say_cost(
    console: Console, jobs: Sequence[Job], todo: Sequence[Job], costs: list[float], at_a_time: int
) -> None:
    counts = Counter(job.state for job in jobs)
    states = ", ".join(f"{n} {state}" for state, n in counts.items())
    runs = "1 run" if len(jobs) == 1 else f"{len(jobs)} runs"
    console.print(f"{runs}: {escape(states)}; {len(todo)} to train")
    if not todo:
        return
    if not costs:
        console.print("[dim]no estimate: the settings do not say how many images there are[/]")
        return
    total = sum(costs) / len(costs) * len(todo) / at_a_time
    partly = "" if len(costs) == len(todo) else f", by the {len(costs)} that can be estimated"
    console.print(f"about {duration(total)} with {at_a_time} at a time{partly}")
