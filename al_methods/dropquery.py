"""DropQuery: images that are uncertain under dropout of the features, and diverse.

Source: Gupte et al., "Revisiting active learning in the era of vision foundation models", TMLR
2024, section 4.  Dropout at a ratio ρ = 0.75 makes M = 3 copies of the features z_i of an unlabeled
image; it is a candidate if more than half of their predicted classes ŷ_i^m differ from the class
ŷ_i of z_i itself.  The candidates are divided by k-means into as many clusters as the budget; of
each, the image nearest to the cluster's centre is picked.

The paper does not say what happens if there are fewer candidates than the budget.  Here all are
picked, then the images whose class changed most often, the least confident first among equals.
"""

import numpy as np
import torch

from utils.arrays import as_numpy
from utils.kmeans import assign_clusters, cluster_means
from utils.ranking import tie_order, top_candidates


def pick(
    *,
    features: torch.Tensor,
    probs: torch.Tensor,
    dropped_classes: torch.Tensor,
    labels: np.ndarray,
    budget: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Images to label next, larger clusters first: (budget,) int64.

    features: (N, d); probs: (N, C) softmax; dropped_classes: (N, M), predicted from features under
    dropout; labels: (N,) int64, -1 where unknown; rng: seeds k-means and
    orders equal scores."""
    class_probs = as_numpy(probs, np.float64)
    changed = as_numpy(dropped_classes) != class_probs.argmax(axis=1)[:, None]  # (N, M)
    changes, unlabeled = changed.sum(axis=1), labels < 0
    candidates = np.flatnonzero(unlabeled & (changes > changed.shape[1] / 2))
    if len(candidates) <= budget:
        scores = changes - class_probs.max(axis=1)  # confidence, at most 1, breaks ties
        places = tie_order(rng, len(labels))
        return top_candidates(scores, budget, np.flatnonzero(unlabeled), places)
    rows = as_numpy(features)[candidates]
    return candidates[_cluster_representatives(rows, budget, int(rng.integers(2**31 - 1)))]


def _cluster_representatives(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The row nearest to the mean of each of `count` clusters of rows (n, d): (count,) int64."""
    assigned = assign_clusters(rows, count, seed, fast_iterations=(2, 0))
    offsets, sizes = rows - cluster_means(rows, assigned, count)[assigned], np.bincount(assigned)
    squares = np.einsum("ij,ij->i", offsets, offsets)
    squares[sizes[assigned] == 2] = 0  # both are equally far, whatever the rounding
    ranked = np.lexsort((squares, assigned))
    nearest = ranked[sizes.cumsum() - sizes]  # the first row of each cluster in this order
    return nearest[np.argsort(-sizes, kind="stable")]
