"""A sweep as its user sees it: a line per event, and on a terminal a live table of what runs."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from rich.text import Text

from nnexp.console import Console, counted, duration, percent, plain_table, say
from nnexp.rundir import FINAL, STATUSES, read_json, result_is_at_chance
from nnexp.sweeps.jobs import FAILED, INTERRUPTED, Job
from nnexp.sweeps.observer import SweepObserver

MANY = 1000  # runs that take a second to plan
REFRESH = 0.5  # seconds between two pictures
WIDEST_WORD = len(INTERRUPTED)


class SweepDisplay(SweepObserver):
    """Tells how a sweep goes; its lines go to standard output."""

    def __init__(self) -> None:
        self._out = Console(highlight=False, soft_wrap=True)
        self._todo: list[Job] = []
        self._num_slots = 1
        self._finished = 0
        self._seconds: list[float] = []  # of the runs that were trained to their end here
        self._begun = time.monotonic()
        self._drawn_at = 0.0
        self._live: Live | None = None

    def planning(self, jobs: list[list[str]]) -> Iterable[list[str]]:
        """Show how many of the runs are planned, where there are so many that it takes a while."""
        if len(jobs) < MANY:
            return jobs
        messages = Console(stderr=True)
        if not messages.is_terminal:
            say(f"planning {len(jobs):,} runs")
            return jobs
        return track(jobs, "planning runs", console=messages, transient=True)

    def planned(self, jobs: Sequence[Job], todo: Sequence[Job]) -> None:
        """Say what is there already."""
        self._todo += todo
        wanted = {job.name for job in self._todo}
        rest = [job for job in jobs if job.name not in wanted]
        words = [f"{n} {status} already" for status, n in Counter(j.status for j in rest).items()]
        words.append(f"{len(self._todo)} to train")
        self._out.print(f"[bold]{counted(len(jobs), 'run')}[/]: {escape(', '.join(words))}")
        for job in rest:
            if job.status == FAILED:
                self._line(FAILED, job, "in an earlier sweep; --retry-failed trains it again")

    def note(self, text: str) -> None:
        """Say one line to standard error."""
        say(text)

    def begun(self, slots: Sequence[str | None], threads: Sequence[int]) -> None:
        """Say how the runs are trained."""
        self._num_slots = len(slots)
        devices = sorted({slot for slot in slots if slot})
        where = f" on {', '.join(devices)}" if devices else ""
        each = " or ".join(map(str, threads)) + (" thread" if threads == [1] else " threads")
        at_once = f"{counted(len(slots), 'run')} at a time{where}"
        self._out.print(f"[dim]{at_once}, {each} each[/]")
        self._begun = time.monotonic()
        if self._out.is_terminal:
            self._live = Live(console=self._out, transient=True, auto_refresh=False)
            self._live.start()

    def started(self, job: Job) -> None:
        """Say that a run begins; on a terminal the live table does."""
        if self._live is None:
            self._line("start", job)

    def waits(self, job: Job) -> None:
        """Say who has the run."""
        self._line("wait", job, f"it is being trained by {job.reason}")

    def ended(self, job: Job, seconds: float) -> None:
        """Say what became of a run."""
        self._finished += 1
        if job.status in FINAL:
            self._seconds.append(seconds)
        self._line(job.status, job, _outcome(job), duration(seconds))

    def stopping(self, reason: str, running: int) -> None:
        """Say that the sweep ends early."""
        runs = "1 run saves its state" if running == 1 else f"{running} runs save their state"
        self._print(
            f"[yellow]stopping[/] after {escape(reason)}: {runs}; a second signal ends them at once"
        )

    def tick(self, running: Sequence[Job]) -> None:
        """Draw the live table anew, now and then."""
        if self._live is None or time.monotonic() - self._drawn_at < REFRESH:
            return
        self._drawn_at = time.monotonic()
        left = self.seconds_left(running)
        guess = f" · about {duration(left)} left" if left is not None else ""
        waiting = len(self._todo) - self._finished - len(running)
        summary = (
            f"{self._finished} of {len(self._todo)} ended · {len(running)} running · "
            f"{waiting} to come · {duration(time.monotonic() - self._begun)} so far{guess}"
        )
        picture = Group(_running_table(running), Text(summary, style="dim"))
        self._live.update(picture, refresh=True)

    def closed(self) -> None:
        """Take the live table away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def seconds_left(self, running: Sequence[Job]) -> float | None:
        """Return how long the rest will take, by the runs that ended here; None before the first.

        A mean over unlike runs is a rough guess; what runs knows its own rest better.
        """
        own = [job.news.seconds_left for job in running]
        ahead = len(self._todo) - self._finished - len(running)
        if not self._seconds:
            known = [one for one in own if one is not None]
            if not known or ahead or len(known) < len(running):
                return None
            return max(known)
        mean = sum(self._seconds) / len(self._seconds)
        return (ahead * mean + sum(mean / 2 if one is None else one for one in own)) / max(
            1, min(self._num_slots, ahead + len(running))
        )

    def _line(self, word: str, job: Job, *more: str) -> None:
        colour = STATUSES[word].colour if word in STATUSES else "dim"
        rest = "  ".join(escape(one) for one in more if one)
        self._print(f"[{colour}]{word:<{WIDEST_WORD}}[/]  {escape(job.name)}  {rest}".rstrip())

    def _print(self, text: str) -> None:
        (self._live.console if self._live else self._out).print(text)


def _outcome(job: Job) -> str:
    """Return a run's accuracies in a few words, or why it has none."""
    if job.status != "done":
        return job.reason.partition("\n")[0]
    result = read_json(job.run.result)
    guessed = " (at chance)" if result_is_at_chance(result) else ""
    test, val = (percent(result.get(f"{split}_accuracy")) for split in ("test", "val"))
    return f"test {test}{guessed}  val {val}"


def _running_table(running: Sequence[Job]) -> Table:
    table = plain_table("running", numbers=("epoch", "step", "val acc", "left"))
    for job in running:
        news = job.news
        table.add_row(
            escape(job.name),
            f"{news.epoch}/{news.epochs or job.config.epochs or '–'}",
            f"{news.step:,}/{news.total_steps:,}" if news.total_steps else "begins",
            percent(news.val_accuracy),
            "" if news.seconds_left is None else duration(news.seconds_left),
        )
    return table
