"""The pairwise penalty matrix of Ash et al., "Deep batch active learning by diverse, uncertain
gradient lower bounds" (ICLR 2020), section 4.

In a setting (data set, budget, network, training) two methods i and j are compared at each of L
numbers of labels by the two-sided t-test on their paired differences, at the level of 0.05.  Each
time that i beats j adds 1 / L to P[i, j]; so a setting adds 1 at the most.  The mean of column j
says how often j is beaten: less is better.  The paper has five runs each, and so t > 2.776, and of
the numbers of labels those that grow by powers of two; here all count.
"""

import numpy as np
import pandas as pd
from scipy import stats

from reports.paired_tests import MIN_PAIRS

SIGNIFICANCE_LEVEL = 0.05


def t_test_verdict(differences: np.ndarray) -> int:
    """1 where the first of a pair beats the second, -1 where it is beaten, 0 where the t-test does
    not tell.  differences: (n,), n at least 2."""
    n = len(differences)
    mean, deviation = differences.mean(), differences.std(ddof=1)
    critical = stats.t.ppf(1 - SIGNIFICANCE_LEVEL / 2, n - 1)
    return int(np.sign(mean)) if np.sqrt(n) * abs(mean) > critical * deviation else 0


def win_rates(differences: list[np.ndarray]) -> tuple[float, float]:
    """What a setting adds to P[i, j] and to P[j, i].  differences: of each number of labels, (n,).

    Numbers of labels at which both are the same to the last digit are before the first choice, and
    do not count into L."""
    verdicts = [t_test_verdict(some) for some in differences if some.any()]
    if not verdicts:
        return 0.0, 0.0
    return verdicts.count(1) / len(verdicts), verdicts.count(-1) / len(verdicts)


def penalty_matrix(compared: list[tuple[str, str, list[np.ndarray]]]) -> pd.DataFrame:
    """P, methods in the order in which they come: row i, column j says how often i beats j.

    compared: for each setting and pair in it: i, j, the differences of i and j at each number of
    labels.  NaN where two were never compared: fewer than ENOUGH pairs are no comparison."""
    methods = list(dict.fromkeys(name for i, j, _ in compared for name in (i, j)))
    found = pd.DataFrame(np.nan, index=methods, columns=methods)
    for i, j, differences in compared:
        enough = [some for some in differences if len(some) >= MIN_PAIRS]
        if not any(some.any() for some in enough):
            continue
        for (row, column), share in zip(((i, j), (j, i)), win_rates(enough), strict=True):
            found.loc[row, column] = np.nan_to_num(found.loc[row, column]) + share
    return found
