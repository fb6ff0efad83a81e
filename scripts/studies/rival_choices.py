"""Rivals that choose images without a label, each in a few lines and at its paper's settings.

x (N, d) are features of unit length, W (N, N) is the affinity of a graph, and `count` images are
chosen.  Every function returns the picks in order of choice.
"""

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from utils.graph import knn
from utils.kmeans import assign_clusters

USL_NEIGHBORS = 20
USL_WEIGHT, USL_EXPONENT, USL_MOMENTUM, USL_ROUNDS = 0.5, 0.5, 0.9, 10
NUM_EIGENVECTORS = 200  # of GraphLearning's examples
NOISE_VARIANCE = 0.1**2  # gamma2 of GraphLearning
RDSS_SAMPLE = 1000  # rows whose median distance is the width of the kernel


def usl(x: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Unsupervised selective labeling: dense images of k-means' clusters, far from each other.

    Source: Wang, Lian & Yu, "Unsupervised selective labeling for more effective semi-supervised
    learning", ECCV 2022, section 3.2, equations 3 to 7, with the settings for CIFAR-10: the density
    U is the inverse of the mean distance to 20 neighbours; the regulariser is Σ 1 / distance^α to
    the picks of the other clusters, α 0.5, averaged over 10 rounds with momentum 0.9 and subtracted
    with the weight 0.5."""
    similarities, _ = knn(x, min(USL_NEIGHBORS, len(x) - 1))
    distances = np.sqrt(np.maximum(2 - 2 * similarities, 0))
    density = 1 / np.maximum(distances.mean(axis=1), 1e-6)
    clusters = assign_clusters(x, count, seed)
    members = [np.flatnonzero(clusters == cluster) for cluster in range(count)]
    picks = np.array([own[density[own].argmax()] for own in members])
    penalty = np.zeros(len(x))
    for _ in range(USL_ROUNDS):
        between = np.sqrt(np.maximum(2 - 2 * x @ x[picks].T, 1e-8))  # (N, count)
        inverse = between**-USL_EXPONENT
        inverse[np.arange(len(x)), clusters] = 0  # the other clusters alone
        penalty = USL_MOMENTUM * penalty + (1 - USL_MOMENTUM) * inverse.sum(axis=1)
        score = density - USL_WEIGHT * penalty
        picks = np.array([own[score[own].argmax()] for own in members])
    return picks


def rdss(x: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Representative and diverse sample selection: kernel herding that minimises the α-MMD.

    Source: Shao et al., "Enhancing semi-supervised learning via representative and diverse sample
    selection", NeurIPS 2024, section 4 and algorithm 1 (GKHR): without replacement, the image of
    largest α Σ_j k(x, x_j) / N − Σ_{s in S} k(x, s) / (|S| + 1), with α = 1 − 1/√count and a
    Gaussian kernel; its width is the median distance of RDSS_SAMPLE images."""
    sample = x[np.random.default_rng(seed).permutation(len(x))[:RDSS_SAMPLE]]
    squares = np.maximum(2 - 2 * sample @ sample.T, 0)
    width = np.median(squares[np.triu_indices(len(sample), 1)])
    kernel = np.exp((x @ x.T - 1) / max(width, 1e-12))  # exp(−‖·‖² / (2 σ²))
    alpha = 1 - 1 / np.sqrt(count)
    mean, near = kernel.mean(axis=1), np.zeros(len(x))
    picks: list[int] = []
    for step in range(count):
        score = alpha * mean - near / (step + 1)
        score[picks] = -np.inf
        picks.append(int(score.argmax()))
        near += kernel[:, picks[-1]]
    return np.array(picks)


def optimal_design(
    W: scipy.sparse.spmatrix, count: int, criterion: str, first: int | None = None
) -> np.ndarray:
    """V-optimality ("v") and Σ-optimality ("sigma") on the graph.

    Source: Ji & Han, AISTATS 2012; Ma, Garnett & Schneider, NeurIPS 2013.  As in GraphLearning
    1.7.5: C is the inverse of the smallest eigenvalues of I − W, and the image of largest
    ‖C_i‖² / (γ² + C_ii), or (1ᵀC_i)² / (γ² + C_ii), is picked.

    first: the pick to start with; None: by the criterion."""
    rank = min(NUM_EIGENVECTORS, W.shape[0] - 2)
    start = np.ones(W.shape[0])
    values, vectors = scipy.sparse.linalg.eigsh(W, k=rank, which="LA", v0=start)
    C = np.diag(1 / (1 - values + 1e-11))  # in the basis of the eigenvectors
    picks: list[int] = []
    sums = vectors.sum(axis=0)
    for _ in range(count):
        columns = C @ vectors.T  # (rank, N)
        spread = (columns**2).sum(axis=0) if criterion == "v" else (sums @ columns) ** 2
        score = spread / (NOISE_VARIANCE + (vectors * columns.T).sum(axis=1))
        score[picks] = -np.inf
        chosen = first if first is not None and not picks else int(score.argmax())
        picks.append(chosen)
        column = columns[:, chosen]
        C -= np.outer(column, column) / (NOISE_VARIANCE + vectors[chosen] @ column)
    return np.array(picks)
