"""Comparing each label with all others: closed forms against refitting without the label."""

import numpy as np
import pytest
import scipy.stats
import torch

from semisup.wrong_labels import (
    ALPHA,
    KERNEL_RIDGE,
    KERNEL_WIDTH,
    average_ranks,
    compare_with_others,
    diffusion_margins,
    kernel_margins,
    predict_by_kernel,
)
from utils.graph import affinity

NUM_CLASSES = 3


@pytest.fixture
def groups():
    """Features (90, 6) of three groups, their classes, and 18 labels of which two are wrong."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(NUM_CLASSES), 30)
    centers = rng.normal(0, 2, (NUM_CLASSES, 6))
    features = torch.tensor(centers[truth] + rng.normal(0, 1, (90, 6)), dtype=torch.float32)
    labels = np.full(90, -1)
    labels[::5] = truth[::5]
    wrong = np.array([10, 70])
    labels[wrong] = (truth[wrong] + 1) % NUM_CLASSES
    return features, labels, truth, wrong


def predict_without(features, labels, image):
    """Kernel ridge regression that is fitted without one image: its predictions (C,) there."""
    distances = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    scale = np.median(distances[~np.eye(len(labels), dtype=bool)])
    kernel = np.exp(-distances / (KERNEL_WIDTH * scale))
    rest = np.arange(len(labels)) != image
    targets = np.eye(NUM_CLASSES)[labels] - 1 / NUM_CLASSES
    ridge = kernel[np.ix_(rest, rest)] + KERNEL_RIDGE * np.eye(rest.sum())
    return kernel[image, rest] @ np.linalg.solve(ridge, targets[rest])


def test_kernel_predictions_are_those_of_refitting(groups):
    features, labels, _, _ = groups
    images = np.flatnonzero(labels >= 0)
    x, y = features.numpy()[images].astype(np.float64), labels[images]
    expected = [predict_without(x, y, image) for image in range(len(y))]
    np.testing.assert_allclose(predict_by_kernel(x, y, NUM_CLASSES), expected, atol=1e-10)


def test_margins():
    z = np.array([[4.0, 2, 1], [0, 1, 1], [0, 0, 0]])
    labels = np.array([1, 1, 0])
    np.testing.assert_allclose(diffusion_margins(z, labels), [np.log(2), 0, 0])
    f = np.array([[0.5, -0.25, 0.125], [-1, -2, -3]])
    np.testing.assert_allclose(kernel_margins(f, labels[:2]), [0.75, 1])


def test_wrong_labels_are_the_most_suspicious(groups):
    features, labels, truth, wrong = groups
    found = compare_with_others(affinity(features, k=5), features, labels, NUM_CLASSES)
    assert (found.images == np.flatnonzero(labels >= 0)).all()
    top = found.images[np.argsort(-found.suspicion)[:2]]
    assert sorted(top) == wrong.tolist()
    assert (found.suggested[np.isin(found.images, wrong)] == truth[wrong]).all()


def test_the_suspicion_is_the_sum_of_the_ranks(groups):
    """Against the diffusion by a dense solve, image by image."""
    features, labels, _, _ = groups
    W = affinity(features, k=5)
    found = compare_with_others(W, features, labels, NUM_CLASSES)
    kernel = np.linalg.inv(np.eye(len(labels)) - ALPHA * W.toarray())
    z = np.zeros((len(found.images), NUM_CLASSES))
    for row, image in enumerate(found.images):
        for c in range(NUM_CLASSES):
            others = [j for j in found.images if j != image and labels[j] == c]
            z[row, c] = np.mean(kernel[image, others])
    y = labels[found.images]
    f = predict_by_kernel(features[found.images].double().numpy(), y, NUM_CLASSES)
    parts = (diffusion_margins(z, y), kernel_margins(f, y))
    ranks = sum(np.argsort(np.argsort(part)) + 1 for part in parts)
    np.testing.assert_array_equal(found.suspicion, ranks)


def test_equal_values_share_the_mean_of_their_ranks():
    for size in (0, 1, 50):
        values = np.random.default_rng(size).integers(0, 9, size).astype(float)
        assert average_ranks(values).tolist() == scipy.stats.rankdata(values).tolist()


def test_a_label_alone_in_its_class_cannot_be_compared(groups):
    features, *_ = groups
    few = np.full(90, -1)
    few[[0, 31, 61, 63]] = [0, 1, 2, 2]
    found = compare_with_others(affinity(features, k=5), features, few, NUM_CLASSES)
    assert np.isneginf(found.suspicion).tolist() == [True, True, False, False]
    one = np.where(np.arange(90) == 4, 1, -1)
    alone = compare_with_others(affinity(features, k=5), features, one, NUM_CLASSES)
    assert alone.images.tolist() == [4] and np.isneginf(alone.suspicion).all()


def test_equal_features_give_finite_scores():
    """A kernel without any distance, as of images that are copies of one."""
    features = torch.ones(6, 3)
    labels = np.array([0, 0, 1, 1, -1, -1])
    found = compare_with_others(affinity(features, k=2), features, labels, 2)
    assert np.isfinite(found.suspicion).all() and (found.suggested == 1 - labels[:4]).all()
