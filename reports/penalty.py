"""The pairwise penalty matrix of Ash et al., "Deep batch active learning by diverse, uncertain
gradient lower bounds" (ICLR 2020), section 4.

In a setting (data set, budget, network, training), two methods i and j are compared at each of L
numbers of labels by a two-sided t-test on their paired differences, at level 0.05.  Each time i
beats j, 1 / L is added to P[i, j], so a setting adds at most 1.  The mean of column j says how
often method j is beaten: smaller is better.  The paper uses five runs per method, so t > 2.776, and
only numbers of labels that grow by powers of two; here all numbers of labels count.
"""

import numpy as np
import pandas as pd
from scipy import stats

from reports.paired_tests import MIN_PAIRS

SIGNIFICANCE_LEVEL = 0.05


def t_test_verdict(differences: np.ndarray) -> int:
    """1 if the first of a pair beats the second, -1 if it is beaten, 0 if the test is undecided.

    differences: (n,) with n >= 2."""
    n = len(differences)
    mean, deviation = differences.mean(), differences.std(ddof=1)
    critical = stats.t.ppf(1 - SIGNIFICANCE_LEVEL / 2, n - 1)
    return int(np.sign(mean)) if np.sqrt(n) * abs(mean) > critical * deviation else 0


def win_rates(differences: list[np.ndarray]) -> tuple[float, float]:
    """What a setting adds to P[i, j] and to P[j, i].

    differences: one array (n,) per number of labels.  Where all differences are exactly zero,
    nothing has been selected yet, and that number of labels does not count towards L."""
    verdicts = [t_test_verdict(values) for values in differences if values.any()]
    if not verdicts:
        return 0.0, 0.0
    return verdicts.count(1) / len(verdicts), verdicts.count(-1) / len(verdicts)


def penalty_matrix(comparisons: list[tuple[str, str, list[np.ndarray]]]) -> pd.DataFrame:
    """The matrix P: row i, column j says how often method i beats method j.

    comparisons: (i, j, differences of i and j at each number of labels), for each pair in each
    setting.  Methods keep the order in which they first occur.  NaN where two methods were never
    compared; fewer than MIN_PAIRS differences are not a comparison."""
    methods = list(dict.fromkeys(name for i, j, _ in comparisons for name in (i, j)))
    matrix = pd.DataFrame(np.nan, index=methods, columns=methods)
    for i, j, differences in comparisons:
        sufficient = [values for values in differences if len(values) >= MIN_PAIRS]
        if not any(values.any() for values in sufficient):
            continue
        for (row, column), rate in zip(((i, j), (j, i)), win_rates(sufficient), strict=True):
            matrix.loc[row, column] = np.nan_to_num(matrix.loc[row, column]) + rate
    return matrix
