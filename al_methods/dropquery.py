"""DropQuery: uncertain under dropout of the features, and spread out.

Source: Gupte et al., "Revisiting active learning in the era of vision foundation models", TMLR
2024, section 4.  Dropout at a ratio ρ = 0.75 makes M = 3 of the features z_i of an unlabeled image;
it is a candidate if more than half of their predicted classes ŷ_i^m are not the class ŷ_i of z_i
itself.  The candidates make as many k-means clusters as images are wanted; of each, the image
nearest the cluster's centre is picked.

Where there are fewer candidates than the budget, which the paper leaves open, all are picked, and
then the images whose class changed most often, and of those the least confident.
"""

import numpy as np
import torch

from utils.arrays import as_numpy
from utils.kmeans import assign_clusters, cluster_means
from utils.ranking import top_candidates


def pick(
    *,
    features: torch.Tensor,
    probs: torch.Tensor,
    dropped_classes: torch.Tensor,
    labels: np.ndarray,
    budget: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """features: (N, d); probs: (N, C) softmax; dropped_classes: (N, M), predicted of features under
    dropout; labels: (N,) int64, -1 where unknown -> (budget,) int64, larger clusters first."""
    probs = as_numpy(probs, np.float64)
    changed = as_numpy(dropped_classes) != probs.argmax(axis=1)[:, None]  # (N, M)
    changes, unlabeled = changed.sum(axis=1), labels < 0
    candidates = np.flatnonzero(unlabeled & (changes > changed.shape[1] / 2))
    if len(candidates) <= budget:
        scores = changes - probs.max(axis=1)  # confidence, at most 1, decides between equals
        return top_candidates(scores, budget, np.flatnonzero(unlabeled))
    rows = as_numpy(features)[candidates]
    return candidates[_cluster_representatives(rows, budget, int(rng.integers(2**31 - 1)))]


def _cluster_representatives(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Of each of `count` clusters of rows (n, d) the row nearest its mean -> (count,) int64."""
    assigned = assign_clusters(rows, count, seed, fast_iterations=(2, 0))
    offsets, sizes = rows - cluster_means(rows, assigned, count)[assigned], np.bincount(assigned)
    squares = np.einsum("ij,ij->i", offsets, offsets)
    squares[sizes[assigned] == 2] = 0  # both are equally far, however that is rounded
    ranked = np.lexsort((squares, assigned))
    nearest = ranked[sizes.cumsum() - sizes]  # each cluster's rows follow each other
    return nearest[np.argsort(-sizes, kind="stable")]
