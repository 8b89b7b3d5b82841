"""How often the intervals of `nnexp sweep --until-interval` err, on simulated equal arms.

Run: uv run python tests/sequential_rates.py [SWEEPS]   (4,000 of each kind take two minutes)
"""

import sys
from functools import cache

import numpy as np

from nnexp.compare.multiplicity import critical_value, dunnett_tail
from nnexp.sweeps.precision import LEAST_FREEDOM


@cache
def half_width(arms: int, seeds: int) -> float:
    """Return half the interval of a difference to the baseline, in standard deviations."""
    tail = dunnett_tail(((0.5**0.5,) * (arms - 1),), float(arms * (seeds - 1)))
    return critical_value(tail) * (2 / seeds) ** 0.5


def needed(arms: int, seeds: int, deviation: float, reach: float) -> int:
    """Return the seeds that the rule asks for, by the spread that was measured."""
    while True:
        freedom = arms * (seeds - 1)
        width = half_width(arms, seeds) * deviation * (1 + 1 / freedom)
        if width <= reach and freedom >= LEAST_FREEDOM:
            return seeds
        seeds += 1


def sweep(random: np.random.Generator, arms: int, reach: float) -> tuple[bool, int]:
    """Return whether an interval misses 0 at the end, and the seeds that it took."""
    values = random.standard_normal((arms, 3))
    while True:
        seeds = values.shape[1]
        deviation = float(values.var(axis=1, ddof=1).mean()) ** 0.5
        wanted = min(needed(arms, seeds, deviation, reach), 2 * seeds)
        if wanted == seeds:
            means = values.mean(axis=1)
            reached = half_width(arms, seeds) * deviation
            return bool(np.any(np.abs(means[1:] - means[0]) > reached)), seeds
        values = np.hstack([values, random.standard_normal((arms, wanted - seeds))])


def main(sweeps: int) -> None:
    """Print a row for each number of arms and reach, in standard deviations."""
    print("arms  reach  seeds  intervals that miss")  # noqa: T201
    for arms in (2, 5):
        for reach in (3.0, 2.0, 1.5, 1.0, 0.7):
            random = np.random.default_rng(0)
            ends = [sweep(random, arms, reach) for _ in range(sweeps)]
            missed, seeds = np.mean(ends, axis=0)
            print(f"{arms:4}  {reach:5}  {seeds:5.1f}  {100 * missed:.1f} %", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
