"""The rows of `probes.csv` → columns of the run's one row."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SMALLEST = 1.1754944e-38  # of float32; what is smaller was written as 0

Row = Mapping[str, Any]


def summarize_probes(rows: Sequence[Row]) -> dict[str, float | None]:
    """Return what the probes of a run came to; None where nothing finite was seen.

    Medians over steps and layers; `gradient_spread` is a median over steps, and
    `initial_gradient_spread` is that of step 0.
    """
    spreads = {step: gradient_spread(_relative_gradients(rows, step)) for step in _steps(rows)}
    return {
        **{
            quantity: _median(row["value"] for row in rows if row["quantity"] == quantity)
            for quantity in ("covariate_shift", "shift_cosine", "activation_drift")
        },
        "gradient_spread": _median(spreads.values()),
        "initial_gradient_spread": spreads.get(0),
    }


def gradient_spread(relative_gradients: Sequence[float]) -> float | None:
    """Return log10 of the largest over the smallest relative gradient of the hidden layers.

    0 is the same gradient, in units of the weights, through the whole depth; 3 is a layer that
    learns a thousand times slower than another. A gradient of 0 counts as the smallest number
    of float32. None for fewer than two layers, or where one is not finite or all are 0.
    """
    hidden = relative_gradients[:-1]  # the last is the classifier, which starts near 0
    if len(hidden) < 2 or not all(map(math.isfinite, hidden)) or max(hidden) == 0:
        return None
    return math.log10(max(hidden) / max(min(hidden), SMALLEST))


def _relative_gradients(rows: Iterable[Row], step: float) -> list[float]:
    return [
        row["value"]
        for row in rows
        if row["step"] == step and row["quantity"] == "relative_gradient"
    ]


def _steps(rows: Iterable[Row]) -> list[float]:
    return list(dict.fromkeys(row["step"] for row in rows))


def _median(values: Iterable[float | None]) -> float | None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.median(finite) if finite else None
