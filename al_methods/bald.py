"""BALD, Bayesian active learning by disagreement, with dropout for the posterior.

Source: Houlsby et al., "Bayesian active learning for classification and preference learning",
arXiv 1112.5745 (2011), equation 2; Gal, Islam & Ghahramani, "Deep Bayesian active learning with
image data", ICML 2017, section 4: the weights ω are sampled by dropout, M times.  Picks the images
of largest mutual information between class and weights,
    I(y; ω) = H(1/M Σ_m p_m) − 1/M Σ_m H(p_m),     H(p) = −Σ_c p_c log p_c:
the passes are each sure, and not of the same.
"""

import numpy as np
import scipy.special
import torch

from utils.arrays import as_numpy
from utils.ranking import top_candidates

ROUNDING_TOLERANCE = 1e-12  # nats; passes that all say the same disagree by less, and by nothing


def pick(
    *, stochastic_probs: torch.Tensor, labels: np.ndarray, budget: int, rng=None
) -> np.ndarray:
    """stochastic_probs: (N, M, C) softmax of M passes; labels: (N,) int64, -1 where unknown ->
    (budget,) int64."""
    mean, conditional = 0.0, 0.0  # (N, C), (N,)
    passes = stochastic_probs.shape[1]
    for one in stochastic_probs.unbind(dim=1):  # in float64 they would be large together
        probs = as_numpy(one, np.float64)
        mean = mean + probs / passes
        conditional = conditional + scipy.special.entr(probs).sum(axis=1) / passes
    information = scipy.special.entr(mean).sum(axis=1) - conditional
    information[information < ROUNDING_TOLERANCE] = 0
    return top_candidates(information, budget, np.flatnonzero(labels < 0))
