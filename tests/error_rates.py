"""How often `nnexp compare` errs, on simulated tables whose truth is known.

Run: uv run python tests/error_rates.py [TABLES]   (2,000 tables of each kind take half an hour)
Prints, of each kind of table (5 arms × 4 columns, 3 seeds unless said otherwise), how often an
interval of the table misses the true difference: nominally 5 % of the tables.
"""

import sys
from collections.abc import Callable

import numpy as np

from nnexp.compare.judgement import Series, judge_with_baseline, judge_with_best

ARMS, PLACES = tuple("abcde"), tuple(range(4))
Deviation = Callable[[int, int], float]

PAIRED = ", pairs by plan"  # ends the kinds that are judged with --paired

KINDS: dict[str, tuple[float, Deviation, bool]] = {
    # correlation of runs that share a seed; standard deviation by place and arm; unequal seeds
    "equal variances": (0.0, lambda place, arm: 1, False),
    f"equal variances{PAIRED}": (0.0, lambda place, arm: 1, False),
    "seeds correlate, 0.3": (0.3, lambda place, arm: 1, False),
    f"seeds correlate, 0.3{PAIRED}": (0.3, lambda place, arm: 1, False),
    "seeds correlate, 0.9": (0.9, lambda place, arm: 1, False),
    "rows vary 1 to 3 times": (0.0, lambda place, arm: 1 + arm / 2, False),
    "rows vary 1 to 3 times, seeds correlate, 0.9": (0.9, lambda place, arm: 1 + arm / 2, False),
    f"rows vary 1 to 3 times{PAIRED}": (0.0, lambda place, arm: 1 + arm / 2, False),
    "the baseline varies 3 times as much": (0.0, lambda place, arm: 1 if arm else 3, False),
    "columns vary 1 to 4 times": (0.0, lambda place, arm: 1 + place, False),
    "one cell varies 4 times as much": (
        0.0,
        lambda place, arm: 4 if (place, arm) == (1, 2) else 1,
        False,
    ),
    "2 to 5 seeds a cell": (0.0, lambda place, arm: 1, True),  # slow: each table has other tails
}


def draw_cells(
    random: np.random.Generator, correlation: float, deviation: Deviation, unequal: bool
) -> dict[tuple[int, str], dict[int, float]]:
    """Return cells without any true difference."""
    cells = {}
    for place in PLACES:
        common = random.standard_normal(5)
        for i, arm in enumerate(ARMS):
            seeds = int(random.integers(2, 6)) if unequal else 3
            noise = np.sqrt(1 - correlation) * random.standard_normal(seeds)
            values = deviation(place, i) * (noise + np.sqrt(correlation) * common[:seeds])
            cells[place, arm] = dict(enumerate(map(float, values)))
    return cells


def main(tables: int) -> None:
    """Print a row for each kind of table."""
    print(f"{'tables without any difference':46} baseline  average  all pairs")  # noqa: T201
    for name, kind in KINDS.items():
        random, wrong = np.random.default_rng(1), np.zeros(3)
        for _ in range(tables):
            cells = draw_cells(random, *kind)
            paired = name.endswith(PAIRED)
            one = judge_with_baseline(cells, {}, ARMS[0], [Series(places=PLACES)], paired=paired)
            ranked = judge_with_best(cells, {}, 1, paired=paired)
            families = (one.family, one.averages, ranked.family)
            wrong += [any(j.differs for j in f.judged.values()) for f in families]
        rates = "  ".join(f"{100 * rate:6.1f} %" for rate in wrong / tables)
        print(f"{name:46} {rates}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
