"""Figures of runs → mean and spread."""

from collections.abc import Sequence

import numpy as np


def mean_of(values: Sequence[float]) -> float | None:
    """Return the mean, or None of nothing."""
    return float(np.mean(values)) if len(values) else None


def deviation_of(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation, over n - 1, or None of fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def image_variance(values: Sequence[float], images: int) -> float:
    """Return the binomial variance of an accuracy on that many images, were each run a new draw.

    Two successes and two failures are added (Agresti and Coull 1998), so that it is above 0 also
    where every image is right, or none.
    """
    share = (float(np.mean(values)) * images + 2) / (images + 4)
    return share * (1 - share) / images
