import csv
import json
import random
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from results import cells, compared, settings, write_run
from scipy import stats

from nnexp.cli.app import main
from nnexp.compare import read_rows
from nnexp.compare.chance import chance_accuracy
from nnexp.compare.comparison import Comparison, Question, make_comparison
from nnexp.figures import draw, prepare
from nnexp.figures.defaults import at_best
from nnexp.report import write_report
from nnexp.settings import (
    ConfigError,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    NormConfig,
    OptimizerConfig,
    run_id,
)
from nnexp.settings.compose import compose_jobs
from nnexp.settings.overrides import split_words

RATE = "optimizer.learning_rate"
SEEDS = (0, 1, 2)
STUDY = Path(__file__).parent.parent / "docs" / "studies" / "disable_bn.csv"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(rate: float, accuracy: Any, norm: str = "batch", **changes: Any) -> None:
    """Write a run a seed: (validation, test) accuracies, or a status."""
    outcomes = dict(zip(SEEDS, accuracy, strict=False)) if isinstance(accuracy, list) else accuracy
    for seed, outcome in outcomes.items():
        optimizer = OptimizerConfig(learning_rate=rate)
        config = settings(norm, seed=seed, optimizer=optimizer, **changes)
        if isinstance(outcome, str):
            write_run(Path("runs"), config, status=outcome, val_accuracy=0.9)
        else:
            write_run(Path("runs"), config, outcome[1], val_accuracy=outcome[0])


def answered(**asked: Any) -> Comparison:
    return make_comparison(read_rows(), Question(best=RATE, **asked))


def chosen(norm: str = "batch") -> Any:
    (choice,) = [one for one in answered().choices if one.settings["norm"] == norm]
    return choice.chosen


def test_each_cell_is_shown_at_the_rate_of_its_highest_mean_validation_accuracy_not_test(capsys):
    write(0.01, [(0.4, 0.9), (0.5, 0.9), (0.3, 0.9)])
    write(0.02, [(0.5, 0.6), (0.6, 0.7), (0.4, 0.5)])
    write(0.04, [(0.1, 0.9), (0.9, 0.9), (0.2, 0.9)])
    write(0.01, [(0.5, 0.2), (0.5, 0.3), (0.5, 0.3)], "none")
    write(0.02, [(0.2, 0.8), (0.2, 0.8), (0.2, 0.8)], "none")
    first, second = cells(capsys, "--best", RATE)
    assert (first["norm"], first["chosen_value"], first["chosen_by"]) == (
        "batch",
        "0.02",
        "val_accuracy",
    )
    assert float(first["mean"]) == np.mean([0.6, 0.7, 0.5])
    assert float(first["standard_deviation"]) == np.std([0.6, 0.7, 0.5], ddof=1)
    assert (second["chosen_value"], second["n"]) == ("0.01", "3")
    assert "60.00 ± 10.00 (3) at 0.02" in compared(capsys, "--best", RATE)[1]


def test_rate_at_which_a_seed_diverged_cannot_be_chosen_and_it_is_said(capsys):
    write(0.01, [(0.3, 0.3)] * 3)
    write(0.02, [(0.9, 0.9), (0.9, 0.9), "diverged"])
    assert chosen().value == "0.01"
    out = compared(capsys, "--best", RATE)[1]
    assert "1 of 3 diverged" in out
    assert "a value with a diverged run cannot be chosen" in out


@pytest.mark.parametrize("ending", ["failed", "running", "interrupted", None])
def test_rate_without_one_seed_is_compared_with_the_others_on_the_seeds_they_share(ending):
    """The third seed alone would make 0.01 the best; it has nothing to say where 0.02 lacks it."""
    write(0.01, [(0.3, 0.31), (0.3, 0.32), (0.99, 0.33)])
    write(0.02, [(0.4, 0.41), (0.4, 0.42), *([ending] if ending else [])])
    (choice,) = answered().choices
    assert (choice.chosen.value, choice.seeds) == ("0.02", [0, 1])
    assert choice.tried["0.01"].values == {0: 0.3, 1: 0.3}


def test_cell_shows_all_seeds_of_the_chosen_rate_also_those_that_did_not_choose(capsys):
    write(0.01, [(0.3, 0.3)] * 2)
    write(0.02, [(0.4, 0.41), (0.4, 0.42), (0.1, 0.49)])
    (cell,) = cells(capsys, "--best", RATE)
    assert (cell["chosen_value"], cell["n"]) == ("0.02", "3")
    assert float(cell["mean"]) == np.mean([0.41, 0.42, 0.49])


def test_rate_tried_on_too_few_seeds_decides_nothing_and_is_named(capsys):
    write(0.01, [(0.3, 0.3), (0.3, 0.3), (0.9, 0.3)])
    write(0.02, [(0.4, 0.3), (0.4, 0.3), (0.6, 0.3)])
    write(0.04, {0: (0.99, 0.99)})
    (choice,) = answered().choices
    assert (choice.chosen.value, choice.seeds, choice.left_out) == ("0.01", [0, 1, 2], ["0.04"])
    assert (
        "too few seeds in common with the other values to be chosen: 0.04"
        in (compared(capsys, "--best", RATE)[1])
    )


def test_rates_that_share_no_seed_cannot_be_compared():
    write(0.01, {0: (0.3, 0.3), 1: (0.3, 0.3)})
    write(0.02, {2: (0.4, 0.4), 3: (0.4, 0.4)})
    assert chosen().value is None


def with_row(norm: str, rate: float, **changes: Any) -> Path:
    """Write the published study with one run more."""
    with STUDY.open(newline="") as file:
        rows = list(csv.DictReader(file))
    like = next(row for row in rows if row["norm"] == norm)
    new = {"run_id": "more", RATE: str(rate), **changes}
    path = Path("more.csv")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows([*rows, {**like, **new}])
    return path


DIVERGED = {"status": "diverged", "test_accuracy": "", "val_accuracy": "", "diverged_at_step": "3"}


@pytest.mark.parametrize(
    ("rate", "seed", "changes"),
    [
        (0.005, "3", {"val_accuracy": "0.99"}),
        (0.08, "3", {"val_accuracy": "0.99"}),
        (1.28, "0", {"val_accuracy": "0.99"}),
        (1e9, "0", DIVERGED),
        (0.005, "3", DIVERGED),
        (0.08, "5", {"status": "failed", "val_accuracy": ""}),
    ],
)
def test_one_run_more_of_the_published_study_flips_no_choice(rate, seed, changes, capsys):
    path = with_row("batch", rate, seed=seed, **changes)
    for source in (STUDY, path):
        first, second = cells(capsys, str(source), "--rows", "norm", "--best", RATE)
        assert (first["norm"], first["chosen_value"], first["n"]) == ("batch", "0.01", "7")
        assert float(first["mean"]) == pytest.approx(0.5055, abs=1e-4)
        assert (second["chosen_value"], second["n"]) == ("0.04", "7")


def test_seeds_that_are_topped_up_flip_no_choice_at_any_moment():
    """Runs arrive in any order: until all rates have a seed, it takes no part in choosing."""
    means = {0.01: 0.30, 0.02: 0.40, 0.04: 0.35}
    for rate, mean in means.items():
        write(rate, [(mean, mean)] * 3)
    more = [(rate, seed) for rate in means for seed in (3, 4)]
    random.Random(0).shuffle(more)
    arrived: set[tuple[float, int]] = set()
    for rate, seed in more:
        write(rate, {seed: (0.9 if rate == 0.01 else means[rate], 0.5)})
        arrived.add((rate, seed))
        shared = any({(rate, seed) for rate in means} <= arrived for seed in (3, 4))
        assert chosen().value == ("0.01" if shared else "0.02")


def test_without_best_runs_at_several_rates_are_never_in_one_cell():
    """In any mixture of rates, norms and seeds, and whatever makes rows and columns."""
    chance = random.Random(1)
    for number in range(40):
        norm, rate = chance.choice(["batch", "none", "layer"]), chance.choice([0.01, 0.02, 0.04])
        optimizer = OptimizerConfig(learning_rate=rate)
        config = settings(
            norm, seed=chance.randrange(5), optimizer=optimizer, batch_size=2 + number
        )
        write_run(Path("runs"), config, rate, val_accuracy=0.5)
    rows = read_rows()
    for row in rows:
        row["batch_size"] = 8  # what would tell them apart beside the rate
    rows = list({(row["norm"], row[RATE], row["seed"]): row for row in rows}.values())
    for asked in ({}, {"rows": ["norm"]}, {"columns": ["norm"]}, {"rows": ["seed"]}):
        for grid in make_comparison(rows, Question(**asked)).grids:
            for cell in grid.cells.values():
                assert len(set(cell.values.values())) <= 1  # the accuracy is the rate


def test_figures_of_a_cell_without_a_choice_show_nothing_of_it():
    write(0.01, [(0.3, 0.3), (0.3, 0.3), "diverged"])
    write(0.02, [(0.3, 0.3), (0.3, 0.3), "diverged"])
    assert at_best(read_rows(), RATE) == []
    with pytest.raises(ConfigError, match="could be chosen"):
        draw("dots", "runs", best=RATE)
    assert "no choice" in write_report("page.html", "runs", best=RATE).read_text()
    write(0.01, [(0.3, 0.3)] * 3, "none")
    write(0.02, [(0.4, 0.3)] * 3, "none")
    assert {row["norm"] for row in at_best(read_rows(), RATE)} == {"none"}


def test_of_rates_that_do_equally_well_the_smallest_is_chosen_and_the_others_are_named(capsys):
    write(0.02, [(0.1, 0.5), (0.2, 0.5), (0.3, 0.5)])
    write(0.01, [(0.3, 0.4), (0.2, 0.4), (0.1, 0.4)])
    write(0.04, [(0.1, 0.6), (0.1, 0.6), (0.1, 0.6)])
    one = chosen()
    assert (one.value, one.ties) == ("0.01", ("0.02",))
    assert cells(capsys, "--best", RATE)[0]["chosen_ties"] == "0.02"


@pytest.mark.parametrize(
    ("means", "edge", "sign"),
    [
        ({0.01: 0.5, 0.02: 0.4, 0.04: 0.3}, "smallest", "at 0.01↓"),
        ({0.01: 0.3, 0.02: 0.4, 0.04: 0.5}, "largest", "at 0.04↑"),
        ({0.01: 0.3, 0.02: 0.4, 0.04: 0.1}, "", "at 0.02 "),
        ({0.01: 0.3, 0.02: 0.4, 0.04: "diverged"}, "", "at 0.02 "),
        ({0.01: 0.3, 0.02: 0.4, 0.04: "failed"}, "largest", "at 0.02↑"),
        ({0.01: "failed", 0.02: 0.4, 0.04: "running"}, "only", "at 0.02↕"),
    ],
)
def test_best_at_the_edge_of_what_has_an_outcome_is_said(means, edge, sign, capsys):
    for rate, mean in means.items():
        write(rate, [mean if isinstance(mean, str) else (mean, mean)] * 3)
    assert chosen().edge == edge
    out = compared(capsys, "--best", RATE)[1]
    assert sign in out.replace("\n", " ")
    assert ("may lie beyond" in out) == (edge in ("smallest", "largest"))


def test_words_have_no_edge():
    for scaling, mean in (("none", 0.3), ("sqrt", 0.5)):
        optimizer = OptimizerConfig(learning_rate_scaling=scaling)
        write_run(Path("runs"), settings(optimizer=optimizer), mean, val_accuracy=mean)
    answer = make_comparison(read_rows(), Question(best="optimizer.learning_rate_scaling"))
    assert answer.choices[0].chosen.value == "sqrt"
    assert (answer.choices[0].chosen.edge, answer.choices[0].chosen.largest) == ("", "")


@pytest.mark.parametrize(
    ("top", "largest"),
    [
        ([(0.2, 0), (0.25, 0), (0.3, 0)], "≥ 0.08"),
        ([(0.10, 0), (0.4, 0), (0.4, 0)], "0.02"),
        ([(0.4, 0), (0.4, 0), "diverged"], "0.02"),
        (["failed"] * 3, "≥ 0.02"),
    ],
)
def test_largest_rate_that_trains_is_above_chance_in_every_seed(top, largest):
    write(0.005, [(0.3, 0)] * 3)
    write(0.02, [(0.4, 0)] * 3)
    write(0.08, top)
    assert chosen().value == "0.02"
    assert chosen().largest == largest


def test_largest_rate_that_trains_is_of_all_seeds_also_of_those_that_confirm():
    write(0.01, [(0.3, 0.3)] * 2)
    write(0.02, [(0.4, 0.4)] * 2)
    write(0.02, {2: (0.4, 0.4), 3: (0.1, 0.1)})
    for confirm in (False, True):
        (choice,) = answered(confirm=confirm).choices
        assert (choice.chosen.value, choice.chosen.largest) == ("0.02", "0.01")


def test_chance_is_told_by_the_number_of_validation_images():
    """The bound is the smallest count that guessing reaches with a probability of at most 1 %."""
    images = 1000
    bound = next(k for k in range(images) if stats.binom.sf(k - 1, images, 0.25) <= 0.01)
    for correct, largest in ((bound, "≥ 0.02"), (bound - 1, "0.01")):
        data = DataConfig(name="folder", val_images=images, train_images=correct)
        for rate, accuracy in ((0.01, 0.9), (0.02, correct / images)):
            optimizer = OptimizerConfig(learning_rate=rate)
            figures = {"val_accuracy": accuracy, "chance_accuracy": 0.25}
            write_run(Path("runs"), settings(optimizer=optimizer, data=data), 0.5, **figures)
        question = Question(best=RATE, where=[f"data.train_images={correct}"])
        assert make_comparison(read_rows(), question).choices[0].chosen.largest == largest


def test_runs_that_do_not_say_it_have_the_chance_of_their_data():
    known = {"cifar10": 0.1, "cifar100": 0.01, "synthetic": 0.1, "folder": None}
    assert {name: chance_accuracy({"data.name": name}) for name in known} == known
    assert chance_accuracy({"data.name": "cifar10", "chance_accuracy": 0.25}) == 0.25


def test_where_the_classes_are_unknown_nothing_is_said_of_training(capsys):
    data = DataConfig(name="folder")
    write(0.01, [(0.5, 0.5)] * 2, data=data)
    write(0.02, [(0.4, 0.5)] * 2, data=data)
    assert "trains" not in compared(capsys, "--best", RATE)[1]
    assert chosen().largest == ""


def test_network_that_is_at_chance_everywhere_trains_nowhere():
    write(0.01, [(0.1, 0.1)] * 2)
    write(0.02, [(0.104, 0.1)] * 2)
    assert chosen().largest == "none"


def test_cell_at_which_no_rate_can_be_chosen_is_shown_as_such(capsys):
    for rate in (0.01, 0.02):
        write(rate, [(0.3, 0.3), "diverged", (0.4, 0.4)], "none")
        write(rate, [(rate, 0.3), (rate, 0.4), (0.4, 0.4)], "batch")
    out = compared(capsys, "--rows", "norm", "--best", RATE, "--against", "batch")[1]
    row = next(line for line in out.splitlines() if line.startswith("none"))
    assert row.split() == ["none", "no", "choice"]
    assert "no choice: at no value are runs done on seeds that values share" in out
    assert f"no {RATE} could be chosen" in out
    records = cells(capsys, "--best", RATE)
    assert [(one["n"], one["chosen_value"]) for one in records] == [("3", "0.02"), ("0", "")]


def test_differences_are_between_cells_each_at_its_own_best_rate(capsys):
    batch = {0.01: [(0.5, 0.61), (0.5, 0.64), (0.6, 0.60)], 0.02: [(0.1, 0.9)] * 3}
    other = {
        "none": {0.01: [(0.1, 0.9)] * 3, 0.02: [(0.5, 0.44), (0.4, 0.40), (0.4, 0.41)]},
        "layer": {0.01: [(0.4, 0.54), (0.5, 0.55), (0.6, 0.58)], 0.02: [(0.3, 0.9)] * 3},
    }
    for norm, rates in {"batch": batch, **other}.items():
        for rate, outcomes in rates.items():
            write(rate, outcomes, norm)
    base = [0.61, 0.64, 0.60]
    best = {"layer": [0.54, 0.55, 0.58], "none": [0.44, 0.40, 0.41]}
    expected = stats.dunnett(*best.values(), control=base, random_state=0)
    intervals = expected.confidence_interval(0.95)
    records = cells(capsys, "--rows", "norm", "--best", RATE, "--against", "batch")
    assert [record["norm"] for record in records] == list(best)
    for position, (record, values) in enumerate(zip(records, best.values(), strict=True)):
        assert float(record["difference"]) == pytest.approx(np.mean(values) - np.mean(base))
        assert float(record["low"]) == pytest.approx(intervals.low[position], abs=1e-3)
        assert float(record["high"]) == pytest.approx(intervals.high[position], abs=1e-3)
        assert float(record["p"]) == pytest.approx(expected.pvalue[position], abs=1e-3)
        assert record["baseline_chosen_value"] == "0.01"
    assert [record["chosen_value"] for record in records] == ["0.01", "0.02"]


def unfair(capsys: pytest.CaptureFixture[str]) -> str:
    return compared(capsys, "--rows", "norm", "--best", RATE)[2]


def test_budget_of_each_cell_is_shown_and_unequal_ones_are_a_warning(capsys):
    for norm in ("batch", "none"):
        write(0.01, [(0.5, 0.5)] * 3, norm)
        write(0.02, [(0.4, 0.5)] * 2 + ["diverged"], norm)
    assert unfair(capsys) == ""
    assert compared(capsys, "--best", RATE)[1].count("2 values × 3 seeds") == 2
    write(0.04, [(0.3, 0.3)] * 3, "none")
    assert unfair(capsys) == (
        f"nnexp: not a fair comparison: {RATE} was chosen with unequal budgets: "
        "0.01, 0.02 (2 values × 3 seeds) in 1 cell; 0.01, 0.02, 0.04 (3 values × 3 seeds) in 1 cell"
        "\n"
    )
    write(0.04, [(0.3, 0.3)] * 3, "batch")
    assert unfair(capsys) == ""
    write(0.01, {3: (0.5, 0.5)}, "batch")
    assert "0.01, 0.02, 0.04 (3 values, 10 runs) in 1 cell" in unfair(capsys)


def test_value_of_which_no_run_ended_is_no_part_of_the_budget():
    write(0.01, [(0.5, 0.5)] * 3)
    write(0.02, [(0.5, 0.5)] * 3)
    write(0.04, ["failed", "running", "interrupted"])
    assert answered().choices[0].budget == "2 values × 3 seeds"


def test_legend_says_how_it_was_chosen_and_that_the_judge_flatters_itself(capsys):
    write(0.01, [(0.5, 0.5), (0.51, 0.5)])
    write(0.02, [(0.49, 0.5), (0.53, 0.5)])
    out = compared(capsys, "--best", RATE)[1]
    assert "the highest mean val_accuracy over the seeds that all values of" in out
    assert "no test image took part" in out
    assert "it flatters" not in out
    assert "it flatters" in compared(capsys, "--best", RATE, "--metric", "val_accuracy")[1]


@pytest.mark.parametrize("form", ["--md", "--tex"])
def test_papers_get_the_choice_too(form, capsys):
    write(0.01, [(0.3, 0.5), (0.31, 0.6)])
    write(0.02, [(0.49, 0.5), (0.53, 0.6)])
    out = compared(capsys, "--best", RATE, form)[1]
    arrow = r"$\uparrow$" if form == "--tex" else "↑"
    assert f"(2) at 0.02{arrow}" in out
    geq = r"$\geq$" if form == "--tex" else "≥"
    assert f"{geq} 0.02" in out


def test_json_holds_each_value_tried_with_its_seeds(capsys):
    write(0.01, [(0.3, 0.5), "diverged"])
    write(0.02, [(0.49, 0.5), (0.53, 0.6)])
    content = json.loads(compared(capsys, "--best", RATE, "--json")[1])
    (choice,) = content["choices"]
    assert choice["chosen_value"] == "0.02"
    assert choice["tried"]["0.01"]["states"] == {"done": 1, "diverged": 1}
    assert choice["tried"]["0.02"]["seeds"] == {"0": 0.49, "1": 0.53}
    assert content["cells"][0]["seeds"] == {"0": 0.5, "1": 0.6}


@pytest.mark.parametrize(
    ("words", "problem", "remedy"),
    [
        (["--best", "lr"], "no setting 'lr'", f"did you mean {RATE}"),
        (["--best", "seed"], "--best cannot choose seed", "name a setting that is tuned"),
        (["--best", "threads"], "--best cannot choose threads", "name a setting that is tuned"),
        (["--best", "batch_size"], "all runs have batch_size=128", "there is nothing to choose"),
        (["--best", RATE, "--rows", RATE], f"{RATE} is chosen by --best", "leave it out"),
    ],
)
def test_what_cannot_be_chosen_is_answered_in_two_lines(words, problem, remedy, capsys):
    write(0.01, [(0.5, 0.5)])
    write(0.02, [(0.5, 0.5)])
    code, out, err = compared(capsys, *words)
    assert (code, out) == (2, "")
    first, second = err.splitlines()
    assert first == f"nnexp: {problem}"
    assert second.strip().startswith(remedy)


def test_other_settings_still_make_cells_of_their_own():
    for size in (8, 32):
        write(0.01, [(0.1 * size / 8, 0.5)], batch_size=size)
        write(0.02, [(0.2, 0.5)], batch_size=size)
    values = {one.settings["batch_size"]: one.chosen.value for one in answered().choices}
    assert values == {"8": "0.02", "32": "0.01"}


def line_that_begins(text: str, out: str) -> str:
    (line,) = [line for line in out.splitlines() if line.startswith(text)]
    return line.removeprefix(text)


def run_ids_of(command: str) -> set[str]:
    """Return the runs that a command would train."""
    program, what, *words = shlex.split(command)
    assert (program, what) == ("nnexp", "sweep")
    return {run_id(config) for _, config in compose_jobs(split_words(words)[1])}


def tuned(rate: float, norm: NormConfig, seed: int) -> ExperimentConfig:
    """Return settings of which many are not at their defaults."""
    return ExperimentConfig(
        norm=norm,
        seed=seed,
        model=ModelConfig(name="baseline", width=0.5),
        data=DataConfig(name="folder", root="my photos", train_images=500),
        optimizer=OptimizerConfig(name="adamw", learning_rate=rate, weight_decay=0.0),
        epochs=4,
    )


def tune(rate: float, norm: NormConfig, accuracies: Sequence[float], first: int = 0) -> None:
    for seed, accuracy in enumerate(accuracies, first):
        write_run(Path("runs"), tuned(rate, norm, seed), accuracy, val_accuracy=accuracy)


def names(rates: Any, norms: Any, seeds: Any) -> set[str]:
    return {run_id(tuned(rate, norm, s)) for rate in rates for norm in norms for s in seeds}


BATCH_NORM, GROUP_NORM = NormConfig(), NormConfig(name="group", num_groups=4)


def test_command_at_an_edge_trains_the_same_runs_at_the_next_value_for_every_cell(capsys):
    for rate, first, second in ((0.01, 0.3, 0.6), (0.04, 0.4, 0.5), (0.16, 0.5, 0.4)):
        tune(rate, BATCH_NORM, [first, first + 0.01])
        tune(rate, GROUP_NORM, [second, second + 0.01])
    out = compared(capsys, "--rows", "norm", "--best", RATE, "--md")[1]
    commands = line_that_begins("- the next values: ", out).replace("\\", "").split(" && ")
    trained = set().union(*map(run_ids_of, commands))
    assert trained == names((0.0025, 0.64), (BATCH_NORM, GROUP_NORM), (0, 1))
    content = json.loads(compared(capsys, "--rows", "norm", "--best", RATE, "--json")[1])
    assert content["extended_by"] == commands


@pytest.mark.parametrize(
    ("key", "values", "following"),
    [
        ("optimizer.weight_decay", ["0.0", "0.1"], ["0.2"]),
        ("optimizer.momentum", ["0.5", "0.9"], []),  # it must be below 1
        ("batch_size", ["8", "32"], ["128"]),
        ("optimizer.learning_rate", ["0.3"], ["0.15", "0.6"]),
    ],
)
def test_next_value_is_one_that_can_be(key, values, following):
    from nnexp.compare.commands import _beyond

    assert _beyond(key, values, "largest" if len(values) > 1 else "only") == following
    assert _beyond("batch_size", ["2", "8", "32"], "smallest") == []  # half an image
    assert _beyond("optimizer.weight_decay", ["0.0", "0.1"], "smallest") == []


def test_cells_of_which_some_are_at_a_default_are_one_command(capsys):
    for norm in ("batch", "none"):
        for size in (32, 128):
            for rate, mean in ((0.01, 0.3), (0.02, 0.5)):
                write(rate, [(mean, mean)] * 2, norm, batch_size=size)
    out = compared(capsys, "--rows", "norm", "--cols", "batch_size", "--best", RATE, "--md")[1]
    command = line_that_begins("- the next values: ", out).replace("\\", "")
    assert command == (
        "nnexp sweep model=vgg16 norm=batch,none batch_size=32,128 "
        "optimizer.learning_rate=0.04 epochs=3 seed=0,1"
    )


def test_no_command_is_named_for_entries_that_are_not_here(capsys):
    for rate, mean in ((0.01, 0.3), (0.02, 0.5)):
        write(rate, [(mean, mean)] * 2, data=DataConfig(name="theirs"))
    out = compared(capsys, "--best", RATE)[1]
    assert "may lie beyond" in out
    assert "nnexp sweep" not in out


def test_confirmed_cells_are_of_seeds_that_took_no_part_in_choosing(capsys):
    for norm in ("batch", "none"):
        write(0.01, [(0.3, 0.3)] * 3, norm)
        write(0.02, [(0.5, 0.5)] * 3, norm)
        write(0.02, {3: (0.1, 0.41), 4: (0.1, 0.43)}, norm)
    words = ("--rows", "norm", "--best", RATE, "--confirm")
    found = cells(capsys, *words)
    assert [(one["n"], one["chosen_value"]) for one in found] == [("2", "0.02")] * 2
    assert float(found[0]["mean"]) == pytest.approx(0.42)
    _, out, err = compared(capsys, *words)
    assert err == ""
    assert "every run shown is of a seed that took no part in choosing" in out
    assert "luck" not in out
    (first, _) = json.loads(compared(capsys, *words, "--json")[1])["choices"]
    assert (first["seeds"], first["fresh_seeds"]) == ([0, 1, 2], [3, 4])


def test_one_seed_that_chose_is_still_the_one_when_others_confirm():
    for rate, mean in ((0.01, 0.3), (0.02, 0.5), (0.04, 0.4)):
        write(rate, [(mean, mean)])
    write(0.02, {1: (0.1, 0.41), 2: (0.1, 0.43)})
    (choice,) = answered(confirm=True).choices
    assert (choice.chosen.value, choice.chosen.edge) == ("0.02", "")
    assert (choice.seeds, choice.fresh, choice.left_out) == ([0], [1, 2], [])
    assert answered(confirm=False).choices[0].chosen.value == "0.02"


@pytest.mark.parametrize("outcome", ["diverged", (0.99, 0.99), "failed"])
def test_fresh_seeds_cannot_change_what_they_confirm(outcome):
    write(0.01, [(0.3, 0.3)] * 3)
    write(0.02, [(0.5, 0.5)] * 3)
    write(0.02, {3: (0.5, 0.4)})
    write(0.01, {4: outcome})
    write(0.02, {5: outcome})
    (choice,) = answered(confirm=True).choices
    assert (choice.chosen.value, choice.seeds) == ("0.02", [0, 1, 2])


def test_rate_that_diverged_on_a_seed_of_the_choice_is_confirmed_by_no_fresh_one():
    write(0.01, [(0.3, 0.3)] * 3)
    write(0.02, ["diverged", (0.5, 0.5), (0.5, 0.5), (0.5, 0.5)])
    write(0.02, {3: (0.5, 0.5)})
    write(0.01, {4: (0.3, 0.3)})
    (choice,) = answered(confirm=True).choices
    assert (choice.chosen.value, choice.fresh) == ("0.01", [4])


def test_cell_without_fresh_seeds_is_named_with_the_command_that_trains_them(capsys):
    for rate, mean in ((0.01, 0.3), (0.04, 0.5), (0.16, 0.4)):
        tune(rate, BATCH_NORM, [mean, mean + 0.01])
        tune(rate, GROUP_NORM, [mean, mean + 0.01])
    words = ("--rows", "norm", "--best", RATE, "--confirm")
    code, out, err = compared(capsys, *words)
    assert (code, out) == (2, "")
    problem, remedy = err.splitlines()
    assert problem == f"nnexp: no fresh seed: all at each cell's {RATE} took part in choosing it"
    trained = set().union(*map(run_ids_of, remedy.strip().split(" && ")))
    assert trained == names((0.04,), (BATCH_NORM, GROUP_NORM), (2, 3))
    tune(0.04, BATCH_NORM, [0.45, 0.46], first=2)
    code, out, err = compared(capsys, *words)
    assert code == 0
    assert "not confirmed" in next(line for line in out.splitlines() if line.startswith("group"))
    assert err.startswith("nnexp: not confirmed, since no seed is fresh: norm=group; ")
    assert run_ids_of(err.partition("group; ")[2]) == names((0.04,), (GROUP_NORM,), (2, 3))


def test_choice_of_one_seed_is_confirmed_by_two_which_have_an_interval(capsys):
    for rate, mean in ((0.01, 0.3), (0.04, 0.5), (0.16, 0.4)):
        tune(rate, BATCH_NORM, [mean])
    err = compared(capsys, "--rows", "norm", "--best", RATE, "--confirm")[2]
    assert run_ids_of(err.splitlines()[1].strip()) == names((0.04,), (BATCH_NORM,), (1, 2))


def test_where_nothing_could_be_chosen_nothing_is_called_unconfirmed(capsys):
    write(0.01, [(0.5, 0.5), "diverged"])
    write(0.02, [(0.5, 0.5), "diverged"])
    code, out, err = compared(capsys, "--best", RATE, "--confirm")
    assert (code, err) == (0, "")
    assert "no choice" in out


def test_figure_and_report_show_only_the_seeds_that_confirm_when_asked():
    for norm in ("batch", "none"):
        write(0.01, [(0.3, 0.3)] * 3, norm)
        write(0.02, [(0.5, 0.5)] * 3, norm)
    with pytest.raises(ConfigError, match="no fresh seed"):
        draw("error", best=RATE, confirm=True)
    for norm in ("batch", "none"):
        write(0.02, {3: (0.1, 0.41), 4: (0.1, 0.43)}, norm)
    plan = prepare("dots", read_rows(), Question(rows=["norm"], best=RATE, confirm=True))
    assert sorted({row["seed"] for row in plan.rows}) == [3, 4]
    page = write_report("page.html", best=RATE, confirm=True).read_text("utf-8")
    assert "42.00 ± 1.41 (2)" in page


def test_margin_needs_a_baseline(capsys):
    assert compared(capsys, "--margin", "1")[2].splitlines() == [
        "nnexp: --margin is about differences to a baseline",
        "       add --against batch",
    ]


@pytest.mark.parametrize("command", ["compare", "figure", "report"])
def test_confirming_needs_a_choice(command, capsys):
    write(0.01, [(0.5, 0.5)] * 2)
    with pytest.raises(SystemExit):
        main([command, *(["error"] if command == "figure" else []), "--confirm"])
    assert capsys.readouterr()[1].splitlines() == [
        "nnexp: --confirm is about a choice",
        "       add --best optimizer.learning_rate",
    ]
