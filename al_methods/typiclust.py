"""TypiClust: the most typical image of each of the largest clusters without a label.

Source: Hacohen, Dekel & Weinshall, "Active learning on a budget: opposite strategies suit high and
low budgets", ICML 2022, section 3: k-means of the features (unit length) into as many clusters as
there will be labels, at most MOST; typicality, equation 4, is the inverse of the mean distance to
the K = 20 nearest neighbours, here of the images of the cluster and of the AROUND clusters next to
it: the equation knows no border (the authors' code takes the cluster's alone, half of them where
they are fewer than 40).  Clusters come in order of the labels and picks that they hold, fewest
first, then of their size, the largest first; those of fewer than SMALLEST images, which that code
leaves out, come after all others.  A cluster comes again when all have had their turn.
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
NUM_ADJACENT_CLUSTERS = 3  # clusters whose images may be neighbours too
MAX_CLUSTERS = 500  # clusters
MIN_CLUSTER_SIZE = 5  # images of a cluster that is worth a pick
DUPLICATE_SQUARED_DISTANCE = (
    1e-4  # squared distance, which is rounded to 1e-6: duplicates are nearer
)


def pick(
    *, pretrained_features: torch.Tensor, labels: np.ndarray, budget: int, rng=None
) -> np.ndarray:
    """pretrained_features: (N, d); labels: (N,) int64, -1 where unknown, all of them perhaps; rng:
    seeds k-means -> (budget,) int64, in order."""
    x = as_numpy(F.normalize(pretrained_features), np.float32)
    count = min(int((labels >= 0).sum()) + budget, MAX_CLUSTERS)
    seed = 0 if rng is None else int(rng.integers(2**31 - 1))
    assigned = assign_clusters(x, count, seed, fast_iterations=(0, 2))
    sizes = np.bincount(assigned)
    held = np.bincount(assigned[labels >= 0], minlength=count)
    members = np.split(np.argsort(assigned, kind="stable"), sizes.cumsum()[:-1])
    near = nearest_clusters(cluster_means(x, assigned, count))
    ranked, picks = {}, []
    for chosen in cluster_order(sizes, held, budget):
        if chosen not in ranked:
            order = rank_by_typicality(
                x, members[chosen], [members[other] for other in near[chosen]]
            )
            ranked[chosen] = iter(order[labels[order] < 0].tolist())
        picks.append(next(ranked[chosen]))
    return np.array(picks, dtype=np.int64)


def cluster_order(sizes: np.ndarray, held: np.ndarray, budget: int) -> Iterator[int]:
    """The clusters to pick from, in order; sizes, held: their images, and those of them with a
    label."""
    held, free = held.copy(), sizes - held
    for _ in range(budget):
        open_ = np.flatnonzero(free > 0)
        order = np.lexsort((-sizes[open_], held[open_], sizes[open_] < MIN_CLUSTER_SIZE))
        chosen = int(open_[order[0]])
        held[chosen] += 1
        free[chosen] -= 1
        yield chosen


def nearest_clusters(centres: np.ndarray) -> np.ndarray:
    """(C, d) -> (C, at most AROUND): which others are next to each, the nearest first."""
    apart = np.einsum("ij,ij->i", centres, centres) - 2 * centres @ centres.T
    np.fill_diagonal(apart, np.inf)
    return np.argsort(apart, axis=1, kind="stable")[
        :, : min(NUM_ADJACENT_CLUSTERS, len(centres) - 1)
    ]


def rank_by_typicality(x: np.ndarray, members: np.ndarray, around: list[np.ndarray]) -> np.ndarray:
    """The members of a cluster, ascending indices (m,), the most typical first; around: those of
    the clusters next to it.  Duplicates are as typical as the first of them, whatever their
    distances were rounded to."""
    near = x[np.concatenate([members, *around])]  # (n, d)
    own, k = near[: len(members)], min(NUM_NEIGHBORS, len(near) - 1)
    if k == 0:
        return members
    squares = _nearest_squared_distances(own, near, k)  # (m, k)
    apart = np.sqrt(squares).mean(axis=1)  # (m,) 1 / typicality
    close = np.flatnonzero(squares.min(axis=1) < DUPLICATE_SQUARED_DISTANCE)
    if len(close):
        twins = {"return_index": True, "return_inverse": True}
        _, first, twin = np.unique(own[close], axis=0, **twins)
        apart[close] = apart[close[first[twin.ravel()]]]
    return members[np.argsort(apart, kind="stable")]


def _nearest_squared_distances(own: np.ndarray, near: np.ndarray, k: int) -> np.ndarray:
    """The k least squared distances of each row of own (m, d) to the others of near (n, d), whose
    first m rows are own -> (m, k), in no order."""
    if len(own) * len(near) <= MAX_KERNEL_VALUES:
        lengths = np.einsum("ij,ij->i", near, near)
        squares = lengths[: len(own), None] + lengths - 2 * (own @ near.T)
        np.fill_diagonal(squares, np.inf)
        return np.partition(squares.clip(min=0), k - 1, axis=1)[:, :k]
    # Of a few large clusters: four to ten times as fast there, and half as fast on many small ones.
    squares, _ = faiss.knn(own, near, k + 1)
    return squares[:, 1:]  # the first is its own, or a duplicate's


METHOD = Method(pick, needs=("pretrained_features",), needs_no_labels=True)
