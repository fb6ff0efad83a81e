"""MaxHerding: greedy generalised coverage with a Gaussian kernel.

Source: Bae, Noh & Sutherland, "Generalized coverage for more robust low-budget active learning",
ECCV 2024: the coverage C_k(L) = E_x max_{x' in L} k(x, x') of section 3, maximised greedily as in
section 4.  k(x, x') = exp(−‖x − x'‖² / σ²) with σ = 1 between features of unit length; the
expectation is the mean over all training images.
"""

import numpy as np
import torch
import torch.nn.functional as F

from al_methods.greedy_coverage import make_gaussian_kernel, select_covering_images
from al_methods.spec import Method

SIGMA = 1.0


def pick(
    *,
    pretrained_features: torch.Tensor,
    labels: np.ndarray,
    budget: int,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Images to label next, in order: (budget,) int64.

    pretrained_features: (N, d); labels: (N,) int64, -1 where unknown, possibly everywhere."""
    x = F.normalize(pretrained_features)
    kernel = make_gaussian_kernel(x, SIGMA)
    picks, _ = select_covering_images(kernel, labels, budget, x.device, rng=rng)
    return np.array(picks, dtype=np.int64)


METHOD = Method(pick, needs=("pretrained_features",), needs_no_labels=True)
