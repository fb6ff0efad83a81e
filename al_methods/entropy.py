"""Uncertainty sampling by entropy (Shannon, 1948; Settles, 2009, section 2.1).

Picks the images whose predicted class distribution p has the largest entropy
H(p) = −Σ_c p_c log p_c.
"""

import numpy as np
import scipy.special
import torch

from utils.arrays import as_numpy
from utils.ranking import tie_order, top_candidates


def pick(
    *,
    probs: torch.Tensor,
    labels: np.ndarray,
    budget: int,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Images to label next, in order: (budget,) int64.

    probs: (N, C) softmax; labels: (N,) int64, -1 where unknown; rng: orders equal
    scores."""
    entropies = scipy.special.entr(as_numpy(probs, np.float64)).sum(axis=1)  # (N,) nats
    places = tie_order(rng, len(labels))
    return top_candidates(entropies, budget, np.flatnonzero(labels < 0), places)
