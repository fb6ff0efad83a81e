"""jLP, acquisition by joint label propagation.

Source: Siméoni et al., "Rethinking deep active learning: using unlabeled data at model training",
ICPR 2020, section 3 (jLP).  On label propagation's graph, solve (I − αW) f = y with y = 1 on
the labeled images; the image that the labels reach least, argmin f, is picked and joins y.

The system is linear: f after a pick is f plus the solution for the pick's own column, so each pick
costs one sparse solve and none is repeated.
"""

import numpy as np

from utils.diffusion import diffuse
from utils.graph import affinity
from utils.ranking import top


def pick(
    *,
    features: np.ndarray,
    labels: np.ndarray,
    budget: int,
    rng=None,
    k: int = 50,
    gamma: float = 3,
    alpha: float = 0.99,
) -> np.ndarray:
    """features: (N, d); labels: (N,) int64, -1 where unknown -> (budget,) int64, in order."""
    W = affinity(features, k, gamma)
    y = (labels >= 0).astype(np.float32)
    f = diffuse(W, y, alpha).astype(np.float64)  # (N,)
    picks = []
    for _ in range(budget):
        chosen = int(top(-f, 1, np.flatnonzero(y == 0))[0])
        picks.append(chosen)
        y[chosen] = 1
        if len(picks) < budget:
            column = np.zeros_like(y)
            column[chosen] = 1
            f += diffuse(W, column, alpha)
    return np.array(picks, dtype=np.int64)
