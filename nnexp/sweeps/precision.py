"""A sweep and a question → more seeds, until the intervals of the answer are narrow enough."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from nnexp.compare import Question, make_comparison, metric_of, read_rows
from nnexp.compare.judgement import Judgement
from nnexp.compare.planning import MOST_SEEDS, reach_of, seeds_for_interval
from nnexp.settings import ConfigError
from nnexp.settings.compose import expand_jobs
from nnexp.settings.overrides import split_words, value_of
from nnexp.sweeps.jobs import Job
from nnexp.sweeps.observer import SweepObserver
from nnexp.sweeps.runner import SweepOptions, SweepOutcome, is_search, run_sweep

LEAST_FREEDOM = 20  # degrees of freedom below which a variance is not known well enough to stop by
SEED = "seed="


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How narrow the intervals of which question are to be, and what it may cost."""

    reach: float | None = None  # half of the widest interval, in the unit of the table; None: any
    question: Question = field(default_factory=Question)
    most_seeds: int = 30
    hours: float | None = None


def sweep_until(
    words: Sequence[str],
    options: SweepOptions,
    make_observer: Callable[[], SweepObserver],
    wanted: Precision,
) -> SweepOutcome:
    """Train the sweep, then more seeds of all its arms alike, until every interval is narrow.

    After each round the seeds that the widest interval still needs are planned from what was
    measured, at most twice as many as there are. It stops by the widths alone and never by what the
    differences are, with LEAST_FREEDOM degrees of freedom or more, at widths that leave room for
    the variance's own error. That keeps the error rate of the intervals: 4.5 to 6.3 % in
    simulations of 2 and 5 arms (tests/sequential_rates.py), where it is 5 % for seeds that were
    fixed beforehand.

    Raises:
        ConfigError: A word or the question names what there is not, the sweep has one arm or is a
            search, or the reach is no number above 0.
    """
    _check(words, wanted)
    started, shown = time.monotonic(), metric_of(wanted.question.metric)
    reach = (wanted.reach or 0.0) / (100 if shown.in_percent else 1)
    while True:
        observer = make_observer()  # each round is a sweep
        outcome = run_sweep(words, options, observer)
        seeds = sorted({job.config.seed for job in outcome.jobs})
        if outcome.signum is not None:
            return outcome
        judgements = _judged(outcome.jobs, wanted.question)
        widest, needed = _look(judgements, reach, len(seeds))
        observer.note(
            f"{len(seeds)} seeds: the widest interval is ± {shown.text(widest)}"
            + (
                f"; {_in_words(needed)} seeds are needed"
                if needed > len(seeds)
                else ": narrow enough"
            )
        )
        if needed <= len(seeds):
            return outcome
        if spent := _spent(wanted, len(seeds), time.monotonic() - started):
            observer.note(f"stopped: {spent}")
            return outcome
        count = min(needed, 2 * len(seeds), wanted.most_seeds)
        options = replace(options, rerun=False)  # what this sweep has trained is kept
        words = _with_seeds(words, [*seeds, *_new_seeds(seeds, count - len(seeds))])


def _check(words: Sequence[str], wanted: Precision) -> None:
    if is_search(words):
        raise ConfigError(
            "--until-interval adds seeds to every cell of a grid, and a search has no cells",
            "leave out hydra/sweeper, or leave out --until-interval",
        )
    if not (wanted.reach or 0.0) > 0:
        raise ConfigError(
            f"--until-interval cannot be {wanted.reach:g}", "it needs a number above 0: 1.0"
        )
    flags, overrides = split_words(words)
    jobs = expand_jobs(overrides, value_of("--config-dir", flags))
    arms = {tuple(word for word in job if not word.startswith(SEED)) for job in jobs}
    seeds = {word for job in jobs for word in job if word.startswith(SEED)}
    if len(arms) < 2 or len(seeds) < 2:
        raise _nothing_to_compare()


def _nothing_to_compare() -> ConfigError:
    return ConfigError(
        "nothing here can be compared",
        "--until-interval needs two arms or more, with two seeds each that have a result",
    )


def _spent(wanted: Precision, seeds: int, seconds: float) -> str:
    """Return which budget is spent, in words; nothing where none is."""
    if seeds >= wanted.most_seeds:
        return f"--most-seeds {wanted.most_seeds} are trained"
    if wanted.hours is not None and seconds > 3600 * wanted.hours:
        return f"--hours {wanted.hours:g} are over"
    return ""


def _judged(jobs: Sequence[Job], question: Question) -> list[Judgement]:
    rows = read_rows([str(job.run.path) for job in jobs])
    judgements = list(make_comparison(rows, question).judgements.values())
    known = [one for one in judgements if reach_of(one) is not None]
    if not known and any(one.family.judged for one in judgements):
        raise ConfigError(
            "no difference here has a spread between seeds, so none has an interval",
            "begin with more seeds, or take a --metric that varies between seeds",
        )
    if not known:
        raise _nothing_to_compare()
    return known


def _look(judgements: Sequence[Judgement], reach: float, seeds: int) -> tuple[float, int]:
    """Return half of the widest interval, and the seeds that make every one narrow enough.

    Where these are more than MOST_SEEDS, one more than this stands for them.
    """
    widest, needed = 0.0, seeds
    for one in judgements:
        widest = max(widest, reach_of(one) or 0.0)
        estimate = seeds_for_interval(one, reach, LEAST_FREEDOM) or max(seeds, MOST_SEEDS) + 1
        needed = max(needed, estimate)
    return widest, needed


def _in_words(needed: int) -> str:
    return f"more than {MOST_SEEDS:,}" if needed > MOST_SEEDS else f"about {needed:,}"


def _with_seeds(words: Sequence[str], seeds: Sequence[int]) -> list[str]:
    kept = [word for word in words if not word.startswith(SEED)]
    return [*kept, f"{SEED}{','.join(map(str, seeds))}"]


def _new_seeds(seeds: Sequence[int], count: int) -> range:
    return range(max(seeds) + 1, max(seeds) + 1 + count)
