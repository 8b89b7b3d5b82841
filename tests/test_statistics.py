import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from results import BATCH, GROUP, LAYER, cells, compared, settings, write_run, write_seeds
from scipy import stats

from nnexp.compare import read_rows
from nnexp.compare.against import compare_against
from nnexp.compare.families import judge_against, judge_pairs
from nnexp.compare.judgement import Series, judge_with_baseline, judge_with_best
from nnexp.compare.linear_model import Contrast, LinearModel
from nnexp.compare.method import method_lines
from nnexp.compare.multiplicity import (
    critical_value,
    dunnett_tail,
    sidak_tail,
    tukey_tail,
)
from nnexp.compare.planning import seeds_for_interval, seeds_of, seeds_to_show, shift_for
from nnexp.compare.statistics import image_variance
from nnexp.compare.variance_pools import bartlett, make_pools
from nnexp.settings import NormConfig


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_cells(values, seeds=3, shifts=None, correlation=0.0, deviation=lambda place, arm: 1.0):
    """Return cells of arms at places: a shift, a seed's effect, and noise drawn from `values`."""
    shifts, drawn = shifts or {}, {}
    for place in range(4):
        common = values.standard_normal(seeds)
        for arm in "abcde":
            noise = math.sqrt(1 - correlation) * values.standard_normal(seeds)
            noise = deviation(place, arm) * (noise + math.sqrt(correlation) * common)
            drawn[place, arm] = dict(enumerate(noise + shifts.get(arm, 0.0)))
    return drawn


def equally_spread(values):
    """Return cells of which each has the same variance, so that none has more than all share."""
    return {
        key: {s: (v - np.mean([*cell.values()])) / np.std([*cell.values()], ddof=1) + i
              for s, v in cell.items()}
        for i, (key, cell) in enumerate(values.items())
    }  # fmt: skip


@pytest.fixture
def _shared_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every comparison the variance that all share, whatever its own cells show."""
    monkeypatch.setattr("nnexp.compare.linear_model.PRIOR", 1e15)


def against(model, base="a", arms="bcde", places=range(4)):
    return judge_against(
        model,
        [Contrast(arm=arm, base=base, weights=((p, 1.0),)) for p in places for arm in arms],
    )


@pytest.mark.parametrize("freedom", [2.0, 8.0, 40.0])
@pytest.mark.parametrize("arms", [2, 3, 5])
def test_tukeys_tail_is_the_studentized_range(arms, freedom):
    statistics = np.array([0.5, 2.0, 3.0, 6.0])
    expected = stats.studentized_range.sf(statistics * math.sqrt(2), arms, freedom)
    assert tukey_tail((arms,), freedom)(statistics) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("freedom", [1.0, 5.0, 400.0, 9000.0])
def test_tail_of_one_comparison_is_students(freedom):
    expected = 2 * stats.t.sf([1.0, 3.0, 5.0], freedom)
    factors = ((math.sqrt(0.5),),)
    for tail in (dunnett_tail(factors, freedom), tukey_tail((2,), freedom), sidak_tail(1, freedom)):
        assert tail(np.array([1.0, 3.0, 5.0])) == pytest.approx(expected, rel=1e-6)


def test_sidaks_tail_is_that_of_independent_comparisons():
    alone = 2 * stats.t.sf([1.0, 3.0], 5.0)
    assert sidak_tail(6, 5.0)(np.array([1.0, 3.0])) == pytest.approx(1 - (1 - alone) ** 6)


@pytest.mark.parametrize("freedom", [1.0, 40.0, 9000.0])
@pytest.mark.parametrize("groups", [1, 500])
def test_critical_value_is_exceeded_once_in_twenty_families(groups, freedom):
    for tail in (
        dunnett_tail(((0.98, 0.7, 0.3),) * groups, freedom),
        tukey_tail((30,) * groups, freedom),
        sidak_tail(3 * groups, freedom),
    ):
        assert tail(np.array([critical_value(tail)])) == pytest.approx(0.05, rel=1e-9)


def test_dunnetts_p_values_and_intervals_are_scipys():
    values = np.random.default_rng(4)
    arms = {name: values.normal(shift, 1, n) for name, shift, n in
            (("a", 0, 4), ("b", 1, 4), ("c", 2, 6), ("d", 0, 3))}  # fmt: skip
    cells_ = equally_spread({(0, name): dict(enumerate(arm)) for name, arm in arms.items()})
    model = LinearModel(cells_)
    assert (model.pools.by, model.blocked) == ("grid", False)
    family = against(model, arms="bcd", places=[0])
    base, *others = ([*cell.values()] for cell in cells_.values())
    expected = stats.dunnett(*others, control=base, random_state=1)
    interval = expected.confidence_interval()
    judged = list(family.judged.values())
    assert family.method == "Dunnett"
    assert [one.p for one in judged] == pytest.approx(list(expected.pvalue), abs=2e-3)
    assert [one.low for one in judged] == pytest.approx(list(interval.low), abs=0.02)
    assert [one.high for one in judged] == pytest.approx(list(interval.high), abs=0.02)


def test_tukeys_p_values_are_scipys():
    values = np.random.default_rng(5)
    arms = {name: values.normal(i, 1, 4) for i, name in enumerate("abcd")}
    cells_ = equally_spread({(0, name): dict(enumerate(arm, 9 * i)) for i, (name, arm) in
                             enumerate(arms.items())})  # fmt: skip
    model = LinearModel(cells_)
    contrasts = [Contrast(arm=arm, base="d", weights=((0, 1.0),)) for arm in "abc"]
    family = judge_pairs(model, contrasts, {((0, 1.0),): 4})
    expected = stats.tukey_hsd(*([*cell.values()] for cell in cells_.values()))
    assert family.method == "Tukey"
    assert [one.p for one in family.judged.values()] == pytest.approx(
        list(expected.pvalue[:3, 3]), abs=1e-6
    )
    interval = expected.confidence_interval()
    assert [one.low for one in family.judged.values()] == pytest.approx(list(interval.low[:3, 3]))


@pytest.mark.usefixtures("_shared_variance")
@pytest.mark.parametrize("is_complete", [True, False])
def test_seeds_are_blocks_where_runs_that_share_one_correlate(is_complete):
    """The least squares of cell and seed, solved here with a column for each of them."""
    values = np.random.default_rng(5)
    cells_ = make_cells(values, seeds=4, correlation=0.9)
    if not is_complete:
        del cells_[0, "b"][0], cells_[0, "c"][3], cells_[2, "e"][1]
    model = LinearModel(cells_)
    assert (model.blocked, model.paired) == (True, False)
    names = sorted({(p, s) for (p, _), cell in cells_.items() for s in cell})
    keys = list(cells_)
    rows = [
        (keys.index(k), names.index((k[0], s)), v) for k, c in cells_.items() for s, v in c.items()
    ]
    design = np.zeros((len(rows), len(keys) + len(names)))
    for i, (cell, seed, _) in enumerate(rows):
        design[i, cell] = design[i, len(keys) + seed] = 1
    outcome = np.array([value for *_, value in rows])
    solution, *_ = np.linalg.lstsq(design, outcome, rcond=None)
    rank = np.linalg.matrix_rank(design)
    left = outcome - design @ solution
    variance = left @ left / (len(rows) - rank)
    for place, arm in ((0, "b"), (0, "c"), (1, "d"), (2, "e")):
        contrast = np.zeros(design.shape[1])
        contrast[keys.index((place, arm))], contrast[keys.index((place, "a"))] = 1, -1
        one = model.estimate(Contrast(arm=arm, base="a", weights=((place, 1.0),)))
        error = math.sqrt(variance * contrast @ np.linalg.pinv(design.T @ design) @ contrast)
        assert one.value == pytest.approx(contrast @ solution)
        assert (one.error, one.freedom) == pytest.approx((error, len(rows) - rank))


def test_pairs_by_plan_are_judged_by_scipys_paired_t_test():
    values = np.random.default_rng(2)
    left, right = values.normal(0, 1, 6), values.normal(1, 1, 6)
    cells_ = {(0, "a"): dict(enumerate(left)), (0, "b"): dict(enumerate(right))}
    for paired, expected in (
        (False, stats.ttest_ind(right, left)),
        (True, stats.ttest_rel(right, left)),
    ):
        judgement = judge_with_baseline(cells_, {}, "a", [], paired=paired)
        (one,) = judgement.family.judged.values()
        assert one.p == pytest.approx(expected.pvalue)
        assert [one.low, one.high] == pytest.approx(list(expected.confidence_interval()))
        said = "\n".join(method_lines({"": judgement}, "test_loss"))
        assert ("compared as pairs; their correlation" in said) is paired


def test_no_cell_varies_more_where_none_varies_beside_the_seeds():
    values = dict(enumerate(np.random.default_rng(0).normal(size=5)))
    said = how_judged({(0, name): values for name in "abc"})
    assert "correlation of runs that share a seed: 1.00" in said
    assert "varies far more" not in said


def test_pairs_by_plan_without_common_seeds_have_no_interval():
    cells_ = {(0, "a"): {0: 1.0, 1: 2.0}, (0, "b"): {2: 1.0, 3: 2.5}}
    assert not judge_with_baseline(cells_, {}, "a", [], paired=True).family.judged


def how_judged(cells_):
    return "\n".join(method_lines({"": judge_with_baseline(cells_, {}, "a", [])}, "test_loss"))


def test_footnotes_say_what_blocks_and_unequal_seeds_do_to_a_difference():
    cells_ = make_cells(np.random.default_rng(5), seeds=4, correlation=0.9)
    said = how_judged(cells_)
    assert "no inequality: standard deviation 0." in said
    assert " after the effect of seeds, " in said
    assert "over common seeds" not in said
    del cells_[0, "b"][0]
    assert "over common seeds: a difference is not always that of the two means" in how_judged(
        cells_
    )
    assert "after the effect of seeds" not in how_judged(make_cells(np.random.default_rng(5)))


def test_footnotes_call_variances_equal_only_where_no_cell_has_its_own():
    cells_ = equally_spread(make_cells(np.random.default_rng(1)))
    assert "one variance for all cells, since tests find no inequality" in how_judged(cells_)
    cells_[1, "c"] = {seed: 40 * value for seed, value in cells_[1, "c"].items()}
    said = how_judged(cells_)
    assert "one variance for all cells but one, which varies far more" in said
    assert "no inequality" not in said


def test_arms_that_differ_by_the_same_at_every_seed_have_no_spread_to_judge_by():
    values = np.random.default_rng(1).standard_normal(4)
    model = LinearModel({(0, name): dict(enumerate(values + i / 3)) for i, name in enumerate("ab")})
    assert (model.correlation, model.blocked) == (1.0, True)
    (one,) = against(model, arms="b", places=[0]).judged.values()
    assert one.value == pytest.approx(1 / 3)
    assert (one.low, one.p) == (None, None)


def test_arms_without_a_chain_of_common_seeds_are_not_compared_where_seeds_are_blocks():
    values = np.random.default_rng(1)
    cells_ = make_cells(values, correlation=0.95)
    cells_[0, "e"] = dict(enumerate(cells_[0, "e"].values(), 50))
    model = LinearModel(cells_)
    assert model.blocked
    assert model.estimate(Contrast(arm="e", base="a", weights=((0, 1.0),))) is None
    assert model.estimate(Contrast(arm="d", base="a", weights=((0, 1.0),))) is not None


def test_unequal_arms_are_compared_by_welch():
    values = np.random.default_rng(2)
    arms = {"a": values.normal(0, 1, 12), "b": values.normal(0, 9, 12)}
    cells_ = {(0, name): dict(enumerate(arm, 20 * (name == "b"))) for name, arm in arms.items()}
    model = LinearModel(cells_)
    assert model.pools.by == "cell"
    (one,) = against(model, arms="b", places=[0]).judged.values()
    expected = stats.ttest_ind(arms["b"], arms["a"], equal_var=False)
    interval = expected.confidence_interval()
    assert (one.p, one.low, one.high) == pytest.approx(
        (expected.pvalue, interval.low, interval.high)
    )


def test_pairs_of_unequal_arms_are_corrected_for_all_pairs_by_sidak():
    spread = {"a": 1.0, "b": 9.0, "c": 1.0, "d": 9.0}
    cells_ = {
        (0, arm): dict(enumerate(i + size * np.arange(-6.0, 7.0), 20 * i))
        for i, (arm, size) in enumerate(spread.items())
    }
    contrasts = [Contrast(arm=arm, base="d", weights=((0, 1.0),)) for arm in "abc"]
    family = judge_pairs(LinearModel(cells_), contrasts, {((0, 1.0),): 4})
    assert (family.method, family.comparisons) == ("Šidák", 6)
    for one in family.judged.values():
        assert one.p == pytest.approx(1 - (1 - one.p_alone) ** 6)


def test_places_with_a_variance_each_are_corrected_by_dunnett_at_each_and_sidak_over_them():
    places = {
        place: {
            (place, arm): {30 * place + 10 * i + k: size * (i / 2 + k) for k in range(4)}
            for i, arm in enumerate("abc")
        }
        for place, size in enumerate((1.0, 30.0))
    }
    model = LinearModel({**places[0], **places[1]})
    assert (model.pools.by, model.blocked) == ("place", False)
    together = against(model, arms="bc", places=places)
    for place, cells_ in places.items():
        for contrast, one in against(LinearModel(cells_), arms="bc", places=[place]).judged.items():
            assert together.judged[contrast].p == pytest.approx(1 - (1 - one.p) ** 2)


def test_seeds_are_tested_by_the_f_test_of_blocks():
    table = np.random.default_rng(5).normal(size=(3, 6))
    model = LinearModel({(0, arm): dict(enumerate(row)) for arm, row in enumerate(table)})
    left = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    error, between = (left**2).sum() / 10, 3 * np.var(table.mean(0), ddof=1)
    assert model.p_seeds == pytest.approx(stats.f.sf(between / error, 5, 10))
    assert model.correlation == pytest.approx(1 - error / np.var(table, axis=1, ddof=1).mean())


def test_average_is_over_the_places_that_have_every_arm():
    cells_ = make_cells(np.random.default_rng(1))
    del cells_[1, "e"]
    averages = judge_with_baseline(cells_, {}, "a", [Series(places=(0, 1, 2, 3))]).averages.judged
    assert [one.arm for one in averages] == [*"bcde"]
    assert {one.weights for one in averages} == {((0, 1 / 3), (2, 1 / 3), (3, 1 / 3))}


def test_cell_of_one_value_has_the_variance_that_it_is_said_to_have_at_least():
    model = LinearModel({(0, "a"): dict.fromkeys(range(3), 0.5)}, {(0, "a"): 0.02})
    one = model.estimate_mean((0, "a"))
    assert (one.error**2, one.freedom) == (pytest.approx(0.02 / 3), 2)


def test_variance_of_a_weighted_mean_has_the_squares_of_the_weights():
    cells_ = {(0, "a"): dict.fromkeys(range(2), 0.0), (1, "a"): dict.fromkeys(range(4), 1.0)}
    contrast = Contrast(arm="b", base="a", weights=((0, -0.5), (1, 2.0)))
    assert LinearModel(cells_).share(contrast, "a") == 0.25 / 2 + 4 / 4


@pytest.mark.parametrize(("sign", "best"), [(1, "c"), (-1, "a")])
def test_best_of_a_place_is_the_highest_or_where_less_is_better_the_lowest(sign, best):
    cells_ = {(0, arm): {s: i + s / 10 for s in range(3)} for i, arm in enumerate("abc")}
    assert judge_with_best(cells_, {}, sign).baselines == {0: best}


def test_unequal_arms_whose_seeds_correlate_are_compared_by_paired_t_tests():
    values = np.random.default_rng(3)
    common = values.normal(0, 1, 8)
    arms = {"a": common + values.normal(0, 0.1, 8), "b": 2.5 * common + values.normal(0, 0.1, 8)}
    cells_ = {(0, name): dict(enumerate(arm)) for name, arm in arms.items()}
    model = LinearModel({**cells_, (1, "a"): cells_[0, "a"], (1, "b"): cells_[0, "b"]})
    assert model.paired
    one, _ = against(model, arms="b", places=[0, 1]).judged.values()
    assert one.p_alone == pytest.approx(stats.ttest_rel(arms["b"], arms["a"]).pvalue)


def test_bartletts_test_is_scipys():
    values = np.random.default_rng(6)
    groups = [values.normal(0, 1 + i, 3 + i) for i in range(4)]
    squares = [(float(np.var(one) * len(one)), len(one) - 1.0) for one in groups]
    assert bartlett([squares]) == pytest.approx(stats.bartlett(*groups).pvalue)


def test_one_cell_that_varies_far_more_has_a_variance_of_its_own():
    squares = {(p, a): (2.0 + p / 10, 2.0) for p in range(4) for a in range(5)}
    assert make_pools(squares).by == "grid"
    pools = make_pools({**squares, (1, 2): (400.0, 2.0)})
    assert (pools.by, pools.apart) == ("grid", ((1, 2),))
    assert pools.variances["grid"] == pytest.approx((np.mean([1.0, 1.05, 1.1, 1.15]), 38), rel=0.01)


def test_comparison_of_cells_that_vary_more_than_all_is_given_more():
    """The shared variance counts for 4 degrees of freedom, that of the two cells for its own."""
    spread = {(p, a): 1.0 for p in range(3) for a in "abc"} | {(0, "b"): 2.0}
    model = LinearModel(
        {
            key: dict(enumerate((-s, 0.0, s), 3 * seed))
            for seed, (key, s) in enumerate(spread.items())
        }
    )
    assert (model.pools.by, model.blocked) == ("grid", False)
    shared, own = np.mean(np.square(list(spread.values()))), (1 + 4) / 2
    freedom = (1 + 4) ** 2 / (1**2 / 2 + 4**2 / 2)  # Satterthwaite
    one, other = (model.estimate(Contrast(arm=arm, base="a", weights=((0, 1.0),))) for arm in "bc")
    assert one.error**2 == pytest.approx((4 * shared + freedom * own) / (4 + freedom) * 2 / 3)
    assert other.error**2 == pytest.approx(shared * 2 / 3)
    assert one.freedom == other.freedom == 18


@pytest.mark.usefixtures("_shared_variance")
def test_average_over_places_is_the_mean_of_differences_with_its_own_error():
    values = np.random.default_rng(11)
    model = LinearModel(make_cells(values, shifts={"b": 1.0}))
    assert (model.pools.by, model.blocked) == ("grid", False)
    weights = tuple((place, 0.25) for place in range(4))
    one = model.estimate(Contrast(arm="b", base="a", weights=weights))
    means = [model.places[p].means["b"] - model.places[p].means["a"] for p in range(4)]
    variance = np.mean([np.var(list(cell.values()), ddof=1) for cell in model.cells.values()])
    assert one.value == pytest.approx(np.mean(means))
    assert (one.error, one.freedom) == pytest.approx((math.sqrt(variance * 2 / 3 / 4), 40))


@pytest.mark.parametrize(
    ("correlation", "baselines"), [(0.0, 1.0), (0.9, 1.0), (0.0, 3.0)], ids=str
)
def test_intervals_hold_together_and_agree_with_p(correlation, baselines):
    """Over 300 grids without differences, 15 (± 3 standard errors: 11) may show one."""
    values = np.random.default_rng(8)
    wrong = 0
    for _ in range(300):
        drawn = make_cells(
            values,
            correlation=correlation,
            deviation=lambda place, arm: baselines if arm == "a" else 1.0,
        )
        judged = against(LinearModel(drawn)).judged.values()
        assert all((one.low > 0 or one.high < 0) == (one.p < 0.05) for one in judged)
        wrong += any(one.differs for one in judged)
    assert wrong <= 15 + 11


def test_more_is_shown_than_by_paired_tests():
    values = np.random.default_rng(9)
    shown = paired = 0
    for _ in range(60):
        cells_ = make_cells(values, shifts={"b": 3.0})
        for contrast, one in against(LinearModel(cells_)).judged.items():
            if contrast.arm == "b":
                ((place, _),) = contrast.weights
                left, right = (list(cells_[place, arm].values()) for arm in "ba")
                shown += one.differs
                paired += stats.ttest_rel(left, right).pvalue < 0.05 / 16
    assert shown > 100
    assert paired < shown / 3


def test_power_of_a_detectable_difference_is_eighty_percent():
    critical = critical_value(dunnett_tail(((math.sqrt(0.5),) * 4,) * 4, 40.0))
    shift = shift_for(critical, 40.0)
    assert stats.nct.sf(critical, 40, shift) == pytest.approx(0.8, abs=1e-6)


def test_a_grid_has_the_seeds_of_its_cell_of_fewest():
    cells_ = make_cells(np.random.default_rng(11), seeds=4)
    del cells_[2, "c"][3]
    assert seeds_of(judge_with_baseline(cells_, {}, "a", [])) == 3


@pytest.mark.usefixtures("_shared_variance")
def test_seeds_for_another_precision_are_the_fewest_that_give_it():
    judged = judge_with_baseline(make_cells(np.random.default_rng(11)), {}, "a", [])
    variance, freedom = judged.model.pools.variances["grid"]

    def critical(seeds):
        return critical_value(dunnett_tail(((math.sqrt(0.5),) * 4,) * 4, freedom * (seeds - 1) / 2))

    def power(seeds):
        error = math.sqrt(2 * variance / seeds)
        return stats.nct.sf(critical(seeds), freedom * (seeds - 1) / 2, 1 / error)

    seeds = seeds_to_show(judged, 1.0)
    assert power(seeds) >= 0.8 > power(seeds - 1)
    seeds = seeds_for_interval(judged, 0.5)
    room = [1 + 1 / (freedom * (n - 1) / 2) for n in (seeds, seeds - 1)]
    reach = [critical(n) * math.sqrt(2 * variance / n) for n in (seeds, seeds - 1)]
    assert reach[0] * room[0] <= 0.5 < reach[1] * room[1]


def test_against_compares_runs_that_are_equal_in_all_else():
    for size in (2, 8):
        shift = size / 100
        write_seeds(Path("runs"), BATCH, "batch", batch_size=size)
        for norm, figures in (("group", GROUP), ("layer", LAYER)):
            shifted = {seed: accuracy - shift for seed, accuracy in figures.items()}
            write_seeds(Path("runs"), shifted, norm, batch_size=size)
    answer = compare_against(read_rows(), "test_accuracy", "batch", ["norm"], ["batch_size"])
    assert len(answer.differences) == 4
    for one in answer.differences:
        group = GROUP if one.treatment["norm"] == "group" else LAYER
        shift = int(one.settings["batch_size"]) / 100
        expected = np.mean(list(group.values())) - shift - np.mean(list(BATCH.values()))
        assert (one.seeds, one.baseline_seeds) == (4, 4)
        assert one.difference == pytest.approx(expected)
        assert one.low < one.difference < one.high
    (group, layer) = answer.averages
    assert group.over == "average over batch_size"
    groups = [one.difference for one in answer.differences if one.treatment["norm"] == "group"]
    assert group.difference == pytest.approx(np.mean(groups))
    assert layer.low < layer.difference < layer.high


def test_trend_is_the_slope_of_the_difference_for_each_doubling():
    for power in (1, 2, 3, 4):
        write_seeds(Path("runs"), BATCH, "batch", batch_size=2**power)
        lower = {seed: accuracy - 0.05 - power / 100 for seed, accuracy in BATCH.items()}
        write_seeds(Path("runs"), lower, "none", batch_size=2**power)
    answer = compare_against(read_rows(), "test_accuracy", "batch", ["norm"], ["batch_size"])
    (trend,) = answer.trends
    assert (trend.over, trend.difference) == ("per doubling of batch_size", pytest.approx(-0.01))


def test_against_compares_no_cell_with_diverged_runs_and_says_so():
    write_seeds(Path("runs"), {0: 0.5, 1: 0.6, 2: 0.65}, "batch")
    write_seeds(Path("runs"), {0: 0.4, 1: 0.55}, "none")
    write_run(Path("runs"), settings("none", seed=2), status="diverged")
    (one,) = compare_against(read_rows(), "test_accuracy", "batch").differences
    assert (one.difference, one.p) == (None, None)
    assert one.notes == ("1 of 3 diverged",)


def test_against_uses_seeds_that_the_baseline_lacks_where_seeds_do_not_correlate():
    values = np.random.default_rng(0)
    write_seeds(Path("runs"), dict(enumerate(values.normal(0.9, 0.01, 8))), "batch")
    write_seeds(Path("runs"), dict(enumerate(values.normal(0.8, 0.01, 8), 6)), "none")
    (one,) = compare_against(read_rows(), "test_accuracy", "batch").differences
    assert (one.seeds, one.baseline_seeds) == (8, 8)
    assert one.p < 1e-6


def test_against_never_compares_runs_that_differ_in_another_setting():
    write_seeds(Path("runs"), BATCH, "batch", batch_size=8)
    write_seeds(Path("runs"), LAYER, "layer", batch_size=32)
    (one,) = compare_against(read_rows(), "test_accuracy", "batch").differences
    assert (one.baseline_seeds, one.difference) == (0, None)
    assert one.notes == ("no run of the baseline is equal in all else",)


def test_against_lets_settings_of_the_norm_itself_differ():
    write_seeds(Path("runs"), BATCH, "batch")
    for groups in (4, 8):
        for seed, accuracy in GROUP.items():
            norm = NormConfig(name="group", num_groups=groups)
            write_run(Path("runs"), replace(settings(seed=seed), norm=norm), accuracy)
    differences = compare_against(read_rows(), "test_accuracy", "batch").differences
    assert [one.treatment["norm.num_groups"] for one in differences] == ["4", "8"]
    assert all(one.p is not None for one in differences)


def test_against_pairs_norms_own_settings_where_the_baseline_varies_them():
    for eps in (1e-5, 1e-3):
        for name, figures in (("batch", BATCH), ("layer", LAYER)):
            for seed, accuracy in figures.items():
                norm = NormConfig(name=name, eps=eps)
                write_run(Path("runs"), replace(settings(seed=seed), norm=norm), accuracy + eps)
    differences = compare_against(read_rows(), "test_accuracy", "batch").differences
    assert [one.settings for one in differences] == [{"norm.eps": "1e-05"}, {"norm.eps": "0.001"}]
    expected = np.mean(list(LAYER.values())) - np.mean(list(BATCH.values()))
    assert [one.difference for one in differences] == pytest.approx([expected] * 2)


def test_one_seed_gives_no_interval_and_says_why(capsys):
    write_seeds(Path("runs"), {0: 0.5}, "batch")
    write_seeds(Path("runs"), {0: 0.6}, "layer")
    _, out, _ = compared(capsys, "--against", "batch")
    assert "+10.00" in out
    assert "layer: one seed: its noise is unknown, so no interval" in out
    (row,) = cells(capsys, "--against", "batch")
    assert (row["difference"], row["low"], row["p"]) == (str(0.6 - 0.5), "", "")


def test_accuracy_that_all_seeds_share_counts_with_the_noise_of_its_test_images(capsys):
    for norm, accuracy in (("batch", 1.0), ("none", 0.95)):
        for seed in (0, 1, 2):
            write_run(Path("runs"), settings(norm, seed=seed), accuracy, test_images=40)
    (row,) = cells(capsys, "--against", "batch")
    assert float(row["low"]) < 0 < float(row["high"])
    values = [0.5, 0.5, 0.5]  # test_loss: nothing is known of its noise
    for norm in ("batch", "none"):
        for seed, value in enumerate(values):
            run = settings(norm, seed=seed, batch_size=7)
            write_run(Path("more"), run, 0.9, test_loss=value)
    out = compared(capsys, "more", "--against", "batch", "--metric", "test_loss")[1]
    assert "no spread between seeds: no interval, no test" in out


@pytest.mark.parametrize(("accuracy", "share"), [(1.0, 98 / 100), (0.5, 0.5), (0.0, 2 / 100)])
def test_noise_of_test_images_is_binomial_with_two_more_right_and_two_more_wrong(accuracy, share):
    variance = image_variance([accuracy] * 3, 96)
    assert variance == pytest.approx(share * (1 - share) / 96)


def test_cell_without_a_mark_because_nothing_could_be_tested_is_explained(capsys):
    for norm, added in (("batch", 0.0), ("none", 0.125)):
        for seed, value in enumerate((0.25, 0.5, 0.75)):
            write_run(Path("runs"), settings(norm, seed=seed), 0.9, test_loss=value + added)
    out = compared(capsys, "--metric", "test_loss")[1]
    assert "≈" not in out
    assert "no mark: its difference to the best has no spread between seeds, no test" in out


def test_difference_within_the_margin_is_marked_as_good_as_the_baseline(capsys):
    spread = {"batch": (0, 2, 1, 3), "layer": (3, 0, 2, 1), "none": (1, 3, 0, 2)}
    for norm, thousandths in spread.items():
        for seed, thousandth in enumerate(thousandths):
            accuracy = (0.7 if norm == "none" else 0.8) + thousandth / 1000
            write_run(Path("runs"), settings(norm, seed=seed), accuracy)
    out = compared(capsys, "--against", "batch", "--margin", "1")[1]
    assert " = +0.00 (" in out
    assert " = -10.00" not in out
    assert "= as good as: the whole interval is within ± 1 point" in out
    assert " = +0.00 (" not in compared(capsys, "--against", "batch", "--margin", "0.1")[1]


def test_each_table_is_judged_by_itself(capsys):
    values = np.random.default_rng(3)
    for rate, spread in ((0.01, 0.002), (0.1, 0.05)):
        for norm, level in (("batch", 0.6), ("none", 0.5), ("layer", 0.6)):
            for seed in range(4):
                config = settings(norm, seed=seed, batch_size=int(1000 * rate))
                write_run(Path("runs"), config, level + spread * float(values.standard_normal()))
    alone = cells(capsys, "--rows", "norm", "--where", "batch_size=10", "--against", "batch")
    both = cells(capsys, "--rows", "norm", "--against", "batch")
    assert [row["p"] for row in both if row["batch_size"] == "10"] == [row["p"] for row in alone]


def test_against_works_for_any_setting(capsys):
    write_seeds(Path("runs"), BATCH, "batch", precision="fp32")
    write_seeds(Path("runs"), LAYER, "batch", precision="bf16")
    for words in (["--against", "precision=fp32"], ["--rows", "precision", "--against", "fp32"]):
        (row,) = cells(capsys, *words)
        assert (row["precision"], row["against"], row["seeds"]) == ("bf16", "precision=fp32", "4")


def test_against_what_no_run_has_is_refused(capsys):
    write_seeds(Path("runs"), BATCH, "batch")
    assert (
        compared(capsys, "--against", "btach")[2].splitlines()[0] == "nnexp: no run has norm=btach"
    )
    assert "all runs have norm=batch" in compared(capsys, "--against", "batch")[2]


@pytest.mark.parametrize("words", ["norm=batch,none", "batch,none"])
def test_baseline_of_several_values_is_refused(words, capsys):
    for norm in ("batch", "none"):
        write_seeds(Path("runs"), BATCH, norm)
    assert compared(capsys, "--against", words)[2].splitlines() == [
        f"nnexp: --against takes one value, and {words} has 2",
        f"       name one of them: --against {words.removesuffix(',none')}",
    ]
