"""k-means through faiss, in which no cluster stays empty."""

import numpy as np

from utils.torch_faiss import faiss

ITERATIONS = 10
SAMPLE, SAMPLED = 16, 4  # where it is quick: rows a cluster, and iterations on them


def cluster(features: np.ndarray, count: int, seed: int, *, quick: int = 0) -> np.ndarray:
    """Assign every row to one of `count` clusters, none of them empty.

    features: (N, d) float32; quick: so many iterations, after some on a sample, for picks, which
    need no more -> (N,) int64.  Raises ValueError where N < count."""
    if len(features) < count:
        raise ValueError(f"{count} clusters of {len(features)} images")
    if quick:
        start = _trained(features, count, seed, SAMPLED, SAMPLE).centroids
        kmeans = _trained(features, count, seed, quick, len(features), start)
    else:
        kmeans = _trained(features, count, seed, ITERATIONS, len(features))
    _, assigned = kmeans.index.search(features, 1)
    return refill(features, assigned[:, 0], count)


def _trained(features, count: int, seed: int, iterations: int, most: int, centroids=None):
    """faiss's k-means, from some rows or from given centroids; most: rows a cluster, beyond which
    faiss takes a sample."""
    kmeans = faiss.Kmeans(
        features.shape[1],
        count,
        niter=iterations,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=most,
    )
    kmeans.train(features, init_centroids=centroids)
    return kmeans


def refill(features: np.ndarray, assigned: np.ndarray, count: int) -> np.ndarray:
    """Give every empty cluster half of the then largest: the half towards its outermost member.

    DeepCluster splits a random cluster by a perturbed centroid; this is the same without a draw.
    features: (N, d), assigned: (N,) -> (N,)"""
    assigned = assigned.copy()
    for empty in np.flatnonzero(np.bincount(assigned, minlength=count) == 0):
        members = np.flatnonzero(assigned == np.bincount(assigned, minlength=count).argmax())
        offsets = features[members] - features[members].mean(axis=0)
        outermost = offsets[np.linalg.norm(offsets, axis=1).argmax()]
        order = np.argsort(-(offsets @ outermost), kind="stable")
        assigned[members[order[: len(members) // 2]]] = empty
    return assigned
