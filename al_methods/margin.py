"""Uncertainty sampling by margin (Scheffer et al., IDA 2001; Settles, 2009, 2.1).

Picks the images whose two most probable classes are closest: the smallest p_(1) − p_(2), where
p_(1) ≥ p_(2) ≥ … are the predicted probabilities in order.
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

    probs: (N, C) softmax, C > 1; labels: (N,) int64, -1 where unknown; rng: orders equal
    scores."""
    ordered = np.sort(as_numpy(probs, np.float64), axis=1)  # (N, C) ascending
    margins = ordered[:, -1] - ordered[:, -2]
    places = tie_order(rng, len(labels))
    return top_candidates(-margins, budget, np.flatnonzero(labels < 0), places)
