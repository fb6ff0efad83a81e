"""BALD, Bayesian active learning by disagreement, with dropout as the posterior.

Source: Houlsby et al., "Bayesian active learning for classification and preference learning",
arXiv 1112.5745 (2011), equation 2; Gal, Islam & Ghahramani, "Deep Bayesian active learning with
image data", ICML 2017, section 4: the weights ω are sampled M times by dropout.  Picks the images
with the largest mutual information between class and weights,
    I(y; ω) = H(1/M Σ_m p_m) − 1/M Σ_m H(p_m),     H(p) = −Σ_c p_c log p_c:
each pass is certain, but the passes disagree.
"""

import numpy as np
import scipy.special
import torch

from utils.arrays import as_numpy
from utils.ranking import tie_order, top_candidates

ROUNDING_TOLERANCE = 1e-12  # nats; identical passes may differ from zero by less than this


def pick(
    *,
    stochastic_probs: torch.Tensor,
    labels: np.ndarray,
    budget: int,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Images to label next, in order: (budget,) int64.

    stochastic_probs: (N, M, C) softmax of M passes; labels: (N,) int64, -1 where unknown; rng:
    orders equal scores."""
    count, passes, classes = stochastic_probs.shape
    mean, conditional = np.zeros((count, classes)), np.zeros(count)
    for sample in stochastic_probs.unbind(dim=1):  # float64 for one pass at a time saves memory
        probs = as_numpy(sample, np.float64)
        mean = mean + probs / passes
        conditional = conditional + scipy.special.entr(probs).sum(axis=1) / passes
    information = scipy.special.entr(mean).sum(axis=1) - conditional
    information[information < ROUNDING_TOLERANCE] = 0
    places = tie_order(rng, len(labels))
    return top_candidates(information, budget, np.flatnonzero(labels < 0), places)
