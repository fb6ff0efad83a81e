"""k-means through faiss, in which no cluster stays empty."""

import numpy as np
from scipy import sparse

from utils.torch_faiss import faiss

DEFAULT_ITERATIONS = 10
SAMPLING_ROUNDS = 2  # of k-means||: of draws, each of as many candidates as there are clusters
MAX_GREEDY_CLUSTERS = 2048  # clusters; beyond, 256 MB would not hold the candidates' distances


def assign_clusters(
    features: np.ndarray, count: int, seed: int, *, fast_iterations: tuple[int, int] | None = None
) -> np.ndarray:
    """Assign every row to one of `count` clusters, none of them empty.

    features: (N, d) float32; quick: for picks, which need no more, so many iterations on half of
    the rows and then on all, perhaps none, from centres that are spread out -> (N,) int64.  Raises
    ValueError where N < count."""
    if len(features) < count:
        raise ValueError(f"{count} clusters of {len(features)} images")
    start, iterations = None, sum(fast_iterations) if fast_iterations else DEFAULT_ITERATIONS
    if fast_iterations and count <= MAX_GREEDY_CLUSTERS:
        start, iterations = (
            _initial_centers(features, count, seed, fast_iterations[0]),
            fast_iterations[1],
        )
    kmeans = _train_kmeans(features, count, seed, iterations, start)
    _, assigned = kmeans.index.search(features, 1)
    return refill_empty_clusters(features, assigned[:, 0], count)


def _initial_centers(features: np.ndarray, count: int, seed: int, iterations: int) -> np.ndarray:
    """Centres after so many iterations on half of the rows; none: spread out over all rows."""
    rng = np.random.default_rng(seed)
    if not iterations:
        return scalable_kmeans_init(features, count, rng)
    half = rng.choice(len(features), max(len(features) // 2, count), replace=False)
    some = features[half]
    return _train_kmeans(
        some, count, seed, iterations, scalable_kmeans_init(some, count, rng)
    ).centroids


def _train_kmeans(features: np.ndarray, count: int, seed: int, iterations: int, start):
    kmeans = faiss.Kmeans(
        features.shape[1],
        count,
        niter=iterations,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(features),  # beyond which faiss takes a sample
    )
    kmeans.train(features, init_centroids=start)
    return kmeans


def scalable_kmeans_init(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Centres to go on from: features (N, d) float32 -> (count, d) float32.

    Source: k-means||, Bahmani et al., "Scalable k-means++", VLDB 2012, algorithm 2.  Candidates are
    drawn in a few rounds, the first uniformly, then in proportion to the squared distance to the
    nearest candidate; each weighs as much as the rows that it is nearest to, and k-means++ chooses
    among them.  That one is greedy (Arthur & Vassilvitskii, SODA 2007, section 4): of some draws
    it keeps the one that leaves the least.  A first iteration costs next to nothing then: a row
    goes where its candidate goes, and each centre is the mean of its rows."""
    candidates = rng.choice(len(features), count, replace=False)
    squares, nearest = _nearest_candidates(features, candidates)
    for _ in range(SAMPLING_ROUNDS - 1):
        total = squares.cumsum()
        if total[-1] <= 0:
            break
        drawn = np.unique(_draw_indices(total, count, rng))
        new, own = _nearest_candidates(features, drawn)
        closer = new < squares
        nearest[closer] = len(candidates) + own[closer]
        squares[closer] = new[closer]
        candidates = np.concatenate([candidates, drawn])
    weights = np.bincount(nearest, minlength=len(candidates)).astype(np.float32)
    assigned = _greedy_kmeans_plusplus(features[candidates], weights, count, rng)[nearest]
    return cluster_means(features, assigned, count)


def cluster_means(features: np.ndarray, assigned: np.ndarray, count: int) -> np.ndarray:
    """Clusters' means: features (N, d), assigned (N,) -> (count, d) of their type; a cluster
    without a row, whose place another has already, is at the origin."""
    each = (np.ones_like(assigned, features.dtype), assigned, np.arange(len(assigned) + 1))
    sums = sparse.csr_matrix(each, shape=(len(assigned), count)).T @ features
    return sums / np.bincount(assigned, minlength=count).clip(min=1)[:, None].astype(sums.dtype)


def _nearest_candidates(features: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distance (N,) float64 to the nearest of some rows, and which of them (N,)."""
    index = faiss.IndexFlatL2(features.shape[1])
    index.add(features[rows])
    squares, own = index.search(features, 1)
    squares = squares[:, 0].astype(np.float64).clip(min=0)
    squares[rows] = 0  # whatever it was rounded to: a candidate is not drawn again
    return squares, own[:, 0]


def _draw_indices(total: np.ndarray, count: int, rng) -> np.ndarray:
    """So many indices, with the weights whose running sum is `total`."""
    found = np.searchsorted(total, rng.random(count) * total[-1], side="right")
    return np.minimum(found, len(total) - 1)


def _greedy_kmeans_plusplus(points: np.ndarray, weights: np.ndarray, count: int, rng) -> np.ndarray:
    """k-means++ of points (M, d) with weights (M,): which of the `count` that it chooses is nearest
    to each (M,)."""
    lengths = np.einsum("ij,ij->i", points, points)
    squares = np.maximum(lengths[:, None] + lengths - 2 * points @ points.T, 0)  # (M, M)
    np.fill_diagonal(squares, 0)
    left = np.ones_like(weights)  # at first all are equally far
    assigned, trials = np.zeros(len(points), dtype=np.int64), 2 + int(np.log(count))
    for number in range(count):
        total = (weights * left).cumsum(dtype=np.float64)
        if total[-1] <= 0:
            break  # what is left are duplicates of what is chosen
        drawn = _draw_indices(total, trials, rng)
        reached = squares[drawn] if number == 0 else np.minimum(squares[drawn], left)
        best = (reached @ weights).argmin()
        assigned[(squares[drawn[best]] < left) if number else slice(None)] = number
        left = reached[best]
    return assigned


def refill_empty_clusters(features: np.ndarray, assigned: np.ndarray, count: int) -> np.ndarray:
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
