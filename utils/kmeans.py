"""k-means with faiss, without empty clusters."""

from typing import Any

import numpy as np
from scipy import sparse

from utils.torch_faiss import faiss

DEFAULT_ITERATIONS = 10
SAMPLING_ROUNDS = 2  # of k-means||; each draws as many candidates as there are clusters
MAX_GREEDY_CLUSTERS = 2048  # with more, the candidates' distances would need over 256 MB


def assign_clusters(
    features: np.ndarray, count: int, seed: int, *, fast_iterations: tuple[int, int] | None = None
) -> np.ndarray:
    """Assign every row to one of `count` clusters, none of them empty.

    features: (N, d) float32.
    fast_iterations: number of iterations on half of the rows, then on all, either of which may be
    0, from centres by `scalable_kmeans_init`.  Good enough for acquisition methods.  None:
    DEFAULT_ITERATIONS on all rows from random centres.
    -> (N,) int64.
    Raises ValueError if N < count."""
    if len(features) < count:
        raise ValueError(f"cannot make {count} clusters of {len(features)} images")
    start, iterations = None, sum(fast_iterations) if fast_iterations else DEFAULT_ITERATIONS
    if fast_iterations and count <= MAX_GREEDY_CLUSTERS:
        start = _initial_centers(features, count, seed, fast_iterations[0])
        iterations = fast_iterations[1]
    kmeans = _train_kmeans(features, count, seed, iterations, start)
    _, assigned = kmeans.index.search(features, 1)
    return refill_empty_clusters(features, assigned[:, 0], count)


def _initial_centers(features: np.ndarray, count: int, seed: int, iterations: int) -> np.ndarray:
    """Centers (count, d) after `iterations` on half of the rows; 0: initial centres of all rows."""
    rng = np.random.default_rng(seed)
    if not iterations:
        return scalable_kmeans_init(features, count, rng)
    half = rng.choice(len(features), max(len(features) // 2, count), replace=False)
    sample = features[half]
    start = scalable_kmeans_init(sample, count, rng)
    return _train_kmeans(sample, count, seed, iterations, start).centroids


def _train_kmeans(
    features: np.ndarray, count: int, seed: int, iterations: int, start: np.ndarray | None
) -> Any:
    """A trained faiss.Kmeans.  start: initial centres (count, d); None: random rows."""
    kmeans = faiss.Kmeans(
        features.shape[1],
        count,
        niter=iterations,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(features),  # faiss would train on a sample of more rows
    )
    kmeans.train(features, init_centroids=start)
    return kmeans


def scalable_kmeans_init(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Initial centres by k-means||.  features: (N, d) float32 -> (count, d) float32.

    Source: Bahmani et al., "Scalable k-means++", VLDB 2012, algorithm 2.  Candidates are drawn in
    SAMPLING_ROUNDS rounds, first uniformly, then in proportion to the squared distance to the
    nearest candidate.  The weight of a candidate is the number of rows nearest to it.  k-means++
    chooses among the candidates, in its greedy form (Arthur & Vassilvitskii, SODA 2007, section
    4): of several draws it keeps the one that reduces the cost most.  Then follows a first
    iteration at almost no cost: each row joins the centre of its candidate, and each centre moves
    to the mean of its rows."""
    candidates = rng.choice(len(features), count, replace=False)
    squares, nearest = _nearest_candidates(features, candidates)
    for _ in range(SAMPLING_ROUNDS - 1):
        total = squares.cumsum()
        if total[-1] <= 0:
            break
        drawn = np.unique(_draw_indices(total, count, rng))
        new_squares, new_nearest = _nearest_candidates(features, drawn)
        closer = new_squares < squares
        nearest[closer] = len(candidates) + new_nearest[closer]
        squares[closer] = new_squares[closer]
        candidates = np.concatenate([candidates, drawn])
    weights = np.bincount(nearest, minlength=len(candidates)).astype(np.float32)
    assigned = _greedy_kmeans_plusplus(features[candidates], weights, count, rng)[nearest]
    return cluster_means(features, assigned, count)


def cluster_means(features: np.ndarray, assigned: np.ndarray, count: int) -> np.ndarray:
    """Means of the clusters: features (N, d), assigned (N,) -> (count, d), of the features' type.

    The mean of an empty cluster is zero."""
    entries = (np.ones_like(assigned, features.dtype), assigned, np.arange(len(assigned) + 1))
    sums = sparse.csr_matrix(entries, shape=(len(assigned), count)).T @ features
    return sums / np.bincount(assigned, minlength=count).clip(min=1)[:, None].astype(sums.dtype)


def _nearest_candidates(features: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distance (N,) float64 to the nearest of the candidates `rows` (M,), and its place
    among them (N,) int64."""
    index = faiss.IndexFlatL2(features.shape[1])
    index.add(features[rows])
    squares, nearest = index.search(features, 1)
    squares = squares[:, 0].astype(np.float64).clip(min=0)
    squares[rows] = 0  # exactly, so that a candidate is not drawn again
    return squares, nearest[:, 0]


def _draw_indices(total: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` indices, drawn in proportion to the weights whose running sum is `total`."""
    indices = np.searchsorted(total, rng.random(count) * total[-1], side="right")
    return np.minimum(indices, len(total) - 1)


def _greedy_kmeans_plusplus(
    points: np.ndarray, weights: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Choose `count` of the points (M, d) with weights (M,) as centres by greedy k-means++; returns
    the number of the nearest centre for each point (M,)."""
    lengths = np.einsum("ij,ij->i", points, points)
    squares = np.maximum(lengths[:, None] + lengths - 2 * points @ points.T, 0)  # (M, M)
    np.fill_diagonal(squares, 0)
    left = np.ones_like(weights)  # to the nearest centre; before the first, all are equal
    assigned, trials = np.zeros(len(points), dtype=np.int64), 2 + int(np.log(count))
    for number in range(count):
        total = (weights * left).cumsum(dtype=np.float64)
        if total[-1] <= 0:
            break  # all other points are duplicates of centres
        drawn = _draw_indices(total, trials, rng)
        reached = squares[drawn] if number == 0 else np.minimum(squares[drawn], left)
        best = (reached @ weights).argmin()
        assigned[(squares[drawn[best]] < left) if number else slice(None)] = number
        left = reached[best]
    return assigned


def refill_empty_clusters(features: np.ndarray, assigned: np.ndarray, count: int) -> np.ndarray:
    """Give every empty cluster half of the largest one: the half nearest its outermost member.

    DeepCluster splits a random cluster by a perturbed centroid; this does the same without random
    numbers.
    features: (N, d), assigned: (N,) -> (N,)"""
    assigned = assigned.copy()
    for empty in np.flatnonzero(np.bincount(assigned, minlength=count) == 0):
        members = np.flatnonzero(assigned == np.bincount(assigned, minlength=count).argmax())
        offsets = features[members] - features[members].mean(axis=0)
        outermost = offsets[np.linalg.norm(offsets, axis=1).argmax()]
        order = np.argsort(-(offsets @ outermost), kind="stable")
        assigned[members[order[: len(members) // 2]]] = empty
    return assigned
