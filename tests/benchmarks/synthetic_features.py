"""The data of the benchmarks: features like those of a trained network, from a fixed seed."""

import numpy as np

from utils.arrays import l2_normalize


def features_and_classes(
    n: int, d: int = 128, classes: int = 10, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) float32 of unit length, and classes (n,) int64.

    Each class has several modes on curved sheets of 16 dimensions; the features are rectified like
    those after a ReLU."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=n)
    modes = rng.normal(size=(classes, 4, 16)) * 1.1
    latent = modes[truth, rng.integers(4, size=n)] + rng.normal(size=(n, 16)) * 0.7
    sheet = np.concatenate([latent, np.sin(2 * latent)], axis=1)
    features = sheet @ rng.normal(size=(32, d)) / 4 + 0.1 * rng.normal(size=(n, d))
    return l2_normalize(np.maximum(features, 0).astype(np.float32)), truth


def separate_clusters(n: int, d: int = 128, clusters: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) float32 of unit length in clusters that no edge of a graph joins, and ten classes
    (n,) int64 of whole clusters."""
    rng = np.random.default_rng(0)
    cluster = rng.integers(clusters, size=n)
    features = rng.normal(size=(clusters, d))[cluster] + 0.3 * rng.normal(size=(n, d))
    return l2_normalize(features.astype(np.float32)), cluster % 10


def hide_labels(truth: np.ndarray, num_known: int, seed: int = 1) -> np.ndarray:
    """(N,) int64 with `num_known` labels, and -1 elsewhere."""
    labels = np.full(len(truth), -1)
    known = np.random.default_rng(seed).permutation(len(truth))[:num_known]
    labels[known] = truth[known]
    return labels
