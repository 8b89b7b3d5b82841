from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from results import BATCH, GROUP, LAYER, cells, compared, settings, write_run, write_seeds
from scipy import stats

from nnexp.compare import read_rows
from nnexp.compare.against import compare_against
from nnexp.compare.statistics import holm, paired_test, within_noise
from nnexp.settings import NormConfig


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_paired_test_is_the_formula():
    values, base = np.array(list(LAYER.values())), np.array(list(BATCH.values()))
    d = values - base
    error = np.sqrt(((d - d.mean()) ** 2).sum() / 3) / np.sqrt(4)
    test = paired_test(values, base)
    assert test.pairs == 4
    assert test.difference == pytest.approx(d.mean())
    assert test.low == pytest.approx(d.mean() - 3.182446305284263 * error)  # t(0.975, 3), tables
    assert test.high == pytest.approx(d.mean() + 3.182446305284263 * error)
    assert test.p == pytest.approx(2 * stats.t.sf(abs(d.mean() / error), 3))


def test_holm_by_hand():
    # sorted 0.01·4, 0.03·3, 0.04·2 lifted to 0.09, 0.2·1
    assert holm([0.04, 0.01, 0.2, 0.03]) == pytest.approx([0.09, 0.04, 0.2, 0.09])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@pytest.mark.parametrize(
    ("values", "base"),
    [([0.5], [0.4]), ([0.3, 0.4, 0.6], [0.2, 0.3, 0.5]), ([0.1, 0.2], [0.1, 0.2])],
)
def test_without_a_spread_there_is_neither_interval_nor_p(values, base):
    test = paired_test(values, base)
    assert test.difference == pytest.approx(values[0] - base[0])
    assert (test.low, test.high, test.p) == (None, None, None)


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_judged_as_scipy_judges_it_in_pairs_or_by_welch(seed):
    random = np.random.default_rng(seed)
    a = random.normal(0.80, 0.02, 4)
    b = a + random.normal(0.02, 0.012, 4)
    interval = stats.ttest_rel(a, b).confidence_interval()
    paired = within_noise(dict(enumerate(a)), dict(enumerate(b)))
    assert paired == (interval.low <= 0 <= interval.high)
    c = random.normal(0.83, 0.005, 6)
    interval = stats.ttest_ind(a, c, equal_var=False).confidence_interval()
    apart = within_noise(dict(enumerate(a)), dict(enumerate(c, 9)))
    assert apart == (interval.low <= 0 <= interval.high)


def test_noise_of_one_seed_is_unknown_and_of_no_spread_is_plain():
    assert within_noise({0: 0.5}, {0: 0.6}) is None
    assert within_noise({0: 0.5}, {1: 0.6, 2: 0.7}) is None
    assert within_noise({0: 0.5, 1: 0.5}, {2: 0.5, 3: 0.5}) is True
    assert within_noise({0: 0.5, 1: 0.5}, {2: 0.6, 3: 0.6}) is False
    assert within_noise({0: 0.3, 1: 0.4}, {0: 0.2, 1: 0.3}) is False


def test_against_pairs_runs_of_one_seed_that_are_equal_in_all_else():
    for size in (2, 8):
        shift = size / 100
        write_seeds(Path("runs"), BATCH, "batch", batch_size=size)
        write_seeds(
            Path("runs"), {s: a - shift for s, a in GROUP.items()}, "group", batch_size=size
        )
        write_seeds(
            Path("runs"), {s: a - shift for s, a in LAYER.items()}, "layer", batch_size=size
        )
    comparisons = compare_against(read_rows(), "test_accuracy", "batch")
    assert len(comparisons) == 4
    for one in comparisons:
        group = GROUP if one.treatment["norm"] == "group" else LAYER
        shift = int(one.settings["batch_size"]) / 100
        expected = paired_test([a - shift for a in group.values()], list(BATCH.values()))
        assert one.pairs == 4
        assert one.difference == pytest.approx(expected.difference)
        assert (one.low, one.p) == pytest.approx((expected.low, expected.p))
    p_values = [one.p for one in comparisons]
    order = np.argsort(p_values)
    by_hand = np.maximum.accumulate(np.sort(p_values) * [4, 3, 2, 1]).clip(max=1)
    assert [comparisons[i].p_holm for i in order] == pytest.approx(list(by_hand))


def test_against_drops_seeds_without_a_partner_and_says_which():
    write_seeds(Path("runs"), {0: 0.5, 1: 0.6, 2: 0.65, 7: 0.9}, "batch")
    write_seeds(Path("runs"), {0: 0.4, 1: 0.55, 9: 0.1}, "none")
    write_run(Path("runs"), settings("none", seed=2), status="diverged")
    (one,) = compare_against(read_rows(), "test_accuracy", "batch")
    assert one.pairs == 2
    assert one.difference == pytest.approx((-0.1 - 0.05) / 2)
    assert (one.mean, one.baseline) == pytest.approx((0.475, 0.55))
    assert one.notes == ("seed 2 diverged here", "dropped without a partner: seeds 7, 9")


def test_against_never_pairs_runs_that_differ_in_another_setting():
    write_seeds(Path("runs"), BATCH, "batch", batch_size=8)
    write_seeds(Path("runs"), LAYER, "layer", batch_size=32)
    (one,) = compare_against(read_rows(), "test_accuracy", "batch")
    assert (one.pairs, one.difference) == (0, None)
    assert one.notes == ("no run of the baseline is equal in all else",)


def test_against_lets_settings_of_the_norm_itself_differ():
    write_seeds(Path("runs"), BATCH, "batch")
    for groups in (4, 8):
        for seed, accuracy in GROUP.items():
            norm = NormConfig(name="group", num_groups=groups)
            write_run(Path("runs"), replace(settings(seed=seed), norm=norm), accuracy)
    comparisons = compare_against(read_rows(), "test_accuracy", "batch")
    assert [one.treatment["norm.num_groups"] for one in comparisons] == ["4", "8"]
    assert [one.pairs for one in comparisons] == [4, 4]


def test_against_pairs_norms_own_settings_where_the_baseline_varies_them():
    for eps in (1e-5, 1e-3):
        for name, figures in (("batch", BATCH), ("layer", LAYER)):
            for seed, accuracy in figures.items():
                norm = NormConfig(name=name, eps=eps)
                write_run(Path("runs"), replace(settings(seed=seed), norm=norm), accuracy + eps)
    comparisons = compare_against(read_rows(), "test_accuracy", "batch")
    assert [one.settings for one in comparisons] == [{"norm.eps": "1e-05"}, {"norm.eps": "0.001"}]
    expected = np.mean(list(LAYER.values())) - np.mean(list(BATCH.values()))
    assert [one.difference for one in comparisons] == pytest.approx([expected] * 2)


def test_against_one_seed_gives_no_interval_and_says_why(capsys):
    write_seeds(Path("runs"), {0: 0.5}, "batch")
    write_seeds(Path("runs"), {0: 0.6}, "layer")
    _, out, _ = compared(capsys, "--against", "batch")
    assert "+10.00" in out
    assert "one pair: no interval, no test" in out
    assert "run more seeds" in out
    (row,) = cells(capsys, "--against", "batch")
    assert (row["difference"], row["low"], row["p"]) == (str(0.6 - 0.5), "", "")


def test_against_works_for_any_setting(capsys):
    write_seeds(Path("runs"), BATCH, "batch", precision="fp32")
    write_seeds(Path("runs"), LAYER, "batch", precision="bf16")
    for words in (["--against", "precision=fp32"], ["--rows", "precision", "--against", "fp32"]):
        (row,) = cells(capsys, *words)
        assert (row["precision"], row["against"], row["pairs"]) == ("bf16", "precision=fp32", "4")


def test_against_what_no_run_has_is_refused(capsys):
    write_seeds(Path("runs"), BATCH, "batch")
    assert (
        compared(capsys, "--against", "btach")[2].splitlines()[0] == "nnexp: no run has norm=btach"
    )
    assert "all runs have norm=batch" in compared(capsys, "--against", "batch")[2]
