"""Results of probed runs → one table: what each norm did inside, beside what came of it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nnexp.compare.columns import Row
from nnexp.compare.comparison import Question, make_comparison
from nnexp.compare.load import is_metric
from nnexp.compare.tables import grid_table, legend, side_by_side

PROBED = "covariate_shift"  # a metric that only probed runs have
METRICS = (
    "mean_val_accuracy",
    "generalization_gap",
    PROBED,
    "matched_shift",
    "shift_cosine",
    "activation_drift",
    "effective_rate",
    "initial_gradient_spread",
    "gradient_spread",
    "initial_scaled_gradient_spread",
    "scaled_gradient_spread",
    "dead_channels",
)
MEANINGS = (
    "mean_val_accuracy: over the epochs, so higher is faster; generalization_gap: accuracy on the "
    "training images as they are, less test accuracy",
    "covariate_shift: how far a step of the layers below turns a layer's gradient, relative to it "
    "(Santurkar et al. 2018, Def. 2.1); shift_cosine: between the gradient before and after; "
    "matched_shift: the same where every weight below moves by 0.1 % of its length, so that a "
    "longer step is no larger shift",
    "activation_drift: how far a step moves the channel means of a layer's input, in their "
    "standard deviations; gradient_spread: log10 of the largest over the smallest relative "
    "gradient ‖∇L‖ / ‖w‖ of the hidden layers, median over the run or (initial) before the first "
    "step; scaled_gradient_spread: the same of ‖∇L‖ ‖w‖, which compares between norms too",
    "effective_rate: learning rate over ‖w‖², what decides how far a weight before a norm turns; "
    "dead_channels: share of norms' channels that no image of the last probed step activates",
)


def probed_tables(rows: Sequence[Row], question: Question) -> dict[str, Any]:
    """Return the tables and what their metrics mean; nothing where no run was probed."""
    known = [name for name in METRICS if is_metric(name, rows)]
    if PROBED not in known:
        return {}
    asked = replace(question.without_baseline(), columns=(), sort=None)
    comparisons = [make_comparison(rows, replace(asked, metric=name)) for name in known]
    grids = [comparison.grids for comparison in comparisons]
    if all(len(of_metric) == 1 for of_metric in grids):
        tables = [side_by_side([of_metric[0] for of_metric in grids])]
    else:
        tables = [grid_table(grid) for of_metric in grids for grid in of_metric]
    return {"tables": tables, "legend": [*legend(comparisons[:1])[:1], *MEANINGS]}
