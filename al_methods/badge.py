"""BADGE, batch active learning by diverse gradient embeddings.

Source: Ash et al., "Deep batch active learning by diverse, uncertain gradient lower bounds",
ICLR 2020, algorithm 1 and equation 1.  An image's embedding is the gradient of its loss with
respect to the weights of the last layer if the predicted class were its label:
g = (p − e_ŷ) ⊗ z with probabilities p, ŷ = argmax p and features z.  The picks are the centers that
k-means++ (Arthur & Vassilvitskii, SODA 2007) draws over the unlabeled images, each with probability
proportional to its squared distance to the nearest center.  Only the first center differs: as in
the authors' code, it is the image with the largest gradient, where k-means++ draws uniformly and
might start at an image of which the network is certain.

Embeddings, C·d numbers per image, are never formed.  With a = p − e_ŷ their products factorise,
‖a⊗x − b⊗y‖² = |a|²|x|² + |b|²|y|² − 2 (a·b)(x·y), so C + d numbers per image suffice.  A new center
is first compared by the shorter factor alone, with the bound |x·y| <= |x||y|: images for which this
already shows that the new center is farther than an older one skip the longer factor.

Once all remaining images coincide with a center (duplicates, certain predictions), all distances
are zero and images are picked at random.
"""

import numpy as np
import torch

from utils.arrays import as_numpy
from utils.ranking import tie_order, top_candidates

ROUNDING_TOLERANCE = 1e-9  # squared distances below this share of their terms count as zero


def pick(
    *,
    probs: torch.Tensor,
    features: torch.Tensor,
    labels: np.ndarray,
    budget: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Images to label next, in order: (budget,) int64.

    probs: (N, C) softmax; features: (N, d); labels: (N,) int64, -1 where unknown.  Computes on the
    device of the features."""
    unlabeled = np.flatnonzero(labels < 0)
    rows = torch.as_tensor(unlabeled, device=features.device)
    errors, features = probs[rows].double(), features[rows].double()  # (U, C), (U, d)
    predicted = errors.argmax(dim=1)
    errors[torch.arange(len(rows), device=rows.device), predicted] -= 1
    short, long = sorted((errors, features), key=lambda factor: factor.shape[1])
    lengths = errors.square().sum(dim=1) * features.square().sum(dim=1)  # (U,) squared
    norms = long.norm(dim=1)
    nearest = torch.full_like(lengths, torch.inf)  # squared distance to the nearest center
    left = np.ones(len(unlabeled), dtype=bool)
    places = tie_order(rng, len(unlabeled))
    picks = top_candidates(as_numpy(lengths), 1, np.arange(len(unlabeled)), places).tolist()
    while len(picks) < budget:
        left[picks[-1]] = False
        near = _find_nearer_candidates(nearest, short, norms, lengths, picks[-1])
        squares = _squared_distances(short, long, lengths, picks[-1], near)
        nearest[near] = torch.minimum(nearest[near], squares)
        picks.append(_draw_proportional(as_numpy(nearest), left, places, rng))
    return unlabeled[picks]


def _find_nearer_candidates(
    nearest: torch.Tensor,
    short: torch.Tensor,
    norms: torch.Tensor,
    lengths: torch.Tensor,
    center: int,
) -> torch.Tensor:
    """Indices of the embeddings that may be nearer to `center` than `nearest` (U,).

    short: (U, C), the shorter factor; norms: (U,), of the longer."""
    terms = lengths + lengths[center]
    bounds = (short @ short[center]).abs_().mul_(norms).mul_(2 * norms[center])
    return (terms * (1 - ROUNDING_TOLERANCE) - bounds < nearest).nonzero().flatten()


def _squared_distances(
    short: torch.Tensor,
    long: torch.Tensor,
    lengths: torch.Tensor,
    center: int,
    rows: torch.Tensor,
) -> torch.Tensor:
    """Squared distances of the embeddings `rows` to `center`: (U, C), (U, d), (U,) -> (rows,)."""
    terms = lengths[rows] + lengths[center]
    products = (short[rows] @ short[center]) * (long[rows] @ long[center])
    squares = terms - 2 * products
    return torch.where(squares > ROUNDING_TOLERANCE * terms, squares, 0)


def _draw_proportional(
    weights: np.ndarray, left: np.ndarray, places: np.ndarray, rng: np.random.Generator
) -> int:
    """An index with left (U,), drawn with probability proportional to its weight (U,); the first
    by `places` where all weights are zero."""
    total = np.where(left, weights, 0).cumsum()
    if total[-1] <= 0:
        return int(np.where(left, places, len(places)).argmin())
    return int(np.searchsorted(total, rng.random() * total[-1], side="right"))
