"""BADGE, batch active learning by diverse gradient embeddings.

Source: Ash et al., "Deep batch active learning by diverse, uncertain gradient lower bounds",
ICLR 2020, algorithm 1 and equation 1.  An image's embedding is the gradient of its loss by the
weights of the last layer, were its predicted class its label: g = (p − e_ŷ) ⊗ z with probabilities
p, ŷ = argmax p and features z.  The picks are the centers that k-means++ (Arthur & Vassilvitskii,
SODA 2007) draws over the unlabeled images: each with a probability in proportion to its squared
distance from the nearest center.  Only the first is, as in the authors' code, the image of the
largest gradient, where k-means++ would draw uniformly: it may be one that the network is sure of.

Embeddings, C·d numbers an image, are never formed: with a = p − e_ŷ their products factorise,
‖a⊗x − b⊗y‖² = |a|²|x|² + |b|²|y|² − 2 (a·b)(x·y), in C + d numbers an image.  A new center is
compared by the shorter of both factors alone first: |x·y| <= |x||y|, and where that says that it is
farther than an older one, the longer is not looked at.

Where every image left stands on a center (duplicates, certain predictions) there is nothing to draw
by, and the picks are the lowest indices.
"""

import numpy as np
import torch

from utils.arrays import as_numpy

ROUNDING_TOLERANCE = 1e-9  # of a squared distance's terms; what is less is taken for the same place


def pick(
    *,
    probs: torch.Tensor,
    features: torch.Tensor,
    labels: np.ndarray,
    budget: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """probs: (N, C) softmax; features: (N, d); labels: (N,) int64, -1 where unknown -> (budget,)
    int64, in order.  On the device of the features; the draws are the given generator's."""
    unlabeled = np.flatnonzero(labels < 0)
    rows = torch.as_tensor(unlabeled, device=features.device)
    errors, features = probs[rows].double(), features[rows].double()  # (U, C), (U, d)
    predicted = errors.argmax(dim=1)
    errors[torch.arange(len(rows), device=rows.device), predicted] -= 1
    factors = sorted((errors, features), key=lambda factor: factor.shape[1])
    lengths = errors.square().sum(dim=1) * features.square().sum(dim=1)  # (U,) squared
    norms = factors[1].norm(dim=1)
    nearest = torch.full_like(lengths, torch.inf)  # squared distance to a center
    left = np.ones(len(unlabeled), dtype=bool)
    picks = [int(lengths.argmax())]
    while len(picks) < budget:
        left[picks[-1]] = False
        near = _find_nearer_candidates(nearest, factors[0], norms, lengths, picks[-1])
        found = _squared_distances(*factors, lengths, picks[-1], near)
        nearest[near] = torch.minimum(nearest[near], found)
        picks.append(_draw_proportional(as_numpy(nearest), left, rng))
    return unlabeled[picks]


def _find_nearer_candidates(nearest, errors, norms, lengths, center: int) -> torch.Tensor:
    """Indices of the embeddings that one of them may be nearer to than `nearest` (U,).

    errors: (U, C), one factor; norms: (U,), of the other."""
    terms = lengths + lengths[center]
    most = (errors @ errors[center]).abs_().mul_(norms).mul_(2 * norms[center])
    return (terms * (1 - ROUNDING_TOLERANCE) - most < nearest).nonzero().flatten()


def _squared_distances(errors, features, lengths, center: int, rows=slice(None)) -> torch.Tensor:
    """Squared distances of some embeddings, or all, to one: (U, C), (U, d), (U,) -> (rows,)."""
    terms = lengths[rows] + lengths[center]
    products = (errors[rows] @ errors[center]) * (features[rows] @ features[center])
    squares = terms - 2 * products
    return torch.where(squares > ROUNDING_TOLERANCE * terms, squares, 0)


def _draw_proportional(weights: np.ndarray, left: np.ndarray, rng) -> int:
    """One that is left (U,), drawn in proportion to its weight (U,); the first where all are 0."""
    total = np.where(left, weights, 0).cumsum()
    if total[-1] <= 0:
        return int(left.argmax())
    return int(np.searchsorted(total, rng.random() * total[-1], side="right"))
