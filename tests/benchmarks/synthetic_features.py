"""The data that is measured on: features as a trained network gives them, made from a seed."""

import numpy as np

from utils.arrays import l2_normalize


def features_and_classes(n: int, d: int = 128, classes: int = 10, seed: int = 0):
    """(n, d) float32 unit-length and (n,) int64: classes of several modes each, on curved sheets of
    16 dimensions, rectified as the features behind a ReLU are."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=n)
    modes = rng.normal(size=(classes, 4, 16)) * 1.1
    latent = modes[truth, rng.integers(4, size=n)] + rng.normal(size=(n, 16)) * 0.7
    sheet = np.concatenate([latent, np.sin(2 * latent)], axis=1)
    features = sheet @ rng.normal(size=(32, d)) / 4 + 0.1 * rng.normal(size=(n, d))
    return l2_normalize(np.maximum(features, 0).astype(np.float32)), truth


def some_labels(truth: np.ndarray, count: int, seed: int = 1) -> np.ndarray:
    """(N,) int64 with `count` labels known, -1 elsewhere."""
    labels = np.full(len(truth), -1)
    known = np.random.default_rng(seed).permutation(len(truth))[:count]
    labels[known] = truth[known]
    return labels
