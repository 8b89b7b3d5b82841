"""`nnexp verify`: what studies expect, judged by the intervals of `nnexp compare`."""

from pathlib import Path

import numpy as np
import pytest
from results import settings, write_run, write_seeds
from test_studies import printed

from nnexp.cli.app import main
from nnexp.cli.study_plan import checked_studies, read_plan
from nnexp.compare import compare_runs, read_rows
from nnexp.compare.checks import AGREES, DISAGREES, OPEN, judge_check, read_check
from nnexp.settings import ConfigError
from nnexp.settings.compose import compose_each, expand_jobs


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def rows(tmp_path):
    """BatchNorm and group norm at three batch sizes; no norm, at chance, at one."""
    random = np.random.default_rng(3)
    means = {("batch", 2): 0.61, ("batch", 8): 0.71, ("batch", 32): 0.81}
    means |= {("group", size): 0.80 for size in (2, 8, 32)}
    for (norm, size), mean in means.items():
        seeds = dict(enumerate(mean + 0.005 * random.standard_normal(4)))
        write_seeds(tmp_path / "grid", seeds, norm, batch_size=size)
    write_seeds(tmp_path / "grid", {0: 0.1, 1: 0.101, 2: 0.099, 3: 0.1}, "none", batch_size=32)
    return read_rows([tmp_path / "grid"])


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("norm=batch is above norm=none where batch_size=32", AGREES),
        ("norm=batch is above norm=none by 60 where batch_size=32", AGREES),
        ("norm=batch is above norm=none by 80 where batch_size=32", DISAGREES),
        ("norm=batch is above norm=none by 71 where batch_size=32", OPEN),
        ("norm=none is below norm=batch by 60 where batch_size=32", AGREES),
        ("norm=none is above norm=batch where batch_size=32", DISAGREES),
        ("norm=batch is above norm=group where batch_size=32", OPEN),
        ("norm=batch is below norm=group where batch_size=32", OPEN),
        ("norm=batch is within 5 of norm=group where batch_size=32", AGREES),
        ("norm=batch is within 0.5 of norm=group where batch_size=32", OPEN),
        ("norm=batch is within 5 of norm=group where batch_size=2", DISAGREES),
        ("norm=batch is within 71 of norm=none where batch_size=32", OPEN),
        ("batch_size=2 is below batch_size=32 by 15 where norm=batch", AGREES),
        ("batch_size=2 is within 3 of batch_size=32 where norm=group", AGREES),
        ("norm=group gains on norm=batch as batch_size falls", AGREES),
        ("norm=group gains on norm=batch as batch_size rises", DISAGREES),
        ("norm=batch is 81 ± 3 where batch_size=32 (a paper)", AGREES),
        ("norm=batch is 90 ± 3 where batch_size=32", DISAGREES),
        ("norm=batch is 83 ± 2.5 where batch_size=32", OPEN),
        ("norm=none is at chance", AGREES),
        ("norm=none is above chance", DISAGREES),
        ("norm=batch is above chance", AGREES),
        ("norm=batch is at chance where batch_size=2, norm=batch", DISAGREES),
    ],
)
def test_interval_decides_whether_runs_agree(text, state, rows):
    rows = [{**row, "test_images": 10_000} for row in rows]
    if " gains " in text:
        rows = [row for row in rows if row["norm"] != "none"]
    assert judge_check(read_check(text), rows, "test_accuracy").state == state


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("norm=batch is above norm=none by 2 where batch_size=32", AGREES),
        ("norm=batch is above norm=none by 3 where batch_size=32", DISAGREES),
        ("norm=batch is 2.4 ± 0.2 where batch_size=32", AGREES),
    ],
)
def test_what_is_no_share_of_images_is_judged_in_its_own_unit(text, state, rows):
    rows = [{**row, "test_loss": 3 * row["test_accuracy"]} for row in rows]
    assert judge_check(read_check(text), rows, "test_loss").state == state


def test_measured_is_what_compare_prints(rows):
    check = read_check("norm=batch is above norm=none where batch_size=32")
    verdict = judge_check(check, rows, "test_accuracy")
    table = compare_runs(
        rows, rows=["norm"], columns=["batch_size"], against="norm=none"
    ).differences_frame()
    (one,) = table[(table["norm"] == "batch") & (table["batch_size"] == "32")].to_dict("records")
    numbers = [100 * one[name] for name in ("difference", "low", "high")]
    assert verdict.measured == "{:+.2f} points ({:+.2f} to {:+.2f})".format(*numbers)


def test_a_published_source_is_no_part_of_what_is_expected():
    check = read_check("norm=batch is 93.86 ± 0.5 where batch_size=128, seed=0 (fig. 2 (left))")
    assert (check.number, check.within) == (93.86, 0.5)
    assert check.where == ("batch_size=128", "seed=0")
    assert check.source == "fig. 2 (left)"


@pytest.mark.parametrize(
    "text",
    ["norm=batch wins", "batch is above norm=none", "norm=batch is 9", "", "norm=a is above"],
)
def test_line_of_no_form_is_refused(text):
    with pytest.raises(ConfigError, match="a check cannot be"):
        read_check(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("norm=batch is above norm=group", "about 3 comparisons of these runs, not one"),
        ("norm=none is above norm=batch where batch_size=2", "no run meets every --where"),
        ("norm=layer is above norm=none", "no run has norm=layer"),
    ],
)
def test_check_must_be_about_one_comparison(text, problem, rows):
    with pytest.raises(ConfigError, match=problem):
        judge_check(read_check(text), rows, "test_accuracy")


def test_one_seed_shows_nothing(tmp_path):
    for norm, accuracy in (("batch", 0.9), ("none", 0.1)):
        write_run(tmp_path, settings(norm), accuracy)
    rows = read_rows([tmp_path])
    for text in ("norm=batch is above norm=none", "norm=batch is 90 ± 1"):
        assert judge_check(read_check(text), rows, "test_accuracy").state == OPEN


def test_diverged_run_is_not_above_chance(tmp_path):
    write_run(tmp_path, settings("none"), status="diverged")
    check = read_check("norm=none is at chance")
    assert judge_check(check, read_rows([tmp_path]), "test_accuracy").state == AGREES


@pytest.mark.parametrize("study", checked_studies(None))
def test_every_check_of_a_study_is_about_one_comparison_of_its_runs(study, tmp_path):
    for index, config in enumerate(compose_each(expand_jobs([f"study={study}"]))):
        write_run(tmp_path, config, 0.5 + index / 1000, test_images=1000)
    plan = read_plan(study)
    for text in plan.checks:
        judge_check(read_check(text), read_rows([tmp_path]), plan.heads["metric"])


def verify(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["verify", *words])
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    ("he", "states"),
    [(0.5, "agrees agrees agrees agrees"), (0.1, "agrees disagrees agrees agrees")],
)
def test_command_judges_the_runs_that_are_there_and_exits_with_what_came_of_it(he, states, capsys):
    random = np.random.default_rng(3)
    means = {("batch", "he"): 0.7, ("batch", "torch"): 0.6, ("none", "he"): he}
    for config in compose_each(expand_jobs(["study=verify_init", "data=synthetic"])):
        mean = means.get((config.norm.name, config.init), 0.1)
        accuracy = mean + 0.004 * random.standard_normal()
        write_run(Path("runs"), config, accuracy, test_images=1000)
    disagreeing = states.count("disagrees")
    assert verify("init", "data=synthetic", "--no-training") == (1 if disagreeing else 0)
    lines = capsys.readouterr().out.splitlines()
    verdicts = [line.split()[0] for line in lines if " is at chance " in line or "above" in line]
    assert verdicts[:4] == states.split()
    assert any(line.startswith("4 checks of 12 runs: ") for line in lines)


def test_what_makes_runs_unfair_to_compare_is_said(capsys):
    for config in compose_each(expand_jobs(["study=verify_init", "data=synthetic"])):
        other = {"torch": "2.10.0"} if config.norm.name == "none" else {}
        accuracy = 0.5 + config.seed / 1000
        write_run(Path("runs"), config, accuracy, test_images=1000, environment=other)
    verify("init", "data=synthetic", "--no-training")
    err = capsys.readouterr().err
    assert "not a fair comparison" in err
    assert "2.10.0" in err


def test_without_training_all_runs_have_to_be_there(capsys):
    assert verify("init", "data=synthetic", "--no-training") == 2
    assert "12 runs of study=verify_init have no result" in capsys.readouterr().err


def test_study_that_is_trained_is_judged(capsys):
    words = ("init", "data=synthetic", "scale=smoke", "epochs=1", "seed=0,1", "model=simple_cnn")
    assert verify(*words, "data.train_images=64", "data.test_images=64") == 1
    out = capsys.readouterr().out
    assert "4 checks of 8 runs" in out
    assert "source:" in out


def test_without_a_study_all_are_listed_and_an_unknown_one_is_answered(capsys):
    out = printed(capsys, "verify")
    assert "small_batches" in out
    assert verify("nothing") == 2
    assert "no study 'nothing' with checks" in capsys.readouterr().err


@pytest.mark.parametrize("study", ["verify_init", "verify_small_batches"])
def test_page_shows_what_its_rows_say(study):
    root = Path(__file__).parent.parent / "docs"
    plan, page = read_plan(study), (root / "verifying.md").read_text("utf-8")
    rows = [row for row in read_rows([root / "results/verify-laptop.csv"]) if row["study"] == study]
    for text in plan.checks:
        verdict = judge_check(read_check(text), rows, plan.heads["metric"])
        measured = verdict.measured.partition(" per ")[0].replace("-", "−")
        assert verdict.state == AGREES
        assert measured in page
