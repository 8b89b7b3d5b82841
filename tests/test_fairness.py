import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from results import compared, settings, write_run

from nnexp.compare import read_rows
from nnexp.compare.comparison import Question, make_comparison
from nnexp.report import write_report
from nnexp.rundir import ENVIRONMENT, write_results_view
from nnexp.settings import ModelConfig, NormConfig, OptimizerConfig, ScheduleConfig

UNFAIR = "not a fair comparison: "
MADE_WITH = {
    "commit": "a" * 40,
    "dirty": False,
    "threads": 2,
    "cuda": None,
    "cudnn": None,
    "memory_format": "nchw",
    "step": "eager",
    "numpy": "2.4.0",
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str = "batch", seeds: int = 2, folder: str = "runs", **changes: Any) -> None:
    """Write a finished run a seed; `made_with` is where it differs from MADE_WITH."""
    environment = {**MADE_WITH, **changes.pop("made_with", {})}
    figures = {"val_accuracy": 0.5, **changes.pop("figures", {})}
    for seed in range(seeds):
        config = replace(settings(name, seed=seed), **changes)
        write_run(Path(folder), config, 0.5 + seed / 100, environment=environment, **figures)


def warned(sources: Any = (), **asked: Any) -> list[str]:
    """Return the warnings, each without what all of them begin with."""
    rows = read_rows(sources or ["runs"])
    warnings = make_comparison(rows, Question(**asked)).warnings
    return [warning.removeprefix(UNFAIR) for warning in warnings]


SETTINGS = {
    "optimizer.learning_rate": ({"optimizer": OptimizerConfig(learning_rate=0.1)}, "0.02", "0.1"),
    "optimizer.weight_decay": ({"optimizer": OptimizerConfig(weight_decay=0.0)}, "0.0005", "0.0"),
    "optimizer.name": ({"optimizer": OptimizerConfig(name="adamw")}, "sgd", "adamw"),
    "optimizer.clip_norm": ({"optimizer": OptimizerConfig(clip_norm=1.0)}, "null", "1.0"),
    "schedule.name": ({"schedule": ScheduleConfig(name="constant")}, "cosine", "constant"),
    "schedule.warmup": ({"schedule": ScheduleConfig(warmup=0.0)}, "0.1", "0.0"),
    "model.width": ({"model": ModelConfig(width=0.5)}, "1.0", "0.5"),
    "model.dropout": ({"model": ModelConfig(dropout=0.5)}, "0.0", "0.5"),
    "init": ({"init": "torch"}, "he", "torch"),
    "epochs": ({"epochs": 9}, "3", "9"),
    "precision": ({"precision": "bf16"}, "fp32", "bf16"),
    "norm.eps": ({"norm": NormConfig(name="layer", eps=0.1)}, "1e-05", "0.1"),
}


@pytest.mark.parametrize("rows", [["norm"], []])
@pytest.mark.parametrize("key", SETTINGS)
def test_setting_that_differs_along_with_the_norm_is_a_warning(key, rows):
    changes, usual, other = SETTINGS[key]
    write("batch")
    write("layer", **changes)
    line = f"{key} differs: "
    (warning,) = warned(rows=rows)
    assert warning.startswith(line)
    values = warning.removeprefix(line).split(", ")
    assert sorted(values) == sorted([f"{usual} in 2 runs", f"{other} in 2 runs"])
    assert warned(rows=["norm", key]) == []


def test_settings_that_were_swept_together_are_the_question_and_no_warning():
    for norm in ("batch", "layer"):
        for rate in (0.02, 0.1):
            write(norm, optimizer=OptimizerConfig(learning_rate=rate))
    assert warned() == []
    assert warned(rows=["norm"], columns=["optimizer.learning_rate"], against="batch") == []
    assert warned(rows=["norm"], against="batch") == []  # a table for each rate
    assert warned(rows=["norm"], best="optimizer.learning_rate") == []


def test_what_the_norm_implies_is_named_as_implied_and_no_warning(capsys):
    write("batch")
    write("group", norm=NormConfig(name="group", num_groups=8))
    _, out, err = compared(capsys, "--rows", "norm", "--against", "batch")
    assert err == ""
    assert "implied by the rows and columns: norm.num_groups (8, null)" in out


def test_setting_that_is_a_warning_is_not_called_implied_too(capsys):
    write("batch")
    write("layer", init="torch")
    _, out, err = compared(capsys, "--rows", "norm")
    assert "init differs" in err
    assert "implied" not in out


def test_what_the_optimizer_brings_with_it_is_implied_where_optimizers_are_compared():
    write(optimizer=OptimizerConfig())
    write(optimizer=OptimizerConfig(name="adamw", learning_rate=0.001, weight_decay=0.05))
    assert warned(against="optimizer.name=sgd") == []
    assert warned(rows=["optimizer.name"]) == []


def test_setting_of_the_baseline_is_the_question_and_what_goes_with_it_is_not():
    write("batch")
    write("layer", init="torch")
    assert warned(against="init=he") == ["norm differs: batch in 2 runs, layer in 2 runs"]
    assert warned(against="norm=batch") == ["init differs: he in 2 runs, torch in 2 runs"]


def test_what_differs_between_columns_alone_is_compared_nowhere():
    for norm in ("batch", "layer"):
        write(norm, batch_size=8, optimizer=OptimizerConfig(learning_rate=0.01))
        write(norm, batch_size=32, made_with={"device": "NVIDIA H100"})
    assert warned(rows=["norm"], columns=["batch_size"]) == []


@pytest.mark.parametrize("name", [name for name in ENVIRONMENT if name not in ("commit", "dirty")])
def test_other_environment_is_a_warning_and_an_unknown_one_is_named_as_unknown(name):
    known = {"cudnn": 91002, "threads": 4}.get(name, "other")
    write("batch")
    write("layer", made_with={name: known})
    (warning,) = warned(rows=["norm"])
    assert warning.startswith(f"environment.{name} differs: ")
    assert f"{known} in 2 runs" in warning
    write("group", made_with={name: None})
    warning, *others = warned(rows=["norm"])
    said = {"cuda": "none in 4 runs", "cudnn": "none in 4 runs", "step": "eager in 4 runs"}
    assert said.get(name, "unknown in 2 runs") in warning
    # Without a version of torch it is not known either that this had no CUDA.
    assert len(others) == 2 * (name == "torch")


def test_environment_that_is_unknown_in_every_run_differs_in_none():
    write("batch", made_with={"commit": None, "dirty": None})
    write("layer", made_with={"commit": None, "dirty": None})
    assert warned(rows=["norm"]) == []


def test_other_commits_and_uncommitted_changes_are_one_warning_with_what_to_do(capsys):
    for norm in ("batch", "layer"):
        write(norm, batch_size=8, made_with={"dirty": True})
        write(norm, batch_size=8, seeds=3, folder="more", made_with={"commit": "b" * 40})
        write(norm, batch_size=32, made_with={"commit": "b" * 40})
        write(norm, batch_size=32, seeds=3, folder="more", made_with={"commit": None})
    _, _, err = compared(
        capsys, "runs", "more", "--rows", "norm", "--cols", "batch_size", "--metric",
        "test_accuracy,steps",
    )  # fmt: skip
    assert [line for line in err.splitlines() if "commit differs" in line] == [
        "nnexp: not a fair comparison: commit differs: "
        "aaaaaaa with uncommitted changes in 4 runs, bbbbbbb in 6 runs, unknown in 2 runs; "
        "if git diff aaaaaaa bbbbbbb touches training, "
        "train these runs again with --rerun and one commit"
    ]


def test_results_without_any_environment_are_one_warning_not_one_a_key():
    write("batch")
    write("layer")
    table = pd.read_csv(write_results_view(Path("runs")))
    table[[key for key in table if not key.startswith("environment.")]].to_csv("old.csv")
    (warning,) = warned(["old.csv"], rows=["norm"])
    assert warning.startswith("not known to be a fair comparison: 4 of 4 runs (old.csv) do not say")
    assert "with which versions" in warning


def test_results_of_another_machine_without_an_environment_differ_from_known_ones():
    write("batch")
    write("layer", folder="there")
    view = write_results_view(Path("there"))
    assert warned(["runs", view], rows=["norm"]) == []
    table = pd.read_csv(view)
    table[[key for key in table if not key.startswith("environment.")]].to_csv("old.csv")
    (warning,) = warned(["runs", "old.csv"], rows=["norm"])
    assert "2 of 4 runs (old.csv) do not say" in warning


def test_results_csv_of_another_machine_warns_as_its_folders_would():
    write("batch")
    write("layer", folder="there", made_with={"device": "NVIDIA H100", "cuda": "12.8"})
    view = write_results_view(Path("there"))
    by_view, by_folder = (warned(["runs", one], rows=["norm"]) for one in (view, "there"))
    assert by_view == by_folder
    assert [line.partition(":")[0] for line in by_view] == [
        "environment.device differs",
        "environment.cuda differs",
    ]


def test_run_that_was_resumed_in_another_environment_is_a_warning():
    write("batch")
    write("layer", figures={"environments": 2})
    assert warned(rows=["norm"]) == ["2 runs resumed in another environment than at the start"]


def test_line_of_very_many_values_is_short():
    for number in range(12):
        write("batch", 1, batch_size=number + 1, made_with={"numpy": f"{number}.0"})
    (warning,) = warned()
    assert warning.startswith("environment.numpy differs: 0.0 in 1 run, 1.0 in 1 run, ")
    assert warning.endswith(", 8 more")


def test_run_that_did_not_end_makes_nothing_unfair():
    write("batch")
    write_run(Path("runs"), settings("layer", epochs=9), status="failed")
    write_run(Path("runs"), settings("group", epochs=9), status="interrupted")
    assert warned(rows=["norm"]) == []


def test_warnings_stand_in_terminal_json_and_report_each_once(capsys):
    write("batch", figures={"test_loss": 1.0})
    write("layer", optimizer=OptimizerConfig(weight_decay=0.0), figures={"test_loss": 2.0})
    line = f"{UNFAIR}optimizer.weight_decay differs: 0.0 in 2 runs, 0.0005 in 2 runs"
    words = ("--rows", "norm", "--metric", "test_accuracy,test_loss")
    assert compared(capsys, *words)[2] == f"nnexp: {line}\n"
    content = json.loads(compared(capsys, "--rows", "norm", "--json")[1])
    assert content["warnings"] == [line]
    page = write_report("page.html", "runs", rows=["norm"]).read_text()
    assert page.count(line) == 1
