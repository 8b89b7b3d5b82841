"""Run folders and results of other machines → rows → grouped tables and paired statistics."""

from nnexp.compare.comparison import Comparison, Question, compare_runs, make_comparison
from nnexp.compare.load import (
    as_rows,
    find_run,
    load_channels,
    load_epochs,
    load_probes,
    load_runs,
    load_traces,
    read_rows,
    read_runs,
)
from nnexp.compare.metrics import METRICS, Metric, metric_of

__all__ = [
    "METRICS",
    "Comparison",
    "Metric",
    "Question",
    "as_rows",
    "compare_runs",
    "find_run",
    "load_channels",
    "load_epochs",
    "load_probes",
    "load_runs",
    "load_traces",
    "make_comparison",
    "metric_of",
    "read_rows",
    "read_runs",
]
