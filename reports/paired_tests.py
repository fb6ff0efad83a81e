"""Paired differences between two rows of a report: intervals, tests, and their correction.

Two runs of one split (and seed) start from the same labels, weights and batches, so what they
share leaves the difference.
"""

import warnings

import numpy as np
import pandas as pd
from scipy import stats

MIN_PAIRS = 5  # pairs; below, the smallest p of Wilcoxon's test is 0.125 and t leans on normality
CONFIDENCE_LEVEL = 0.95
_BOOTSTRAP_RESAMPLES = 9999


def pair_differences(mine: pd.Series, theirs: pd.Series) -> tuple[np.ndarray, str]:
    """Differences of what both have, and what they are over.  Both: indexed by split and seed.

    The seeds of a split share its labels, so they are averaged and splits are counted; where one
    split alone is shared, its seeds are."""
    found = (mine - theirs).dropna()
    splits = found.groupby(level="split").mean()
    if len(splits) == 1:
        return found.to_numpy(), "seeds of a split" if len(found) > 1 else "splits"
    return splits.to_numpy(), "splits"


def difference_statistics(differences: np.ndarray) -> dict[str, float]:
    """n, mean, std, the LEVEL intervals of the mean by t (t_low, t_high) and by bootstrap (BCa;
    boot_low, boot_high), and two-sided p-values, t_p and wilcoxon_p, which are NaN for fewer than
    ENOUGH differences.  differences: (n,)."""
    n = len(differences)
    found = dict.fromkeys(
        ("t_low", "t_high", "boot_low", "boot_high", "t_p", "wilcoxon_p"), float("nan")
    )
    found |= {"n": n, "mean": float(np.mean(differences)) if n else float("nan")}
    found["std"] = float(np.std(differences, ddof=1)) if n > 1 else float("nan")
    if n < 2:
        return found
    ends = _confidence_intervals(differences)
    found |= dict(zip(("t_low", "t_high", "boot_low", "boot_high"), ends, strict=True))
    if n >= MIN_PAIRS:
        found |= {"t_p": _t_test_p(differences), "wilcoxon_p": _wilcoxon_p(differences)}
    return found


def _confidence_intervals(differences: np.ndarray) -> tuple[float, ...]:
    if np.ptp(differences) == 0:
        return (float(differences[0]),) * 4
    by_t = stats.ttest_1samp(differences, 0).confidence_interval(CONFIDENCE_LEVEL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few differences: BCa then says NaN
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
        return 1.0  # no difference at all
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of differences that are all the same
        return float(stats.ttest_1samp(differences, 0).pvalue)


def _wilcoxon_p(differences: np.ndarray) -> float:
    return float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0


def holm_correction(p_values) -> np.ndarray:
    """P-values corrected for their number: Holm's step-down (Scand. J. Statistics, 1979), which
    holds the chance of any false rejection whatever the tests share.

    The k-th smallest of m is multiplied with m - k + 1, and is no smaller than those before it.
    (m,) -> (m,); NaN is no test and stays."""
    p_values = np.asarray(p_values, float)
    adjusted = np.full(len(p_values), np.nan)
    tests = np.flatnonzero(~np.isnan(p_values))
    order = tests[np.argsort(p_values[tests], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return adjusted
