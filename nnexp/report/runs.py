"""Rows → what the page says of every single run: a table, and what opens behind it."""

from collections.abc import Sequence
from pathlib import Path

from nnexp.compare.columns import SETTINGS, Row, shown
from nnexp.compare.selection import grouped, varying
from nnexp.compare.tables import NOTHING, TextCell, TextTable, figure, heading
from nnexp.report.markup import (
    details,
    escape,
    named,
    pairs,
    paragraphs,
    table,
    tag,
    text_table,
)
from nnexp.report.reproduce import facts_of, read_environment
from nnexp.report.run_charts import run_charts
from nnexp.rundir import RunDir

MOST_TRACED = 60  # runs whose traces are drawn: those of a VGG16 take 15 kB a run
MOST_OPEN = 24  # runs that are listed one by one without a click
FIGURES = ("test_accuracy", "val_accuracy", "train_accuracy", "test_loss", "steps", "seconds")


def runs_section(rows: Sequence[Row], metric: str) -> str:
    """Return every run in a table, and behind each its settings, curves, traces, environment."""
    keys = shown_settings(rows)
    order = [row for _, members in grouped(rows, keys) for row in members]
    traced = {row["run_id"] for row in sorted(order, key=lambda row: row["seed"])[:MOST_TRACED]}
    each = "".join(_run(row, keys, traces=row["run_id"] in traced) for row in order)
    if len(rows) > MOST_OPEN:
        each = details("Settings, curves and traces of each run", each)
    left_out = len(rows) - len(traced)
    note = (
        f"Traces are drawn for {len(traced)} runs, the lowest seeds first; {left_out} are left "
        "out here, and nnexp traces RUN draws them."
    )
    return _table(order, keys, metric) + paragraphs([note] if left_out else [], "note") + each


def lost_section(rows: Sequence[Row]) -> str:
    """Return the runs that did not end well, each with its reason; nothing where all did."""
    lost = [row for row in rows if row["status"] != "done"]
    if not lost:
        return ""
    title = f"{len(lost)} of {len(rows)} runs"
    words = [[row["run_id"], str(row["status"]), reason_of(row)] for row in lost]
    return text_table(title, ["run", "state", "reason"], words, [_anchor(row) for row in lost])


def _anchor(row: Row) -> str:
    return f"#run-{row['run_id']}"


def reason_of(row: Row) -> str:
    """Return why a run has no figures, in a line."""
    if row.get("diverged_at_step") is not None:
        return f"the loss was no longer finite at step {row['diverged_at_step']}"
    return str(row.get("reason") or "").partition("\n")[0] or NOTHING


def shown_settings(rows: Sequence[Row]) -> list[str]:
    """Return the settings that tell the runs apart, norm and seed always among them."""
    keys = varying(rows)
    return [*(["norm"] if "norm" not in keys else []), *keys, "seed"]


def same_settings(rows: Sequence[Row]) -> dict[str, str]:
    """Return the settings that all runs share."""
    values = {key: {shown(row[key]) for row in rows} for key in SETTINGS}
    return {key: one.pop() for key, one in values.items() if len(one) == 1}


def _table(rows: Sequence[Row], keys: Sequence[str], metric: str) -> str:
    names = list(dict.fromkeys((metric, *FIGURES)))
    names = [name for name in names if any(row.get(name) is not None for row in rows)]
    made = TextTable(
        title=f"All {len(rows)} runs",
        headings=[*keys, "state", *map(heading, names)],
        labels=len(keys) + 1,
        rows=[
            [
                *(TextCell(text=shown(row[key])) for key in keys),
                TextCell(text=str(row["status"])),
                *(TextCell(text=figure(row.get(name), name)) for name in names),
            ]
            for row in rows
        ],
    )
    return table(made, links=[_anchor(row) for row in rows])


def _run(row: Row, keys: Sequence[str], *, traces: bool) -> str:
    run = RunDir(Path(row["folder"]))
    own = {key: shown(row[key]) for key in keys}
    summary = f"{named(row['norm'])} <code>{escape(row['run_id'])}</code> {_state(row)}"
    settings = "\n".join(f"{key}={shown(row[key])}" for key in SETTINGS)
    environment = read_environment(row)
    facts = {**facts_of(environment), "started": str(environment.get("started", NOTHING))}
    charts = "".join(run_charts(run, traces=traces))
    content = [
        pairs(own),
        tag("div", charts, class_="charts") if charts else "",
        details("Every setting", tag("pre", escape(settings))),
        details("Environment", pairs(facts)) if environment else "",
    ]
    return details(summary, "".join(content), id_=f"run-{row['run_id']}")


def _state(row: Row) -> str:
    if row["status"] == "done":
        value = figure(row.get("test_accuracy"), "test_accuracy")
        return tag("span", f"test {value} %", class_="state")
    return tag("span", escape(str(row["status"])), class_="state lost")
