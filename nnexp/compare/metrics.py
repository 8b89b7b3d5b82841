"""The metrics of a run: which columns of its result they are, their unit, and what is better."""

import math
from dataclasses import dataclass

NOTHING = "–"  # stands where there is no value


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """How one column of results is read."""

    name: str
    better: int = 0  # 1: more is better, -1: less is, 0: neither
    unit: str = ""  # %, points (of differences of what is in %), s or nothing

    @property
    def in_percent(self) -> bool:
        """Whether it is a share or a difference of shares, which is read times 100."""
        return self.unit in ("%", "points")

    @property
    def is_accuracy(self) -> bool:
        """Whether it is the share of images that are classified right; the rest is the error."""
        return self.in_percent and self.better > 0

    @property
    def heading(self) -> str:
        """The name, with the unit where the name does not say it."""
        return self.with_unit(self.name)

    def with_unit(self, words: str) -> str:
        """Return what names the metric, with its unit: `test error %`, `batch gap (points)`."""
        return words + {"%": " %", "points": " (points)"}.get(self.unit, "")

    def text(self, value: float | None, *, signed: bool = False) -> str:
        """Return a value as it is read: shares in percent, seconds by tenths, others by digits."""
        return self._text(value, "+z" if signed else "z")  # z: what rounds to 0 is no -0

    def interval(self, low: float, high: float) -> str:
        """Return the ends of an interval; one that rounds to 0 shows on which side of it it is."""
        return f"({self._text(low, '+')} to {self._text(high, '+')})"

    def _text(self, value: float | None, sign: str) -> str:
        if value is None or math.isnan(value):
            return NOTHING
        if self.in_percent:
            return f"{100 * value:{sign}.2f}"
        if self.unit == "s":
            return f"{value:{sign}.1f}"
        size = abs(value)
        if float(value).is_integer() and size < 1e15:
            return f"{value:{sign},.0f}"
        return f"{value:{sign}.4g}" if size >= 1e6 or size < 1e-3 else f"{value:{sign}.4f}"


PROBED = (
    "covariate_shift",
    "matched_shift",
    "shift_cosine",
    "activation_drift",
    "effective_rate",
    "gradient_spread",
    "initial_gradient_spread",
    "scaled_gradient_spread",
    "initial_scaled_gradient_spread",
    "activation_similarity",
    "effective_rank",
    "loss_range",
    "gradient_predictiveness",
    "effective_smoothness",
)  # what docs/probes.md defines, where neither side is better in itself
METRICS = {
    metric.name: metric
    for metric in (
        Metric(name="test_accuracy", better=1, unit="%"),
        Metric(name="test_loss", better=-1),
        Metric(name="population_test_accuracy", better=1, unit="%"),
        Metric(name="batch_test_accuracy", better=1, unit="%"),
        Metric(name="population_gap", unit="points"),
        Metric(name="batch_gap", unit="points"),
        Metric(name="running_mean_distance"),
        Metric(name="running_var_distance"),
        Metric(name="val_accuracy", better=1, unit="%"),
        Metric(name="val_accuracy_median5", better=1, unit="%"),
        Metric(name="mean_val_accuracy", better=1, unit="%"),
        Metric(name="val_loss", better=-1),
        Metric(name="train_accuracy", better=1, unit="%"),
        Metric(name="train_loss", better=-1),
        Metric(name="clean_train_accuracy", better=1, unit="%"),
        Metric(name="generalization_gap", unit="points"),
        Metric(name="dead_channels", unit="%"),
        *(Metric(name=name) for name in PROBED),
        Metric(name="chance_accuracy", unit="%"),
        Metric(name="test_images"),
        Metric(name="diverged_at_step"),
        Metric(name="epochs_finished"),
        Metric(name="parameters"),
        Metric(name="steps"),
        Metric(name="seconds", better=-1, unit="s"),
    )
}  # columns that hold a number or nothing, whatever else stands in other rows


def metric_of(name: str) -> Metric:
    """Return how a column is read; one that nnexp does not know, by the word in its name."""
    if name in METRICS:
        return METRICS[name]
    if "accuracy" in name:
        return Metric(name=name, better=1, unit="%")
    return Metric(name=name, better=-1 if "loss" in name else 0)
