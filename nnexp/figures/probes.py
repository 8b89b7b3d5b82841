"""`probes.csv` of runs → what each norm does inside: over the steps, and through the depth."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nnexp.compare.columns import Row
from nnexp.compare.grid import lay_out
from nnexp.compare.selection import Group, values_of
from nnexp.figures.colours import Style
from nnexp.figures.drawing import (
    add_legend,
    line_look,
    log_ticks,
    open_panels,
    seeds_in_words,
    step_ticks,
    styled,
)
from nnexp.figures.series import line_settings, line_styles
from nnexp.rundir import RunDir, read_table
from nnexp.settings import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STANDSTILL = 0.01  # of the highest learning rate: a step at less moves nothing
OVER_STEPS = {
    "covariate_shift": "covariate shift",
    "matched_shift": "shift at a matched step",
    "activation_drift": "activation drift",
    "effective_rate": "effective learning rate",
    "loss_range": "range of the loss",
    "gradient_predictiveness": "gradient predictiveness",
    "effective_smoothness": "effective smoothness",
}
THROUGH_DEPTH = {
    "activation_std": "std of outputs, step 0",
    "gradient_norm": "gradient norm, step 0",
    "scaled_gradient": "gradient × weight, step 0",
    "activation_similarity": "activation similarity, step 0",
    "effective_rank": "effective rank, step 0",
}
OF_BLOCKS = ("activation_similarity", "effective_rank")
WITH_SIGN = ("activation_similarity",)  # a cosine, so its axis is not in log

PANELS = {**OVER_STEPS, **THROUGH_DEPTH}


def draw_probes(rows: Sequence[Row], across: int = 2) -> "Figure":
    """Return a panel for each quantity that was measured, over the steps or through the depth.

    Over the steps a run counts with the median of its layers; a line is the mean over seeds, its
    band goes from the lowest seed to the highest. A last step whose learning rate is almost 0, as
    at the end of a cosine, is left out.

    Raises:
        ConfigError: No run has a `probes.csv`, or more than the norm and the seed varies.
    """
    styles, tables, shortened = _load(rows)
    panels = _measured(tables)
    with styled():
        figure, axes = open_panels(len(panels), across, 1.9)
        for one, (quantity, words) in zip(axes, panels.items(), strict=True):
            _draw_panel(one, quantity, tables, {group: styles[group][1] for group in tables})
            one.set_ylabel(words)
        seeds = seeds_in_words(len(of_seeds) for of_seeds in tables.values())
        note = f"mean of {seeds}, band: lowest to highest seed; over steps: median of the layers"
        note += "; without the last step, whose learning rate is almost 0" if shortened else ""
        add_legend(
            figure, {styles[group][0]: styles[group][1] for group in tables}, note, points=False
        )
    return figure


def probe_numbers(rows: Sequence[Row]) -> list[Row]:
    """Return a row for each point of each line that `draw_probes` draws."""
    styles, tables, _ = _load(rows)
    return [
        {"panel": words, "line": styles[group][0], "quantity": quantity, "x": x, **point}
        for quantity, words in _measured(tables).items()
        for group, of_seeds in tables.items()
        for x, point in _over_seeds(quantity, of_seeds).to_dict("index").items()
    ]


def _load(
    rows: Sequence[Row],
) -> tuple[dict[Group, tuple[str, Style]], dict[Group, list[pd.DataFrame]], bool]:
    """Return each line's label and style, its seeds' tables, and whether any lost a last step."""
    rows = [row for row in rows if RunDir(Path(row["folder"])).probes.exists()]
    if not rows:
        raise ConfigError("no run here has a probes.csv", "run them with probe.points=20")
    keys = line_settings(rows)
    if more := lay_out(rows, keys, []).layers:
        raise ConfigError(
            f"probes draws one {more[0]} at a time", f"choose one: --where {more[0]}=VALUE"
        )
    tables: dict[Group, list[pd.DataFrame]] = {}
    shortened = False
    for row in rows:
        table, cut = load_moving_steps(RunDir(Path(row["folder"])))
        tables.setdefault(values_of(row, keys), []).append(table)
        shortened |= cut
    return line_styles(rows, keys), tables, shortened


def _measured(tables: dict[Group, list[pd.DataFrame]]) -> dict[str, str]:
    """Return quantity and words of each panel that there is something for."""
    all_seeds = [table for of_seeds in tables.values() for table in of_seeds]
    return {
        quantity: words
        for quantity, words in PANELS.items()
        if any(len(_taken(table, quantity)) for table in all_seeds)
    }


def load_moving_steps(run: RunDir) -> tuple[pd.DataFrame, bool]:
    """Return `probes.csv` without a last step that moves nothing, and whether there was one."""
    table = pd.read_csv(run.probes)
    epochs = read_table(run.metrics)
    rates = [epoch["learning_rate"] for epoch in epochs if "learning_rate" in epoch]
    if not rates or rates[-1] >= STANDSTILL * max(rates):
        return table, False
    last = epochs[-1]["step"] - 1  # a probe's step counts what was finished before it
    return table.loc[table["step"] != last], bool((table["step"] == last).any())


def over_steps(table: pd.DataFrame, quantity: str) -> pd.Series:
    """Return a quantity by probed step, the median of the layers it was taken at."""
    part = table.loc[(table["quantity"] == quantity) & np.isfinite(table["value"])]
    return part.groupby("step")["value"].median()


def through_depth(table: pd.DataFrame, quantity: str) -> pd.Series:
    """Return a quantity before the first step by layer, the first one that has it being 1."""
    values = table.loc[(table["quantity"] == quantity) & (table["step"] == 0), "value"]
    return values.set_axis(range(1, len(values) + 1))


def _taken(table: pd.DataFrame, quantity: str) -> pd.Series:
    return (over_steps if quantity in OVER_STEPS else through_depth)(table, quantity)


def _over_seeds(quantity: str, of_seeds: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return mean, lowest, highest and number of the seeds at each place of a line."""
    values = pd.concat([_taken(table, quantity) for table in of_seeds])
    known = values.loc[np.isfinite(values)]
    if quantity not in WITH_SIGN:
        known = known.loc[known > 0]  # what a log axis has a place for
    return known.groupby(level=0).agg(mean="mean", lowest="min", highest="max", n="count")


def _draw_panel(
    axes: "Axes",
    quantity: str,
    tables: dict[Group, list[pd.DataFrame]],
    styles: dict[Group, Style],
) -> None:
    from matplotlib.ticker import MaxNLocator

    for group, of_seeds in tables.items():
        found = _over_seeds(quantity, of_seeds)
        shade = {"color": styles[group].colour, "alpha": 0.14, "linewidth": 0}
        axes.fill_between(found.index, found["lowest"], found["highest"], **shade)
        axes.plot(found.index, found["mean"], **line_look(styles[group]))
    if quantity not in WITH_SIGN:
        log_ticks(axes)
    if quantity in OVER_STEPS:
        step_ticks(axes)
    else:
        kind = "block" if quantity in OF_BLOCKS else "weight layer"
        axes.set_xlabel(f"{kind}, from the image on")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
