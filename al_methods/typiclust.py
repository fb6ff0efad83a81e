"""TypiClust: the most typical image of each of the largest clusters without a label.

Source: Hacohen, Dekel & Weinshall, "Active learning on a budget: opposite strategies suit high and
low budgets", ICML 2022, section 3.  k-means divides the features (unit length) into as many
clusters as there will be labels, at most MAX_CLUSTERS.  The typicality of an image (equation 4) is
the inverse of its mean distance to its K = 20 nearest neighbours.  Neighbours are searched in the
image's cluster and in the NUM_ADJACENT_CLUSTERS clusters nearest to it, because equation 4 knows no
cluster borders; the authors' code searches the cluster alone, and takes half of its images where
they are fewer than 40.

Visit clusters with the fewest labeled images first; break ties by size, largest first.  Clusters
with fewer than MIN_CLUSTER_SIZE images come last (the authors' code drops them).  Revisit a cluster
only after all have been visited.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from al_methods.greedy_coverage import MAX_KERNEL_VALUES
from al_methods.spec import Method
from utils.arrays import as_numpy
from utils.kmeans import assign_clusters, cluster_means
from utils.torch_faiss import faiss

NUM_NEIGHBORS = 20  # K in the paper
NUM_ADJACENT_CLUSTERS = 3  # nearest clusters in which neighbours are searched too
MAX_CLUSTERS = 500
MIN_CLUSTER_SIZE = 5  # images; smaller clusters come last
DUPLICATE_SQUARED_DISTANCE = 1e-4  # duplicates are nearer: squared distances are rounded to 1e-6


def pick(
    *,
    pretrained_features: torch.Tensor,
    labels: np.ndarray,
    budget: int,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Images to label next, in order: (budget,) int64.

    pretrained_features: (N, d); labels: (N,) int64, -1 where unknown, possibly everywhere; rng:
    seeds k-means."""
    x = as_numpy(F.normalize(pretrained_features), np.float32)
    count = min(int((labels >= 0).sum()) + budget, MAX_CLUSTERS)
    seed = 0 if rng is None else int(rng.integers(2**31 - 1))
    assigned = assign_clusters(x, count, seed, fast_iterations=(0, 2))
    sizes = np.bincount(assigned)
    labeled = np.bincount(assigned[labels >= 0], minlength=count)
    members = np.split(np.argsort(assigned, kind="stable"), sizes.cumsum()[:-1])
    adjacent = nearest_clusters(cluster_means(x, assigned, count))
    candidates: dict[int, Iterator[int]] = {}  # cluster -> its unlabeled images, most typical first
    picks = []
    for cluster in cluster_order(sizes, labeled, budget):
        if cluster not in candidates:
            around = [members[other] for other in adjacent[cluster]]
            order = rank_by_typicality(x, members[cluster], around)
            candidates[cluster] = iter(order[labels[order] < 0].tolist())
        picks.append(next(candidates[cluster]))
    return np.array(picks, dtype=np.int64)


def cluster_order(sizes: np.ndarray, labeled: np.ndarray, budget: int) -> Iterator[int]:
    """The clusters to pick from, in order, one per pick.

    sizes, labeled: number of images, and of labeled images, per cluster."""
    labeled, free = labeled.copy(), sizes - labeled
    for _ in range(budget):
        available = np.flatnonzero(free > 0)
        order = np.lexsort(
            (-sizes[available], labeled[available], sizes[available] < MIN_CLUSTER_SIZE)
        )
        chosen = int(available[order[0]])
        labeled[chosen] += 1
        free[chosen] -= 1
        yield chosen


def nearest_clusters(centres: np.ndarray) -> np.ndarray:
    """The nearest other clusters of each, nearest first: (C, d) -> (C, NUM_ADJACENT_CLUSTERS), or
    fewer columns where there are fewer others."""
    squares = np.einsum("ij,ij->i", centres, centres) - 2 * centres @ centres.T
    np.fill_diagonal(squares, np.inf)
    count = min(NUM_ADJACENT_CLUSTERS, len(centres) - 1)
    return np.argsort(squares, axis=1, kind="stable")[:, :count]


def rank_by_typicality(x: np.ndarray, members: np.ndarray, around: list[np.ndarray]) -> np.ndarray:
    """The members of a cluster, most typical first: (m,) -> (m,).

    members: ascending indices into x (N, d); around: the members of each adjacent cluster.
    Duplicates count as typical as the first of them, however their distances are rounded."""
    near = x[np.concatenate([members, *around])]  # (n, d)
    own, k = near[: len(members)], min(NUM_NEIGHBORS, len(near) - 1)
    if k == 0:
        return members
    squares = _nearest_squared_distances(own, near, k)  # (m, k)
    mean_distances = np.sqrt(squares).mean(axis=1)  # (m,) 1 / typicality
    close = np.flatnonzero(squares.min(axis=1) < DUPLICATE_SQUARED_DISTANCE)
    if len(close):
        _, first, inverse = np.unique(own[close], axis=0, return_index=True, return_inverse=True)
        mean_distances[close] = mean_distances[close[first[inverse.ravel()]]]
    return members[np.argsort(mean_distances, kind="stable")]


def _nearest_squared_distances(own: np.ndarray, near: np.ndarray, k: int) -> np.ndarray:
    """The k smallest squared distances of each row of `own` to the other rows of `near`, unordered.

    own: (m, d), the first m rows of near (n, d) -> (m, k)."""
    if len(own) * len(near) <= MAX_KERNEL_VALUES:
        lengths = np.einsum("ij,ij->i", near, near)
        squares = lengths[: len(own), None] + lengths - 2 * (own @ near.T)
        np.fill_diagonal(squares, np.inf)
        return np.partition(squares.clip(min=0), k - 1, axis=1)[:, :k]
    # faiss: four to ten times as fast on a few large clusters, half as fast on many small ones.
    squares, _ = faiss.knn(own, near, k + 1)
    return squares[:, 1:]  # the first is the row itself or a duplicate


METHOD = Method(pick, needs=("pretrained_features",), needs_no_labels=True)
