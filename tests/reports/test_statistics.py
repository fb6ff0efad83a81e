"""The statistics of a report against examples computed by hand and against scipy."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports import penalty
from reports.label_savings import area_under_curve, labels_saved, labels_to_reach
from reports.paired_tests import MIN_PAIRS, difference_statistics, holm_correction, pair_differences
from reports.run_history import class_balance

nan = float("nan")


def test_area_is_the_mean_height():
    assert area_under_curve([10, 20, 40], [50, 60, 80]) == (55 * 10 + 70 * 20) / 30  # by hand: 65
    assert area_under_curve([10, 100], [70, 70]) == 70
    assert math.isnan(area_under_curve([10], [50]))


def test_labels_to_reach_an_accuracy():
    labeled, accuracy = [10, 20, 40], [50, 60, 80]
    assert labels_to_reach(labeled, accuracy, 70) == 30
    assert labels_to_reach(labeled, accuracy, 60) == 20
    assert labels_to_reach(labeled, accuracy, 40) == 10  # with the first labels
    assert math.isnan(labels_to_reach(labeled, accuracy, 81))
    assert labels_to_reach(labeled, [50, 80, 60], 65) == 15  # the first of two crossings


def test_labels_saved():
    labeled, baseline = [10, 20, 30], [50, 60, 70]
    assert labels_saved(labeled, [50, 65, 75], baseline) == (5, 30)  # 70 is reached at 25
    assert labels_saved(labeled, [50, 55, 70], baseline) == (0, 30)
    saved, needed = labels_saved(labeled, [50, 55, 60], baseline)
    assert math.isnan(saved) and needed == 30
    # The baseline falls: it first reaches 60 at 15, the other curve at 20 + 10 * 5 / 15.
    assert labels_saved(labeled, [50, 55, 70], [50, 70, 60]) == pytest.approx((15 - 70 / 3, 15))


def test_interval_and_tests_by_hand():
    statistics = difference_statistics(np.array([1.0, 2, 3, 4, 5]))
    half = 2.7764 * math.sqrt(2.5) / math.sqrt(5)  # t of 4 degrees of freedom at 0.975
    assert (statistics["n"], statistics["mean"]) == (5, 3)
    assert statistics["std"] == pytest.approx(math.sqrt(2.5))
    assert statistics["t_low"] == pytest.approx(3 - half, abs=1e-3)
    assert statistics["t_high"] == pytest.approx(3 + half, abs=1e-3)
    assert statistics["wilcoxon_p"] == 2 / 2**5  # all of one sign: one of 32 cases, two-sided
    assert 1 < statistics["boot_low"] < 3 < statistics["boot_high"] < 5


def test_statistics_equal_those_of_scipy():
    rng = np.random.default_rng(3)
    mine, theirs = rng.normal(70, 5, 12), rng.normal(68, 5, 12)
    statistics = difference_statistics(mine - theirs)
    by_t = stats.ttest_rel(mine, theirs)
    assert statistics["t_p"] == pytest.approx(by_t.pvalue)
    low, high = by_t.confidence_interval(0.95)
    assert (statistics["t_low"], statistics["t_high"]) == pytest.approx((low, high))
    assert statistics["wilcoxon_p"] == pytest.approx(stats.wilcoxon(mine, theirs).pvalue)
    again = difference_statistics(mine - theirs)
    assert again == statistics  # the bootstrap has a fixed seed
    spread = stats.sem(mine - theirs) * 1.96
    assert statistics["boot_low"] == pytest.approx(statistics["mean"] - spread, abs=1)
    assert statistics["boot_high"] == pytest.approx(statistics["mean"] + spread, abs=1)


def test_few_or_equal_differences():
    few = difference_statistics(np.arange(1.0, MIN_PAIRS))
    assert math.isnan(few["t_p"]) and math.isnan(few["wilcoxon_p"]) and few["t_low"] < 2.5
    one = difference_statistics(np.array([1.5]))
    assert one["mean"] == 1.5 and math.isnan(one["t_low"])
    same = difference_statistics(np.zeros(6))
    assert (same["t_p"], same["wilcoxon_p"], same["t_low"], same["boot_high"]) == (1, 1, 0, 0)
    assert difference_statistics(np.full(6, 2.0))["t_low"] == 2


def test_holm_by_hand():
    p_values = [0.01, 0.04, 0.03, 0.005]
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04, made monotonic.
    assert holm_correction(p_values) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_correction([0.5, 0.9, 0.6]) == pytest.approx([1, 1, 1])
    assert holm_correction([0.04]) == pytest.approx([0.04])
    assert holm_correction([0.02, nan, 0.03]) == pytest.approx([0.04, nan, 0.04], nan_ok=True)
    assert len(holm_correction([])) == 0


def series(values):
    index = pd.MultiIndex.from_tuples(list(values), names=["split", "seed"])
    return pd.Series(list(values.values()), index=index, dtype=float)


def test_pairs_share_split_and_seed():
    mine = series({(0, 7): 50, (1, 7): 60, (2, 7): 70})
    theirs = series({(2, 7): 65, (0, 7): 49, (3, 7): 10, (1, 8): 0})
    differences, over = pair_differences(mine, theirs)
    assert (list(differences), over) == ([1, 5], "splits")


def test_seeds_of_a_split_are_averaged():
    """They share the labels of the split, so they are not independent evidence."""
    mine = series({(0, 7): 50, (0, 8): 54, (1, 7): 60, (1, 8): 60})
    differences, over = pair_differences(mine, mine * 0 + 40)
    assert (list(differences), over) == ([12, 20], "splits")
    differences, over = pair_differences(mine[:2], mine[:2] * 0 + 40)
    assert (list(differences), over) == ([10, 14], "seeds of a split")


def test_verdict_of_the_t_test():
    clear, unclear = np.array([1.0, 2, 3, 4, 5]), np.array([-1.0, 0, 1, 2, 3])
    # t = sqrt(5) * mean / 1.5811: 4.243 and 1.414; the critical value of 4 degrees is 2.776.
    assert penalty.t_test_verdict(clear) == 1 and penalty.t_test_verdict(-clear) == -1
    assert penalty.t_test_verdict(unclear) == 0
    assert penalty.t_test_verdict(np.full(5, -2.0)) == -1
    rng = np.random.default_rng(0)
    for _ in range(50):
        differences = rng.normal(0.8, 1, 6)
        by_scipy = stats.ttest_1samp(differences, 0)
        expected = np.sign(by_scipy.statistic) if by_scipy.pvalue < 0.05 else 0
        assert penalty.t_test_verdict(differences) == expected


def test_penalty_matrix_by_definition():
    """In one setting a beats b at one of two numbers of labels, and c at both; in another setting
    b beats a at one of four numbers."""
    clear, unclear = np.array([1.0, 2, 3, 4, 5]), np.array([-1.0, 0, 1, 2, 3])
    same = np.zeros(5)  # before the first selection, so it does not count
    matrix = penalty.penalty_matrix(
        [
            ("a", "b", [same, clear, unclear]),
            ("a", "c", [same, clear, clear]),
            ("a", "b", [same, unclear, -clear, unclear, unclear]),
            ("b", "d", [clear[:4]]),  # too few
        ]
    )
    assert list(matrix.columns) == ["a", "b", "c", "d"]
    expected = {("a", "b"): 0.5, ("b", "a"): 0.25, ("a", "c"): 1.0, ("c", "a"): 0.0}
    for i in matrix.index:
        for j in matrix.columns:
            assert matrix.loc[i, j] == pytest.approx(expected.get((i, j), nan), nan_ok=True)
    assert matrix.mean()["a"] == 0.125  # how often a is beaten


def test_class_balance():
    assert class_balance([0, 1, 2, 0, 1, 2]) == pytest.approx(1)
    by_hand = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    assert class_balance([5, 5, 5, 9]) == pytest.approx(by_hand)
    assert math.isnan(class_balance([4, 4])) and math.isnan(class_balance([]))
