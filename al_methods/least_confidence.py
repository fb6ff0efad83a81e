"""Uncertainty sampling by the top probability (Lewis & Gale, SIGIR 1994; Settles, 2009, 2.1).

Picks the images whose predicted class is the least probable: the smallest max_c p_c.
"""

import numpy as np
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
    confidences = as_numpy(probs, np.float64).max(axis=1)  # (N,)
    places = tie_order(rng, len(labels))
    return top_candidates(-confidences, budget, np.flatnonzero(labels < 0), places)
