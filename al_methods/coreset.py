"""Core-set selection by greedy k-center.

Source: Sener & Savarese, "Active learning for convolutional neural networks: a core-set approach",
ICLR 2018, algorithm 1.  The labeled images are the first centers; each pick is the image farthest
(Euclidean, between features) from its nearest center.
"""

import numpy as np

BLOCK = 1024  # labeled centers per product when the minima are first computed


def pick(*, features: np.ndarray, labels: np.ndarray, budget: int, rng=None) -> np.ndarray:
    """features: (N, d) float32; labels: (N,) int64, -1 where unknown -> (budget,) int64.

    Squared distances, ‖x − c‖² = ‖x‖² + ‖c‖² − 2 x·c, keep the order: one product per pick."""
    lengths = np.einsum("nd,nd->n", features, features)  # (N,) squared
    nearest = np.full(len(features), np.inf, dtype=np.float32)  # squared distance to a center
    labeled = np.flatnonzero(labels >= 0)
    for start in range(0, len(labeled), BLOCK):
        centers = labeled[start : start + BLOCK]
        products = features @ features[centers].T  # (N, block)
        products *= -2
        products += lengths[centers]
        np.minimum(nearest, products.min(axis=1) + lengths, out=nearest)
    nearest[labeled] = -np.inf
    picks = np.empty(budget, dtype=np.int64)
    for i in range(budget):
        picks[i] = chosen = _farthest(nearest, features)
        distances = lengths + (lengths[chosen] - 2 * (features @ features[chosen]))
        np.minimum(nearest, distances, out=nearest)
        nearest[chosen] = -np.inf
    return picks


def _farthest(nearest: np.ndarray, features: np.ndarray) -> int:
    """argmax, the lower index of exact duplicates even where their products were rounded apart."""
    best = int(nearest.argmax())
    slack = 1e-5 * max(1.0, abs(float(nearest[best]))) if np.isfinite(nearest[best]) else 0.0
    near = np.flatnonzero(nearest[:best] >= nearest[best] - slack)
    twins = near[(features[near] == features[best]).all(axis=1)]
    return int(twins[0]) if len(twins) else best
