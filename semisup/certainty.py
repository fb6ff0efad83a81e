"""How sure a distribution over the classes is."""

import numpy as np
import scipy.special


def certainty(distributions: np.ndarray) -> np.ndarray:
    """1 − H(p) / log C of each row: 0 for a uniform one, 1 for one class.  (N, C) -> (N,)"""
    classes = distributions.shape[1]
    if classes == 1:
        return np.ones(len(distributions))
    entropies = scipy.special.entr(distributions.astype(np.float64)).sum(axis=1)
    return np.clip(1 - entropies / np.log(classes), 0, 1)
