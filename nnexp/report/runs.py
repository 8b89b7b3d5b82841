"""Rows → what the page says of every single run: a table, and what opens behind it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnexp.compare.columns import SETTINGS, Row, shown
from nnexp.compare.metrics import NOTHING, metric_of
from nnexp.compare.selection import changing, grouped, varying
from nnexp.compare.tables import TextCell, TextTable
from nnexp.report.reproduce import facts_of, read_environment
from nnexp.report.run_charts import run_charts
from nnexp.rundir import RunDir, result_is_at_chance

MOST_DETAILED = 200  # runs whose settings and curves are on the page
MOST_TRACED = 60  # runs whose traces are drawn: those of a VGG16 take 15 kB a run
MOST_OPEN = 24  # runs that are listed one by one without a click
METRICS = ("test_accuracy", "val_accuracy", "train_accuracy", "test_loss", "steps", "seconds")


def describe_runs(rows: Sequence[Row], metric: str) -> dict[str, Any]:
    """Return tables of all runs and of those that did not end well, and details of single runs.

    Where there are too many, the lowest seeds have settings, curves, traces and environment;
    `left_out` says how many do not, and where to find theirs.
    """
    keys = shown_settings(rows)
    order = [row for _, members in grouped(rows, keys) for row in members]
    first = [row["run_id"] for row in sorted(order, key=lambda row: row["seed"])]
    anchors = {name: f"run-{name}" for name in first[:MOST_DETAILED]}
    each = [
        {
            **_describe_run(row, keys, traces=row["run_id"] in first[:MOST_TRACED]),
            "anchor": anchors[row["run_id"]],
        }
        for row in order
        if row["run_id"] in anchors
    ]
    left_out = []
    if without := len(rows) - len(anchors):
        left_out.append(
            f"Settings and curves are shown for {len(anchors)} runs, the lowest seeds first; "
            f"{without} are left out here: results.csv and the folders of the runs have them."
        )
    if (without := len(rows) - MOST_TRACED) > 0:
        left_out.append(
            f"Traces are drawn for {MOST_TRACED} runs, the lowest seeds first; {without} are left "
            "out here, and nnexp traces RUN draws them."
        )
    lost = [row for row in order if row["status"] != "done"]
    return {
        "table": _table(order, keys, metric),
        "links": [anchors.get(row["run_id"], "") for row in order],
        "lost": _lost_table(lost, len(rows)) if lost else None,
        "lost_links": [anchors.get(row["run_id"], "") for row in lost],
        "each": each,
        "folded": len(each) > MOST_OPEN,
        "left_out": left_out,
        "total": len(rows),
    }


def reason_of(row: Row) -> str:
    """Return why a run has no results, in a line."""
    if row.get("diverged_at_step") is not None:
        return f"the loss was no longer finite at step {row['diverged_at_step']:g}"
    return str(row.get("reason") or "").partition("\n")[0] or NOTHING


def shown_settings(rows: Sequence[Row]) -> list[str]:
    """Return the settings that tell the runs apart, norm and seed always among them."""
    keys = varying(rows)
    return [*(["norm"] if "norm" not in keys else []), *keys, "seed"]


def same_settings(rows: Sequence[Row]) -> dict[str, str]:
    """Return the settings that all runs share."""
    changed = changing(rows, list(SETTINGS))
    return {key: shown(rows[0][key]) for key in SETTINGS if key not in changed}


def _lost_table(lost: Sequence[Row], runs: int) -> TextTable:
    return TextTable(
        title=f"{len(lost)} of {runs} runs",
        headings=["run", "status", "reason"],
        labels=1,
        rows=[
            [TextCell(text=text) for text in (row["run_id"], str(row["status"]), reason_of(row))]
            for row in lost
        ],
    )


def _table(rows: Sequence[Row], keys: Sequence[str], metric: str) -> TextTable:
    names = list(dict.fromkeys((metric, *METRICS)))
    names = [name for name in names if any(row.get(name) is not None for row in rows)]
    return TextTable(
        title=f"All {len(rows)} runs",
        headings=[*keys, "status", *(metric_of(name).heading for name in names)],
        labels=len(keys) + 1,
        rows=[
            [
                *(TextCell(text=shown(row[key])) for key in keys),
                TextCell(text=str(row["status"])),
                *(TextCell(text=metric_of(name).text(row.get(name))) for name in names),
            ]
            for row in rows
        ],
    )


def _describe_run(row: Row, keys: Sequence[str], *, traces: bool) -> dict[str, Any]:
    run = RunDir(Path(row["folder"]))
    environment = read_environment(row)
    charts, unreadable = run_charts(run, traces=traces)
    started = {"started": str(environment.get("started", NOTHING))}
    return {
        "norm": row["norm"],
        "name": row["run_id"],
        "done": row["status"] == "done",
        "outcome": _outcome(row),
        "own": {key: shown(row[key]) for key in keys},
        "settings": "\n".join(f"{key}={shown(row[key])}" for key in SETTINGS),
        "environment": facts_of(environment) | started if environment else {},
        "charts": charts,
        "unreadable": unreadable,
    }


def _outcome(row: Row) -> str:
    accuracy = row.get("test_accuracy")
    if row["status"] != "done" or accuracy is None:
        return str(row["status"])
    at_chance = ", at chance" if result_is_at_chance(row) else ""
    return f"test {metric_of('test_accuracy').text(accuracy)} %{at_chance}"
