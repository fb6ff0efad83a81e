"""Paired differences between two groups of a report: intervals, tests and their correction.

Two runs of one split and seed start from the same labels, weights and batches, so pairing removes
the variation that they share.
"""

import warnings

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

# Below five pairs Wilcoxon's smallest p is 0.125, and the t-test depends on normality.
MIN_PAIRS = 5
CONFIDENCE_LEVEL = 0.95
_BOOTSTRAP_RESAMPLES = 9999


def pair_differences(mine: pd.Series, theirs: pd.Series) -> tuple[np.ndarray, str]:
    """The paired differences (n,), and what n counts: "splits" or "seeds of a split".

    mine, theirs: indexed by split and seed; only what both have is used.  The seeds of a split
    share its labels, so they are averaged first, unless only one split is shared."""
    differences = (mine - theirs).dropna()
    split_means = differences.groupby(level="split").mean()
    if len(split_means) == 1:
        return differences.to_numpy(), "seeds of a split" if len(differences) > 1 else "splits"
    return split_means.to_numpy(), "splits"


def difference_statistics(differences: np.ndarray) -> dict[str, float]:
    """n, mean, std, confidence intervals and p-values of paired differences (n,).

    t_low, t_high: interval of the mean at CONFIDENCE_LEVEL by t; boot_low, boot_high: by bootstrap
    (BCa).  t_p, wilcoxon_p: two-sided, NaN for fewer than MIN_PAIRS differences."""
    n = len(differences)
    statistics = dict.fromkeys(
        ("t_low", "t_high", "boot_low", "boot_high", "t_p", "wilcoxon_p"), float("nan")
    )
    statistics |= {"n": n, "mean": float(np.mean(differences)) if n else float("nan")}
    statistics["std"] = float(np.std(differences, ddof=1)) if n > 1 else float("nan")
    if n < 2:
        return statistics
    ends = _confidence_intervals(differences)
    statistics |= dict(zip(("t_low", "t_high", "boot_low", "boot_high"), ends, strict=True))
    if n >= MIN_PAIRS:
        statistics |= {"t_p": _t_test_p(differences), "wilcoxon_p": _wilcoxon_p(differences)}
    return statistics


def _confidence_intervals(differences: np.ndarray) -> tuple[float, ...]:
    if np.ptp(differences) == 0:
        return (float(differences[0]),) * 4
    by_t = stats.ttest_1samp(differences, 0).confidence_interval(CONFIDENCE_LEVEL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for few differences BCa warns and returns NaN
        by_bootstrap = stats.bootstrap(
            (differences,),
            np.mean,
            n_resamples=_BOOTSTRAP_RESAMPLES,
            confidence_level=CONFIDENCE_LEVEL,
            method="BCa",
            random_state=np.random.default_rng(0),
        ).confidence_interval
    return tuple(map(float, (*by_t, *by_bootstrap)))


def _t_test_p(differences: np.ndarray) -> float:
    if not differences.any():
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about differences that are all equal
        return float(stats.ttest_1samp(differences, 0).pvalue)


def _wilcoxon_p(differences: np.ndarray) -> float:
    return float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0


def holm_correction(p_values: ArrayLike) -> np.ndarray:
    """P-values (m,) adjusted for multiple testing -> (m,); NaN marks a missing test and stays NaN.

    Holm's step-down method (Scandinavian Journal of Statistics 6, 1979) controls the probability
    of any false rejection under arbitrary dependence: the k-th smallest of m p-values is multiplied
    by m - k + 1 and is at least as large as those before it."""
    p_values = np.asarray(p_values, float)
    adjusted = np.full(len(p_values), np.nan)
    tests = np.flatnonzero(~np.isnan(p_values))
    order = tests[np.argsort(p_values[tests], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return adjusted
