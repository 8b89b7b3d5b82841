"""The rows of `probes.csv` → columns of the run's one row."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SMALLEST = 1.1754944e-38  # of float32; what is smaller was written as 0

MEDIANS = (
    "covariate_shift",
    "matched_shift",
    "shift_cosine",
    "activation_drift",
    "effective_rate",
)
SPREADS = {"gradient_spread": "relative_gradient", "scaled_gradient_spread": "scaled_gradient"}
ON_REQUEST = (
    "activation_similarity",
    "effective_rank",
    "loss_range",
    "gradient_predictiveness",
    "effective_smoothness",
)

Row = Mapping[str, Any]


def summarize_probes(rows: Sequence[Row]) -> dict[str, float | None]:
    """Return what the probes of a run came to; None where nothing finite was seen.

    Medians over steps and layers; of a spread over steps, and `initial_` is that of step 0.
    `dead_channels` is a mean over the sites at the last step. What was only measured on request is
    there where it was measured.
    """
    seen = {row["quantity"] for row in rows}
    medians = [*MEDIANS, *(quantity for quantity in ON_REQUEST if quantity in seen)]
    spreads: dict[str, float | None] = {}
    for name, quantity in SPREADS.items():
        by_step = {step: gradient_spread(_of_step(rows, quantity, step)) for step in _steps(rows)}
        spreads |= {name: _median(by_step.values()), f"initial_{name}": by_step.get(0)}
    last = max(_steps(rows), default=0)
    dead = [value for value in _of_step(rows, "dead_channels", last) if math.isfinite(value)]
    return {
        **{
            quantity: _median(row["value"] for row in rows if row["quantity"] == quantity)
            for quantity in medians
        },
        **spreads,
        "dead_channels": statistics.fmean(dead) if dead else None,
    }


def gradient_spread(gradients: Sequence[float]) -> float | None:
    """Return log10 of the largest over the smallest gradient of the hidden layers.

    The gradients are relative to ‖w‖, or scaled by it. 0 is the same gradient through the whole
    depth; 3 is one that is a thousand times smaller in one layer than in another. A gradient of 0
    counts as the smallest number of float32. None for fewer than two layers, or where one is not
    finite or all are 0.
    """
    hidden = gradients[:-1]  # the last is the classifier, which starts near 0
    if len(hidden) < 2 or not all(map(math.isfinite, hidden)) or max(hidden) == 0:
        return None
    return math.log10(max(hidden) / max(min(hidden), SMALLEST))


def _of_step(rows: Iterable[Row], quantity: str, step: float) -> list[float]:
    return [row["value"] for row in rows if row["step"] == step and row["quantity"] == quantity]


def _steps(rows: Iterable[Row]) -> list[float]:
    return list(dict.fromkeys(row["step"] for row in rows))


def _median(values: Iterable[float | None]) -> float | None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.median(finite) if finite else None
