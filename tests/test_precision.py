import shutil
from pathlib import Path

import pytest
from sweeping import TINY, swept

import nnexp
from nnexp.compare import Question, make_comparison, read_rows
from nnexp.compare.planning import MOST_SEEDS, reach_of


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def seeds_by_norm() -> dict[str, list[int]]:
    rows = read_rows(["runs"])
    norms = sorted({row["norm"] for row in rows})
    return {norm: sorted(row["seed"] for row in rows if row["norm"] == norm) for norm in norms}


ARMS = ("norm=batch,none,group", "seed=0,1,2", "epochs=1")
BATCH = ("--against", "batch", "--rows", "norm")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs of ARMS."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("NNEXP_CACHE", str(folder / "cache"))
        assert nnexp.sweep(*TINY, *ARMS).complete
    return folder / "runs"


def test_seeds_are_added_to_all_arms_alike_until_every_interval_is_narrow(trained, capsys):
    shutil.copytree(trained, "runs")
    code, _, err = swept(capsys, *ARMS, "--until-interval", "30", *BATCH)
    assert code == 0
    seeds = seeds_by_norm()
    assert seeds["batch"] == seeds["none"] == seeds["group"] == list(range(len(seeds["batch"])))
    # 20 degrees of freedom of three arms take at least 8 seeds, of which 3 are there at first
    assert len(seeds["batch"]) >= 8
    comparison = make_comparison(read_rows(["runs"]), Question(rows=["norm"], against="batch"))
    (judgement,) = comparison.judgements.values()
    assert reach_of(judgement) <= 0.3
    assert "3 seeds: the widest interval is ±" in err
    assert "narrow enough" in err.splitlines()[-1]


def test_adding_seeds_ends_at_the_budget_and_says_so(trained, capsys):
    shutil.copytree(trained, "runs")
    _, _, err = swept(capsys, *ARMS, "--until-interval", "0.1", "--most-seeds", "4", *BATCH)
    assert [len(seeds) for seeds in seeds_by_norm().values()] == [4, 4, 4]
    assert "stopped: --most-seeds 4 are trained" in err
    _, _, err = swept(capsys, *ARMS, "--until-interval", "0.1", "--hours", "0", *BATCH)
    assert "stopped: --hours 0 are over" in err
    assert [len(seeds) for seeds in seeds_by_norm().values()] == [4, 4, 4]


def test_interval_that_takes_more_seeds_than_are_searched_gets_no_estimate(trained, capsys):
    shutil.copytree(trained, "runs")
    _, _, err = swept(capsys, *ARMS, "--until-interval", "0.001", "--most-seeds", "3", *BATCH)
    assert f"; more than {MOST_SEEDS:,} seeds are needed" in err


@pytest.mark.parametrize("words", [["norm=batch", "seed=0,1"], ["norm=batch,none", "seed=0"]])
def test_one_arm_or_one_seed_is_refused_before_it_is_trained(words, capsys):
    code, _, err = swept(capsys, *words, "epochs=1", "--until-interval", "1")
    assert code == 2
    assert "nothing here can be compared" in err
    assert not Path("runs").exists()


def test_differences_without_a_spread_are_not_said_to_lack_arms_or_seeds(trained, capsys):
    shutil.copytree(trained, "runs")
    code, _, err = swept(capsys, *ARMS, "--until-interval", "1", *BATCH, "--metric", "steps")
    assert code == 2
    assert "no difference here has a spread between seeds" in err
    assert "nothing here can be compared" not in err


def test_dry_run_says_what_its_seeds_can_show_by_the_runs_that_are_done(trained, capsys):
    assert "show a true difference" not in swept(capsys, *ARMS, "-n", *BATCH)[1]
    shutil.copytree(trained, "runs")
    few = swept(capsys, *ARMS, "-n", *BATCH)[1]
    many = swept(capsys, *ARMS[::2], "seed=range(0,30)", "-n", *BATCH)[1]
    said = [text.partition("show a true difference of ")[2].split()[0] for text in (few, many)]
    assert float(said[0]) > float(said[1]) > 0
    assert "30 seeds show a true difference of" in many


def test_rerun_trains_anew_once_and_not_in_every_round(trained, capsys):
    shutil.copytree(trained, "runs")
    options = ("--until-interval", "0.1", "--most-seeds", "4", "--rerun")
    out = swept(capsys, "norm=batch,none", *ARMS[1:], *options, *BATCH)[1]
    assert sum(line.startswith("done ") for line in out.splitlines()) == 2 * 4


def test_interval_that_cannot_be_reached_is_refused_before_anything_is_trained(capsys):
    for reach in ("0", "-1", "nan"):
        code, _, err = swept(capsys, *ARMS, "--until-interval", reach, *BATCH)
        assert code == 2
        assert err
        assert not Path("runs").exists()


def test_search_has_no_cells_that_could_get_seeds_and_is_refused_before_anything_is_trained(capsys):
    code, _, err = swept(capsys, *ARMS, "hydra/sweeper=optuna", "--until-interval", "30", *BATCH)
    assert (code, len(err.splitlines())) == (2, 2)
    assert "leave out hydra/sweeper" in err
    assert not Path("runs").exists()


def test_seeds_are_added_under_another_launcher_too(trained, capsys):
    shutil.copytree(trained, "runs")
    others = ("hydra/launcher=basic", "hydra/sweeper=basic")
    options = ("--until-interval", "0.1", "--most-seeds", "4")
    code, _, err = swept(capsys, *ARMS, *others, *options, *BATCH)
    assert code == 0, err
    assert [len(seeds) for seeds in seeds_by_norm().values()] == [4, 4, 4]


def test_comparison_that_a_sweep_would_not_make_is_refused(capsys):
    code, _, err = swept(capsys, *ARMS, *BATCH)
    assert code == 2
    assert "add --until-interval or --dry-run" in err
