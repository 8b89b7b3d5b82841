import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from results import cells, compared, settings, write_run
from scipy import stats

from nnexp.compare import read_rows
from nnexp.compare.comparison import Comparison, Question, make_comparison
from nnexp.settings import OptimizerConfig

RATE = "optimizer.learning_rate"
SEEDS = (0, 1, 2)


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


@pytest.mark.parametrize("ending", ["diverged", "failed", "running", "interrupted"])
def test_rate_at_which_a_seed_is_not_done_cannot_be_chosen(ending):
    write(0.01, [(0.3, 0.3)] * 3)
    write(0.02, [(0.9, 0.9), (0.9, 0.9), ending])
    assert chosen().value == "0.01"


def test_rate_at_which_a_seed_of_the_cell_is_missing_cannot_be_chosen(capsys):
    write(0.01, [(0.3, 0.3), (0.31, 0.3), (0.32, 0.3)])
    write(0.02, [(0.9, 0.9), (0.8, 0.9)])
    assert chosen().value == "0.01"
    assert "1 of 3 missing" in compared(capsys, "--best", RATE)[1]


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
        ([(0.19, 0), (0.4, 0), (0.4, 0)], "0.02"),
        ([(0.4, 0), (0.4, 0), "diverged"], "0.02"),
        ([(0.4, 0), (0.4, 0), "failed"], "≥ 0.02"),
    ],
)
def test_largest_rate_that_trains_has_half_the_best_accuracy_in_every_seed(top, largest):
    write(0.005, [(0.3, 0)] * 3)
    write(0.02, [(0.4, 0)] * 3)
    write(0.08, top)
    assert chosen().value == "0.02"
    assert chosen().largest == largest


def test_cell_at_which_no_rate_can_be_chosen_is_shown_as_such(capsys):
    for rate in (0.01, 0.02):
        write(rate, [(0.3, 0.3), "diverged", (0.4, 0.4)], "none")
        write(rate, [(rate, 0.3), (rate, 0.4), (0.4, 0.4)], "batch")
    out = compared(capsys, "--rows", "norm", "--best", RATE, "--against", "batch")[1]
    row = next(line for line in out.splitlines() if line.startswith("none"))
    assert row.split() == ["none", "no", "choice"]
    assert "no choice: at no value are all seeds of the cell done" in out
    assert f"no {RATE} could be chosen here" in out
    records = cells(capsys, "--best", RATE)
    assert [(one["n"], one["chosen_value"]) for one in records] == [("3", "0.02"), ("0", "")]


def test_differences_pair_the_seeds_of_each_cells_own_best_rate(capsys):
    batch = {0.01: [(0.5, 0.61), (0.5, 0.64), (0.6, 0.60)], 0.02: [(0.1, 0.9)] * 3}
    other = {
        "none": {0.01: [(0.1, 0.9)] * 3, 0.02: [(0.5, 0.41), (0.4, 0.42), (0.4, 0.48)]},
        "layer": {0.01: [(0.4, 0.55), (0.5, 0.56), (0.6, 0.53)], 0.02: [(0.3, 0.9)] * 3},
    }
    for norm, rates in {"batch": batch, **other}.items():
        for rate, outcomes in rates.items():
            write(rate, outcomes, norm)
    base = np.array([0.61, 0.64, 0.60])
    at_best = {"layer": np.array([0.55, 0.56, 0.53]), "none": np.array([0.41, 0.42, 0.48])}
    p_values = [stats.ttest_rel(values, base).pvalue for values in at_best.values()]
    smaller = 2 * min(p_values)
    corrected = [max(p, smaller) for p in p_values]  # Holm of two: the larger is taken as it is
    records = cells(capsys, "--best", RATE, "--against", "batch")
    assert [record["norm"] for record in records] == list(at_best)
    for record, values, p, p_holm in zip(
        records, at_best.values(), p_values, corrected, strict=True
    ):
        differences = values - base
        half = stats.t.ppf(0.975, 2) * differences.std(ddof=1) / np.sqrt(3)
        assert float(record["difference"]) == pytest.approx(differences.mean())
        assert float(record["low"]) == pytest.approx(differences.mean() - half)
        assert float(record["high"]) == pytest.approx(differences.mean() + half)
        assert float(record["p"]) == pytest.approx(p)
        assert float(record["p_holm"]) == pytest.approx(p_holm)
        assert record["baseline_chosen_value"] == "0.01"
    assert [record["chosen_value"] for record in records] == ["0.01", "0.02"]


def test_cells_that_chose_among_different_rates_are_called_unfair(capsys):
    for norm in ("batch", "none"):
        write(0.01, [(0.5, 0.5)] * 3, norm)
        write(0.02, [(0.4, 0.5)] * 3, norm)
    assert compared(capsys, "--best", RATE)[2] == ""
    write(0.04, [(0.3, 0.3)] * 3, "none")
    assert compared(capsys, "--best", RATE)[2] == (
        f"nnexp: not a fair comparison: {RATE} was chosen among different values: "
        "0.01, 0.02 in 1 cell; 0.01, 0.02, 0.04 in 1 cell\n"
    )


def test_legend_says_how_it_was_chosen_and_that_the_judge_flatters_itself(capsys):
    write(0.01, [(0.5, 0.5), (0.51, 0.5)])
    write(0.02, [(0.49, 0.5), (0.53, 0.5)])
    out = compared(capsys, "--best", RATE)[1]
    assert "the highest mean val_accuracy among the values of optimizer.learning_rate" in out
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
