"""The arms of one place, a value for each seed → sums of squares and differences, seeds as blocks.

Least squares of value = arm + seed. The arms are eliminated first, so that the equations to solve
are as many as the seeds, also where arms have unequal seeds.
"""

from collections.abc import Hashable, Mapping
from functools import cached_property

import numpy as np

Arm = Hashable


class SeedBlocks:
    """Two-way least squares of the arms and the seeds of one place."""

    def __init__(self, arms: Mapping[Arm, Mapping[int, float]]) -> None:
        self.arms = arms
        self.means = {arm: float(np.mean(list(values.values()))) for arm, values in arms.items()}
        self._seeds = {seed: j for j, seed in enumerate(sorted(set().union(*arms.values())))}
        self._index = {arm: i for i, arm in enumerate(arms)}

    @property
    def is_complete(self) -> bool:
        """Whether every arm has every seed."""
        return all(len(values) == len(self._seeds) for values in self.arms.values())

    @property
    def freedom(self) -> int:
        """The degrees of freedom that arms and seeds leave."""
        within = sum(len(values) - 1 for values in self.arms.values())
        return within - self._solution[2]

    def squares(self) -> dict[Arm, float]:
        """Return each arm's part of the sum of squares that arms and seeds leave."""
        _, effects, _ = self._solution
        left = self._centred - effects + (self._shares @ effects)[:, None]
        return dict(zip(self.arms, map(float, np.nansum(left**2, axis=1)), strict=True))

    def difference(self, arm: Arm, base: Arm) -> tuple[float, float] | None:
        """Return a difference without the seeds' effects, and its variance in that of one run.

        None where no chain of common seeds leads from one to the other.
        """
        counts = 1 / len(self.arms[arm]) + 1 / len(self.arms[base])
        if self.is_complete:
            return self.means[arm] - self.means[base], counts
        inverse, effects, _ = self._solution
        apart = self._shares[self._index[arm]] - self._shares[self._index[base]]
        if not np.allclose(apart @ inverse @ self._equations, apart, atol=1e-6):
            return None
        value = self.means[arm] - self.means[base] - float(apart @ effects)
        return value, counts + float(apart @ inverse @ apart)

    @cached_property
    def _centred(self) -> np.ndarray:
        """Values less the mean of their arm, arms × seeds; NaN where there is none."""
        table = np.full((len(self.arms), len(self._seeds)), np.nan)
        for arm, values in self.arms.items():
            for seed, value in values.items():
                table[self._index[arm], self._seeds[seed]] = value - self.means[arm]
        return table

    @cached_property
    def _shares(self) -> np.ndarray:
        """What part of an arm's values has which seed, arms × seeds."""
        there = ~np.isnan(self._centred)
        return there / there.sum(axis=1, keepdims=True)

    @cached_property
    def _equations(self) -> np.ndarray:
        there = ~np.isnan(self._centred)
        return np.diag(there.sum(axis=0)) - there.T @ self._shares

    @cached_property
    def _solution(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the inverse of the seeds' equations, the seeds' effects, and their rank."""
        if self.is_complete:  # known without solving, which takes long for hundreds of seeds
            seeds, effects = len(self._seeds), self._centred.mean(axis=0)
            return (np.eye(seeds) - 1 / seeds) / len(self.arms), effects, seeds - 1
        values, vectors = np.linalg.eigh(self._equations)
        kept = values > 1e-9 * max(values[-1], 1.0)
        inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
        return inverse, inverse @ np.nansum(self._centred, axis=0), int(kept.sum())
