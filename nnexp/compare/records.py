"""A comparison → records of plain values: one per cell, per difference, per choice."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nnexp.compare.best import JUDGE
from nnexp.compare.commands import extending_commands
from nnexp.compare.grid import BEST, NEAR, Cell, Chosen
from nnexp.compare.method import method_record

if TYPE_CHECKING:
    from nnexp.compare.comparison import Comparison

Record = dict[str, Any]
NESTED = ("treatment", "settings", "chosen", "baseline_chosen", "notes")
STATUSES = ("done", "diverged", "failed", "interrupted", "running")


def choice_records(comparison: "Comparison") -> list[Record]:
    """Return one record per cell: its settings, what it chose, and each value tried."""
    return [
        {
            **{label: one.settings[label] for label in comparison.layout.keys},
            **chosen_columns(comparison, one.chosen),
            "budget": one.budget,
            "seeds": one.seeds,
            "left_out": one.left_out,
            **({"fresh_seeds": one.fresh} if comparison.confirm else {}),
            "tried": {value: _tried(cell) for value, cell in one.tried.items()},
        }
        for one in comparison.choices
    ]


def chosen_columns(comparison: "Comparison", chosen: Chosen | None, before: str = "") -> Record:
    """Return what was chosen as columns of a record; no columns where no cell had to choose."""
    if not comparison.choices:
        return {}
    key = comparison.choices[0].chosen.key
    chosen = chosen or Chosen(key=key, value=None)
    return {
        f"{before}chosen_setting": key,
        f"{before}chosen_by": JUDGE,
        f"{before}chosen_value": chosen.value,
        f"{before}chosen_edge": chosen.edge,
        f"{before}chosen_ties": ",".join(chosen.ties),
        f"{before}largest_that_trains": chosen.largest,
    }


def json_content(comparison: "Comparison") -> Record:
    """Return all of a comparison as JSON can write it: a number that is not finite is None."""
    content = {
        "metric": comparison.metric,
        "runs": comparison.runs,
        "warnings": comparison.warnings,
        "cells": cell_records(comparison, seeds=True),
        **({"choices": choice_records(comparison)} if comparison.choices else {}),
        **({"extended_by": extending_commands(comparison.choices)} if comparison.choices else {}),
        **({"comparisons": difference_records(comparison)} if comparison.against else {}),
        **judged_by(comparison),
    }
    finite = _finite(content)
    if finite != content:
        finite["warnings"].append("a number that is not finite is written as null")
    return finite


def judged_by(comparison: "Comparison") -> Record:
    """Return how the differences were judged, as an item of JSON."""
    judged = comparison.judgements
    return {"judged_by": [{"table": name, **method_record(one)} for name, one in judged.items()]}


def _finite(value: Any) -> Any:
    """Return a value in which every number that JSON does not know is None."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cell_records(comparison: "Comparison", *, seeds: bool = False) -> list[Record]:
    """Return one record per cell, in full precision; a cell where nothing ran has n = 0."""
    met = (
        status
        for grid in comparison.grids
        for cell in grid.cells.values()
        for status in cell.statuses
    )
    statuses = tuple(dict.fromkeys((*STATUSES, *met)))
    return [
        {
            **comparison.same,
            **grid.layer,
            **dict(zip(grid.row_keys, row, strict=True)),
            **dict(zip(grid.column_keys, column, strict=True)),
            **_measured(grid.cell(row, column), grid.metric, statuses),
            **chosen_columns(comparison, grid.cell(row, column).chosen),
            **({"seeds": grid.cell(row, column).values} if seeds else {}),
        }
        for grid in comparison.grids
        for row in grid.rows
        for column in grid.columns
    ]


def _measured(cell: Cell, metric: str, statuses: Sequence[str]) -> Record:
    return {
        "metric": metric,
        "mean": cell.mean,
        "standard_deviation": cell.deviation,
        "n": len(cell.values),
        **{status: cell.statuses[status] for status in statuses},
        "mark": cell.mark,
    }


def difference_records(comparison: "Comparison") -> list[Record]:
    """Return one record per difference to the baseline, in full precision."""
    against = comparison.against
    if against is None:
        return []
    return [
        {
            **comparison.same,
            **one.treatment,
            **one.settings,
            "metric": comparison.metric,
            "against": against.label,
            **{key: value for key, value in asdict(one).items() if key not in NESTED},
            **chosen_columns(comparison, one.chosen),
            **chosen_columns(comparison, one.baseline_chosen, before="baseline_"),
            "notes": "; ".join(one.notes),
        }
        for one in (*against.differences, *against.averages, *against.trends)
    ]


def _tried(cell: Cell) -> Record:
    return {
        "mean": cell.mean,
        "standard_deviation": cell.deviation,
        "seeds": cell.values,
        "states": dict(cell.statuses),
        "mark": {BEST: "chosen", NEAR: "not shown to differ from the chosen"}.get(cell.mark, ""),
    }
