import csv
import json
import subprocess
import sys
from cProfile import Profile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from results import (
    BATCH,
    GROUP,
    LAYER,
    cells,
    compared,
    settings,
    write_epochs,
    write_run,
    write_seeds,
)

import nnexp
from nnexp.compare import read_rows
from nnexp.compare.columns import blocks
from nnexp.compare.comparison import Question, make_comparison
from nnexp.compare.formats import escape_latex
from nnexp.compare.grid import lay_out, make_grids
from nnexp.compare.metrics import metric_of
from nnexp.compare.selection import filter_rows
from nnexp.figures.lines import quantity_label
from nnexp.rundir import read_json
from nnexp.settings import (
    ConfigError,
    ModelConfig,
    NormConfig,
    OptimizerConfig,
    result_head,
)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_cell_is_mean_and_sample_deviation_over_the_seeds(capsys):
    write_seeds(Path("runs"), BATCH, "batch")
    (cell,) = cells(capsys)
    assert float(cell["mean"]) == np.mean(list(BATCH.values()))
    assert float(cell["standard_deviation"]) == np.std(list(BATCH.values()), ddof=1)
    assert cell["n"] == "4"
    assert "82.00 ± 2.16 (4)" in compared(capsys)[1]


def test_one_seed_has_no_deviation_and_the_table_says_so(capsys):
    write_seeds(Path("runs"), {0: 0.5}, "batch")
    out = compared(capsys)[1]
    assert "50.00 (1)" in out
    assert "±" not in out.splitlines()[2]
    assert "one seed" in out
    assert cells(capsys)[0]["standard_deviation"] == ""


def test_rows_are_all_that_varies_except_the_seed():
    write_seeds(Path("runs"), BATCH, "batch", batch_size=8)
    write_seeds(Path("runs"), LAYER, "layer", batch_size=8, threads=3, tags=["x"])
    write_seeds(Path("runs"), GROUP, "group", batch_size=32)
    answer = make_comparison(read_rows(), Question())
    (grid,) = answer.grids
    assert grid.row_keys == ["norm", "batch_size"]
    assert grid.rows == [("batch", "8"), ("group", "32"), ("layer", "8")]


def test_settings_equal_to_six_digits_are_two_groups():
    for rate in (0.0123456789, 0.0123456788):
        config = settings(optimizer=OptimizerConfig(learning_rate=rate))
        write_run(Path("runs"), config, rate)
    (grid,) = make_comparison(read_rows(), Question()).grids
    assert len(grid.rows) == 2


def test_what_varies_beside_rows_and_columns_makes_tables_and_is_never_averaged():
    for precision in ("fp32", "bf16"):
        write_seeds(Path("runs"), BATCH, "batch", precision=precision)
        write_seeds(Path("runs"), LAYER, "layer", precision=precision)
    rows = read_rows()
    grids = make_grids(rows, lay_out(rows, ["norm"], []), "test_accuracy")
    assert [grid.layer for grid in grids] == [{"precision": "bf16"}, {"precision": "fp32"}]
    assert all(len(cell.values) == 4 for grid in grids for cell in grid.cells.values())


def test_setting_that_the_norm_tells_makes_no_column_and_is_named(capsys):
    write_seeds(Path("runs"), BATCH, "batch")
    for seed, accuracy in GROUP.items():
        norm = NormConfig(name="group", num_groups=8)
        write_run(Path("runs"), replace(settings(seed=seed), norm=norm), accuracy)
    for words in ([], ["--rows", "norm"]):
        out = compared(capsys, *words)[1]
        assert "norm.num_groups" not in out.splitlines()[1]
        assert "implied by the rows and columns: norm.num_groups (8, null)" in out


def test_columns_are_in_the_order_of_numbers():
    for size in (128, 2, 32):
        write_seeds(Path("runs"), {0: 0.5}, "batch", batch_size=size)
    question = Question(rows=["norm"], columns=["batch_size"])
    assert make_comparison(read_rows(), question).grids[0].columns == [("2",), ("32",), ("128",)]


def test_missing_failed_and_diverged_runs_are_shown_in_their_cells(capsys):
    write_run(Path("runs"), settings("none", batch_size=2), 0.5)
    for seed in (1, 2):
        write_run(Path("runs"), settings("none", batch_size=2, seed=seed), status="diverged")
    write_run(Path("runs"), settings("batch", batch_size=2), status="failed")
    write_run(Path("runs"), settings("batch", batch_size=8), 0.6)
    out = compared(capsys, "--rows", "norm", "--cols", "batch_size")[1].splitlines()
    assert out[2].split() == ["batch", "1", "of", "1", "failed", "60.00", "(1)"]
    assert out[3].split() == ["none", "50.00", "(1),", "2", "of", "3", "diverged", "–"]


@pytest.mark.parametrize(("metric", "best"), [("test_accuracy", "batch"), ("test_loss", "layer")])
def test_best_is_the_highest_accuracy_or_the_lowest_loss(metric, best, capsys):
    for seed in (0, 1):
        write_run(Path("runs"), settings("batch", seed=seed), 0.9 + seed / 50, test_loss=0.8)
        write_run(Path("runs"), settings("layer", seed=seed), 0.8 + seed / 50, test_loss=0.1)
    marks = {cell["norm"]: cell["mark"] for cell in cells(capsys, "--metric", metric)}
    assert [norm for norm, mark in marks.items() if mark == "best"] == [best]


def test_survivors_of_divergence_do_not_compete_for_best(capsys):
    write_seeds(Path("runs"), {0: 0.99}, "none")
    write_run(Path("runs"), settings("none", seed=1), status="diverged")
    write_seeds(Path("runs"), {0: 0.5, 1: 0.51}, "batch")
    write_seeds(Path("runs"), {0: 0.3, 1: 0.31}, "layer")
    marks = {cell["norm"]: cell["mark"] for cell in cells(capsys)}
    assert (marks["batch"], marks["none"]) == ("best", "")


def test_one_seed_is_never_marked_as_the_best(capsys):
    write_seeds(Path("runs"), {0: 0.99}, "none")
    write_seeds(Path("runs"), {0: 0.5, 1: 0.51}, "batch")
    write_seeds(Path("runs"), {0: 0.3, 1: 0.31}, "layer")
    marks = {cell["norm"]: cell["mark"] for cell in cells(capsys)}
    assert (marks["batch"], marks["none"]) == ("best", "")
    assert "its noise is unknown, so it is neither marked nor compared" in compared(capsys)[1]


def test_cell_not_shown_to_differ_from_the_best_is_marked_and_a_clearly_worse_one_is_not(capsys):
    write_seeds(Path("runs"), BATCH, "batch")
    write_seeds(Path("runs"), GROUP, "group")
    write_seeds(Path("runs"), {s: a - 0.3 for s, a in LAYER.items()}, "layer")
    marks = {cell["norm"]: cell["mark"] for cell in cells(capsys)}
    assert marks == {"batch": "best", "group": "not shown to differ from the best", "layer": ""}
    assert "* 82.00" in compared(capsys)[1]
    assert "≈ 81.75" in compared(capsys)[1]


def test_two_runs_of_a_seed_that_differ_in_nothing_known_are_refused_not_lost():
    run = write_run(Path("runs"), settings(), 0.5)
    other = read_json(run.result) | {"run_id": "newer", "norm.unheard": "of"}
    Path("runs/newer").mkdir()
    Path("runs/newer/result.json").write_text(json.dumps(other))
    with pytest.raises(ConfigError, match="and another run of its seed differ in nothing"):
        make_comparison(read_rows(), Question())


def test_where_keeps_the_runs_that_have_one_of_the_values(capsys):
    for norm in ("batch", "layer", "none"):
        write_seeds(Path("runs"), {0: 0.5, 1: 0.6}, norm, batch_size=8)
        write_seeds(Path("runs"), {0: 0.5}, norm, batch_size=32, tags=["big", "x"])
    kept = cells(capsys, "--where", "norm=batch,none", "--where", "batch_size=8")
    assert [(cell["norm"], cell["n"]) for cell in kept] == [("batch", "2"), ("none", "2")]
    assert len(cells(capsys, "--where", "tags=big")) == 3
    assert len(cells(capsys, "--where", "optimizer.learning_rate=2e-2")) == 6
    assert len(cells(capsys, "--where", "seed=1")) == 3
    assert len(cells(capsys, "--where", "batch_size=32.0")) == 3


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("norm!=none", ["batch", "batch a", "batch ab", "layer"]),
        ("norm!=none,layer", ["batch", "batch a", "batch ab"]),
        ("norm.at.a=layer", ["batch a", "batch ab"]),
        ("norm.at.b=none", ["batch ab"]),
        ("norm.at.a!=layer", ["batch", "layer", "none"]),
        ("norm.at={}", ["batch", "layer", "none"]),
        ("norm.at!={}", ["batch a", "batch ab"]),
        ("norm.at={a:layer}", ["batch a"]),
        ("norm.at={b: none, a: layer}", ["batch ab"]),
        ("norm.at={},{a: layer, b: none}", ["batch", "batch ab", "layer", "none"]),
    ],
)
def test_where_excludes_and_looks_into_blocks(condition, kept):
    for norm in ("batch", "layer", "none"):
        write_run(Path("runs"), settings(norm), 0.5)
    for at in ({"a": "layer"}, {"a": "layer", "b": "none"}):
        norm = NormConfig(name="batch", at=at)
        write_run(Path("runs"), replace(settings(), norm=norm), 0.5)
    rows = filter_rows(read_rows(), [condition])
    names = sorted(f"{row['norm']} {''.join(sorted(blocks(row['norm.at'])))}" for row in rows)
    assert [name.strip() for name in names] == kept


def test_blocks_in_another_order_are_one_cell_and_none_goes_first(capsys):
    for seed, at in enumerate(({"a": "layer", "b": "none"}, {"b": "none", "a": "layer"}, {})):
        norm = NormConfig(name="batch", at=at)
        write_run(Path("runs"), replace(settings(seed=seed), norm=norm), 0.5)
    found = [(one["norm.at"], one["n"]) for one in cells(capsys)]
    assert found == [("{}", "1"), ("{a: layer, b: none}", "2")]


@pytest.mark.parametrize(
    ("words", "problem", "remedy"),
    [
        (["--where", "norm!=btach"], "no run has norm=btach", "did you mean norm=batch"),
        (["--where", "norm.at.a=layer"], "no run has norm.at.a=layer", "norm.at.a: in no run"),
        (["--where", "norm!=batch,layer"], "no run meets every --where", "leave one out"),
        (["--where", "nrm=batch"], "no setting 'nrm'", "did you mean norm"),
        (["--where", "lr=1"], "no setting 'lr'", "did you mean optimizer.learning_rate"),
        (["--where", "norm=btach"], "no run has norm=btach", "did you mean norm=batch"),
        (["--where", "norm"], "--where cannot be 'norm'", "it is written norm="),
        (["--rows", "modle"], "no setting 'modle'", "did you mean model"),
        (["--rows", "norm", "--cols", "norm"], "norm is named twice", "name it once"),
        (["--metric", "test_acuracy"], "no metric 'test_acuracy'", "did you mean test_accuracy"),
        (["--sort", "batch_size"], "the rows cannot be sorted by batch_size", "--sort takes norm"),
        (["norm=batch"], "no runs at norm=batch", "a condition is written --where norm=batch"),
        (["--md", "--csv"], "--csv and --md are both wanted", "ask for one form"),
    ],
)
def test_wrong_word_is_answered_in_two_lines(words, problem, remedy, capsys):
    write_seeds(Path("runs"), {0: 0.5}, "batch")
    write_seeds(Path("runs"), {0: 0.6}, "layer")
    code, out, err = compared(capsys, *words)
    assert (code, out) == (2, "")
    first, second = err.splitlines()
    assert first.startswith(f"nnexp: {problem}")
    assert second.strip().startswith(remedy)


def test_rows_are_sorted_by_a_setting_or_by_the_metric_best_first(capsys):
    write_seeds(Path("runs"), {0: 0.5}, "batch")
    write_seeds(Path("runs"), {0: 0.7}, "none")
    write_seeds(Path("runs"), {0: 0.6}, "layer")
    write_run(Path("runs"), settings("group"), status="failed")

    def order(*words: str) -> list[str]:
        return [cell["norm"] for cell in cells(capsys, *words)]

    assert order() == ["batch", "group", "layer", "none"]
    assert order("--sort", "-norm") == ["none", "layer", "group", "batch"]
    assert order("--sort", "test_accuracy") == ["none", "layer", "batch", "group"]
    assert order("--sort", "-test_accuracy") == ["batch", "layer", "none", "group"]


def test_what_does_not_vary_is_shown_when_asked_for(capsys):
    write_seeds(Path("runs"), {0: 0.5}, "batch")
    write_seeds(Path("runs"), {0: 0.5}, "layer")
    assert "optimizer" not in compared(capsys)[1]
    assert "optimizer.name=sgd" in compared(capsys, "--all")[1]
    assert cells(capsys, "--all")[0]["epochs"] == "3"


def test_unfair_comparison_is_said_with_the_values_unless_it_is_an_axis(capsys):
    write_seeds(Path("runs"), {0: 0.5, 1: 0.6}, "batch")
    write_seeds(Path("runs"), {0: 0.5}, "layer", epochs=9)
    assert (
        compared(capsys)[2]
        == "nnexp: not a fair comparison: epochs differs: 3 in 2 runs, 9 in 1 run\n"
    )
    assert compared(capsys, "--rows", "norm,epochs")[2] == ""
    assert compared(capsys, "--where", "epochs=3")[2] == ""


def test_unequal_steps_at_one_batch_size_are_said_and_between_batch_sizes_not(capsys):
    write_run(Path("runs"), settings("batch"), 0.5, steps=24)
    write_run(Path("runs"), settings("batch", batch_size=8), 0.5, steps=99)
    assert compared(capsys)[2] == ""
    write_run(Path("runs"), settings("layer"), 0.5, steps=25)
    assert (
        "the number of steps at batch_size=128 differs: 24 in 1 run, 25 in 1 run"
        in compared(capsys)[2]
    )


def test_markdown_has_a_table_with_the_best_in_bold(capsys):
    write_seeds(Path("runs"), BATCH, "batch")
    write_seeds(Path("runs"), {0: 0.1, 1: 0.11, 2: 0.1}, "layer_chw")
    lines = compared(capsys, "--md")[1].splitlines()
    assert lines[2:6] == [
        r"| norm | test\_accuracy % |",
        "| --- | ---: |",
        "| batch | **82.00 ± 2.16 (4)** |",
        r"| layer\_chw | 10.33 ± 0.58 (3) |",
    ]
    assert "- bold: the highest mean of its column" in lines


def test_latex_is_escaped_with_the_best_in_bold(capsys):
    write_seeds(Path("runs"), BATCH, "batch")
    write_seeds(Path("runs"), {0: 0.1, 1: 0.11, 2: 0.1}, "layer_chw")
    out = compared(capsys, "--tex", "--against", "batch")[1]
    (difference,) = cells(capsys, "--against", "batch")
    low, high = (f"$-${-100 * float(difference[end]):.2f}" for end in ("low", "high"))
    assert r"norm & mean & baseline & difference, 95 \% CI & p \\" in out
    assert r"norm & test\_accuracy \% \\" in out
    assert "\n% bold: the highest mean of its column\n" in out
    assert r"batch & \textbf{82.00 $\pm$ 2.16 (4)} \\" in out
    assert r"layer\_chw & 10.33 $\pm$ 0.58 (3) \\" in out
    assert rf"& 82.00 & \textbf{{$-$71.67 ({low} to {high})}} &" in out
    assert out.count(r"\begin{tabular}") == out.count(r"\end{tabular}") == 2
    assert escape_latex("50% of {a_b} & $x^2$ \\ #~") == (
        r"50\% of \{a\_b\} \& \$x\textasciicircum{}2\$ \textbackslash{} \#\textasciitilde{}"
    )


def test_json_and_csv_hold_the_exact_values(capsys):
    write_seeds(Path("runs"), {0: 1 / 3, 1: 0.1 + 0.2}, "batch")
    write_seeds(Path("runs"), {0: 0.9, 1: 0.7}, "layer")
    content = json.loads(compared(capsys, "--json", "--against", "batch")[1])
    assert content["cells"][0]["seeds"] == {"0": 1 / 3, "1": 0.1 + 0.2}
    assert content["cells"][0]["mean"] == np.mean([1 / 3, 0.1 + 0.2])
    assert content["judged_by"][0]["degrees_of_freedom"] == 2
    assert float(cells(capsys)[0]["mean"]) == content["cells"][0]["mean"]
    difference = np.mean([0.9, 0.7]) - np.mean([1 / 3, 0.1 + 0.2])
    assert content["comparisons"][0]["difference"] == difference


def test_csv_of_differences_has_the_columns_of_all_its_rows(capsys):
    for size in (8, 32):
        write_seeds(Path("runs"), BATCH, "batch", batch_size=size)
        write_seeds(Path("runs"), LAYER, "layer", batch_size=size)
    single, other, average = cells(
        capsys, "--rows", "norm", "--cols", "batch_size", "--against", "batch"
    )
    assert [row["batch_size"] for row in (single, other, average)] == ["8", "32", ""]
    assert average["over"] == "average over batch_size"


def test_comparing_imports_neither_torch_nor_pandas():
    write_seeds(Path("runs"), BATCH, "batch")
    write_seeds(Path("runs"), LAYER, "layer")
    command = [sys.executable, "-X", "importtime", "-m", "nnexp", "compare"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "nnexp.cli.compare_page" in modules
    assert not modules & {"torch", "pandas", "scipy.stats", "matplotlib", "hydra"}


def test_a_thousand_runs_are_read_and_compared_in_two_million_calls():
    """Calls are counted, because they are the same on every machine: some millions in a second."""
    base = settings()
    run = write_run(Path("runs"), base, 0.5)
    result = read_json(run.result)
    for number in range(1000):
        folder = Path("runs") / f"run{number}"
        folder.mkdir()
        figures = {"run_id": folder.name, "batch_size": number // 4 + 1000, "seed": number % 4}
        (folder / "result.json").write_text(json.dumps({**result, **figures}))
        (folder / "environment.json").write_text(run.environment.read_text())
    with Profile() as profile:
        assert make_comparison(read_rows(), Question()).runs == 1001
    assert sum(entry.callcount for entry in profile.getstats()) < 2_000_000


def test_ten_thousand_rows_of_a_table_are_read_and_compared_in_five_million_calls():
    head = result_head(settings(), "done")
    with Path("results.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, [*head, "test_accuracy"])
        table.writeheader()
        for number in range(10_000):
            row = {"run_id": f"run{number}", "batch_size": number // 100 + 1, "seed": number % 100}
            table.writerow({**head, **row, "test_accuracy": 0.5 + (0.618 * number % 1) / 10})
    with Profile() as profile:
        assert make_comparison(read_rows(["results.csv"]), Question()).runs == 10_000
    assert sum(entry.callcount for entry in profile.getstats()) < 5_000_000


def test_several_metrics_stand_side_by_side_and_each_has_its_own_correction(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for norm, shift in (("batch", 0.5), ("none", 0.1)):
        for seed in (0, 1, 2):
            figures = {"covariate_shift": shift + seed / 50, "test_loss": 1.0 + seed * shift}
            write_run(Path("runs"), settings(norm, seed=seed), 0.8 - shift / 9, **figures)
    words = ("--rows", "norm", "--metric", "test_accuracy,covariate_shift")
    _, out, _ = compared(capsys, *words, "--md")
    assert "| norm | test\\_accuracy % | covariate\\_shift |" in out
    assert "| none | 78.89 ± 0.00 (3) | 0.1200 ± 0.0200 (3) |" in out.replace("**", "")
    assert "mean covariate\\_shift" not in out  # neither more nor less of it is better
    both = json.loads(compared(capsys, *words, "--json")[1])
    assert [one["metric"] for one in both] == ["test_accuracy", "covariate_shift"]
    rows = cells(capsys, "--rows", "norm", "--metric", "test_loss,covariate_shift")
    assert [(row["norm"], row["metric"]) for row in rows] == [
        (norm, metric) for metric in ("test_loss", "covariate_shift") for norm in ("batch", "none")
    ]
    assert float(rows[2]["mean"]) == pytest.approx(0.52)
    wide = compared(capsys, *words, "--cols", "seed")
    assert wide[0] == 0


def test_small_figures_have_as_many_decimals_as_their_spread_needs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for seed, drift in enumerate((0.00138, 0.00162, 0.00114)):
        write_run(Path("runs"), settings("batch", seed=seed), 0.8, activation_drift=drift)
    _, out, _ = compared(capsys, "--rows", "norm", "--metric", "activation_drift", "--md")
    assert "| batch | 0.00138 ± 0.00024 (3) |" in out


def test_gap_between_accuracies_is_in_points_and_what_rounds_to_zero_has_no_minus():
    assert metric_of("population_gap").heading == "population_gap (points)"
    assert quantity_label("population_gap") == "population gap (points)"
    for name, zero in (("test_accuracy", "0.00"), ("seconds", "0.0"), ("test_loss", "0")):
        assert metric_of(name).text(-1e-9 if zero != "0" else -0.0, signed=True) == f"+{zero}"
        assert metric_of(name).text(-1e-9 if zero != "0" else -0.0) == zero
    assert metric_of("test_accuracy").interval(-0.03, -1e-9) == "(-3.00 to -0.00)"  # below 0


def test_baseline_that_is_a_value_of_another_row_is_found(capsys):
    for model in ("vgg16", "baseline"):
        for norm, accuracy in (("batch", 0.8), ("none", 0.7)):
            changed = settings(norm, model=ModelConfig(name=model))
            write_run(Path("runs"), changed, accuracy)
    code, _, err = compared(capsys, "--rows", "model,norm", "--against", "batch")
    assert code == 2
    assert err.splitlines() == ["nnexp: no run has model=batch", "       did you mean norm=batch"]


def test_norm_of_a_plugin_is_compared_with_a_baseline_and_each_of_its_texts_by_itself(capsys):
    code = {"norm.mine": "mine.py sha256:11"}
    write_seeds(Path("runs"), BATCH, "batch")
    write_seeds(Path("runs"), LAYER, "mine", code=code)
    comparison = nnexp.compare_runs("runs", rows=["norm"], against="batch")
    (difference,) = comparison.differences_frame().to_dict("records")
    assert difference["difference"] == pytest.approx(-0.03)
    assert "code" not in comparison.same
    assert not comparison.warnings
    assert "sha256" not in compared(capsys, "--rows", "norm,batch_size", "--against", "batch")[1]

    write_seeds(Path("runs"), GROUP, "mine", code={"norm.mine": "mine.py sha256:22"})
    edited = nnexp.compare_runs("runs", rows=["norm"], against="batch").differences_frame()
    assert sorted(edited["difference"]) == pytest.approx([-0.03, -0.0025])
    assert sorted(edited["code"]) == [f"{{norm.mine: mine.py sha256:{n}}}" for n in (11, 22)]


def test_frames_hold_cells_and_differences_and_the_tables_of_a_run():
    write_seeds(Path("runs"), BATCH, "batch")
    write_seeds(Path("runs"), LAYER, "layer")
    comparison = nnexp.compare_runs("runs", rows=["norm"], against="batch")
    assert repr(comparison).startswith("Comparison(test_accuracy of 8 runs")
    cells_frame = comparison.frame().set_index("norm")
    assert cells_frame.loc["batch", "mean"] == pytest.approx(0.82)
    assert list(cells_frame["n"]) == [4, 4]
    (difference,) = comparison.differences_frame()["difference"]
    assert difference == pytest.approx(np.mean([LAYER[seed] - BATCH[seed] for seed in BATCH]))
    run = nnexp.find_run(nnexp.load_runs("runs")["run_id"].iloc[0])
    write_epochs(run, "1,8,2.0,0.25", "2,16,1.5,0.5")
    assert list(nnexp.load_epochs(run)["val_accuracy"]) == [0.25, 0.5]
    assert nnexp.load_traces(run).empty
    assert nnexp.load_channels(run.path).empty


def test_a_text_alone_is_a_list_of_one():
    write_seeds(Path("runs"), BATCH, "batch")
    write_seeds(Path("runs"), LAYER, "layer")
    alone = nnexp.compare_runs("runs", rows="norm", where="norm=batch")
    listed = nnexp.compare_runs("runs", rows=["norm"], where=["norm=batch"])
    assert alone.frame().equals(listed.frame())
    assert nnexp.draw("dots", "runs", rows="norm", where="norm=batch").axes
    page = nnexp.write_report("page.html", "runs", rows="norm", warnings="seed 3 ran elsewhere")
    assert "seed 3 ran elsewhere" in page.read_text("utf-8")


@pytest.mark.parametrize(
    "part", [lambda runs: runs[["norm", "test_accuracy"]], lambda runs: runs["norm"]]
)
def test_a_table_without_the_columns_of_load_runs_is_refused(part):
    write_seeds(Path("runs"), BATCH, "batch")
    with pytest.raises(ConfigError, match="needs the column run_id") as refused:
        nnexp.compare_runs(part(nnexp.load_runs("runs")))
    assert "all columns that load_runs returned" in refused.value.remedy
