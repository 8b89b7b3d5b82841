"""95 % intervals of means: how wide they are, and how figures show them."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_runs import write_curves, write_full
from scipy import stats

from nnexp.cli.app import main
from nnexp.compare import read_rows
from nnexp.compare.comparison import Question
from nnexp.compare.grid import Cell, Grid
from nnexp.compare.intervals import mean_reaches, with_intervals
from nnexp.figures import prepare

NOISE = np.random.default_rng(8)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def cells_of(deviation, correlation=0.0, seeds=3):
    """Return cells of 5 arms at 4 places whose true mean is 0."""
    cells = {}
    for place in range(4):
        common = math.sqrt(correlation) * NOISE.standard_normal(seeds)
        for arm in range(5):
            own = math.sqrt(1 - correlation) * NOISE.standard_normal(seeds)
            cells[place, arm] = dict(enumerate(deviation(place, arm) * (own + common)))
    return cells


def reaches_of(cells):
    return mean_reaches(cells, dict.fromkeys(cells, 0.0))


def grid_of(**cells):
    """Return a table of one column."""
    return Grid(
        metric="test_accuracy",
        row_keys=["norm"],
        column_keys=[],
        rows=[(name,) for name in cells],
        columns=[()],
        cells={((name,), ()): cell for name, cell in cells.items()},
    )


def test_interval_of_a_single_cell_is_students():
    values = [0.80, 0.82, 0.81, 0.85]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    (reach,) = reaches_of({("", "batch"): dict(enumerate(values))}).values()
    assert (np.mean(values) - reach, np.mean(values) + reach) == pytest.approx((low, high))


def test_cells_that_vary_alike_share_a_variance_and_its_degrees_of_freedom():
    cells = {("", arm): dict(enumerate([arm - 1.0, arm, arm + 1.0], 3 * arm)) for arm in range(5)}
    expected = stats.t.ppf(0.975, 10) / math.sqrt(3)
    assert reaches_of(cells) == pytest.approx(dict.fromkeys(cells, expected))


@pytest.mark.parametrize(
    ("deviation", "correlation"),
    [
        (lambda place, arm: 1, 0.0),
        (lambda place, arm: 1, 0.9),
        (lambda place, arm: 1 + place, 0.0),
        (lambda place, arm: 1 + arm / 2, 0.0),
    ],
)
def test_nineteen_of_twenty_intervals_hold_the_true_mean(deviation, correlation):
    held = Counter[bool]()
    for _ in range(200):
        cells = cells_of(deviation, correlation)
        for key, reach in reaches_of(cells).items():
            held[abs(np.mean([*cells[key].values()])) <= reach] += 1
    assert held[True] / held.total() == pytest.approx(0.95, abs=0.02)


def test_cell_that_varies_more_than_the_others_has_a_wider_interval():
    cells = {("", arm): dict(enumerate([arm - 1.0, arm, arm + 1.0], 3 * arm)) for arm in range(5)}
    cells["", 0] = {0: -1.5, 1: 0.0, 2: 1.5}  # which no test finds unequal
    first, *others = reaches_of(cells).values()
    assert first > max(others) > 0


def test_one_seed_diverged_runs_and_no_spread_have_no_interval():
    both = {0: 0.5, 1: 0.6}
    cells = {
        "two": Cell(values=both),
        "one": Cell(values={0: 0.5}),
        "lost": Cell(values=both, statuses=Counter(done=2, diverged=1)),
        "same": Cell(values={7: 0.5, 8: 0.5}),
    }
    (grid,) = with_intervals([grid_of(**cells)])
    known = [name for name in cells if grid.cell((name,), ()).interval]
    assert known == ["two"]


def test_accuracy_that_all_seeds_share_is_known_no_better_than_its_images_tell():
    cell = Cell(values={0: 0.5, 1: 0.5}, images=100)
    (grid,) = with_intervals([grid_of(batch=cell)])
    low, high = grid.cell(("batch",), ()).interval
    assert high - low > 0.1


@pytest.fixture
def runs() -> list:
    """Write runs whose seeds differ, and of one cell diverge."""
    for norm in ("batch", "none"):
        for batch_size in (8, 32):
            for rate in (0.02, 0.05):
                for seed in range(3):
                    accuracy = 0.6 + 0.02 * math.sin(seed + batch_size + len(norm) + 100 * rate)
                    run = write_full(Path("runs"), norm, accuracy, batch_size, rate=rate, seed=seed)
                    write_curves(run, [0.5 + seed / 10, 0.8 + seed / 10], accuracy)
    write_full(Path("runs"), "none", None, 32, rate=0.05, seed=3, status="diverged")
    return read_rows()


@pytest.mark.parametrize("kind", ["error", "rates", "dots", "curves"])
def test_numbers_beside_a_figure_have_the_ends_of_the_intervals_that_it_draws(kind, runs):
    plan = prepare(kind, runs, Question(), intervals=True)
    table = pd.DataFrame(plan.numbers()).dropna(subset="low")
    figure = plan.figure()
    lines = [line for axes in figure.axes for line in axes.get_lines()]
    bands = [band for axes in figure.axes for band in axes.collections]
    drawn = [line.get_xydata() for line in lines]
    drawn += [path.vertices for band in bands for path in band.get_paths()]
    ends = {round(float(value), 9) for points in drawn for value in np.ravel(points)}
    assert {*table["low"].round(9), *table["high"].round(9)} <= ends
    assert (table["low"] < table["mean"]).all()
    assert (table["mean"] < table["high"]).all()
    words = " ".join(
        [text.get_text() for text in (*figure.texts, *(x.get_title() for x in figure.legends))]
        + [figure.get_supxlabel()]
    ).replace("\n", " ")
    assert "95 % interval of each mean" in words


def test_ends_of_an_errors_interval_are_those_of_the_accuracys_turned(runs):
    rows = [row for row in runs if row["optimizer.learning_rate"] == 0.02]
    errors = pd.DataFrame(prepare("error", rows, Question(), intervals=True).numbers())
    dots = pd.DataFrame(
        prepare("dots", rows, Question(rows=["norm"], columns=["batch_size"]), intervals=True)
        .numbers()
    ).dropna(subset="mean")  # fmt: skip
    assert sorted(errors["low"]) == pytest.approx(sorted(100 - dots["high"]))


def test_curves_interval_is_students_at_each_epoch(runs):
    table = pd.DataFrame(prepare("curves", runs, Question(), intervals=True).numbers())
    one = table.iloc[0]
    reach = stats.t.ppf(0.975, 2) * one["deviation"] / math.sqrt(3)
    assert (one["n"], one["high"] - one["mean"]) == (3, pytest.approx(reach))


def test_without_intervals_numbers_have_no_column_of_them(runs):
    for kind in ("error", "dots", "curves"):
        assert not {"low", "high"} & {*prepare(kind, runs, Question()).numbers()[0]}


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["traces"], "--intervals is for error, rates, dots, curves"),
        (["dots", "--where", "seed=0"], "no mean here has an interval"),
        (["error", "--where", "seed=0"], "no mean here has an interval"),
        (["curves", "--where", "seed=0"], "no mean here has an interval"),
    ],
)
def test_intervals_that_cannot_be_drawn_are_refused_in_two_lines(words, problem, capsys):
    with pytest.raises(SystemExit) as end:
        main(["figure", words[0], "runs", "--intervals", *words[1:]])
    error = capsys.readouterr().err
    assert (end.value.code, problem in error, len(error.splitlines())) == (2, True, 2)


@pytest.mark.usefixtures("runs")
def test_command_draws_intervals():
    with pytest.raises(SystemExit) as end:
        main(["figure", "error", "runs", "--intervals", "-o", "error.svg"])
    assert end.value.code == 0
    assert pd.read_csv("error.csv")["low"].notna().any()
