"""Leave-one-out of the diffusion, against a dense solve that really leaves each label out."""

import numpy as np
import pytest

from semisup.class_masses import find_class_scales
from semisup.label_propagation import propagate
from semisup.leave_one_out import leave_one_out, leave_one_out_scores
from utils.diffusion import as_torch_csr
from utils.graph import affinity

CLASSES = 4


def clustered(count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clusters, and their classes."""
    rng = np.random.default_rng(0)
    truth = rng.integers(CLASSES, size=count)
    centers = rng.normal(size=(CLASSES, 6))
    return centers[truth] + 0.8 * rng.normal(size=(count, 6)), truth


def known_labels(truth: np.ndarray, count: int, seed: int = 1) -> np.ndarray:
    labels = np.full(len(truth), -1)
    images = np.random.default_rng(seed).choice(len(truth), size=count, replace=False)
    labels[images] = truth[images]
    return labels


def slow_scores(W, labels: np.ndarray, image: int, alpha: float) -> np.ndarray:
    """The row of a dense solve without the label of the image: (C,)."""
    others = labels.copy()
    others[image] = -1
    Y = np.zeros((len(labels), CLASSES))
    for c in range(CLASSES):
        members = np.flatnonzero(others == c)
        if len(members):
            Y[members, c] = 1 / len(members)
    return np.linalg.solve(np.eye(len(labels)) - alpha * W.toarray().astype(float), Y)[image]


@pytest.mark.parametrize("count", [CLASSES, 9, 40])
@pytest.mark.parametrize("alpha", [0.5, 0.99])
def test_scores_without_the_own_label(count, alpha):
    """More labels than one block has columns, classes with a single label, and without any."""
    features, truth = clustered()
    labels = known_labels(truth, count)
    if count == 9:
        labels[labels == 3] = -1
        single = np.flatnonzero(labels == 2)
        labels[single[1:]] = -1
    W = affinity(features, k=8)
    images = np.flatnonzero(labels >= 0)[::-1]
    scores = leave_one_out_scores(W, labels, CLASSES, alpha=alpha, images=images)
    expected = np.array([slow_scores(W, labels, image, alpha) for image in images])
    np.testing.assert_allclose(scores, expected, atol=2e-6 * expected.max(), rtol=1e-3)


def test_only_the_images_that_are_named():
    features, truth = clustered()
    labels, W = known_labels(truth, 20), affinity(features, k=8)
    images = np.flatnonzero(labels >= 0)
    all_scores = leave_one_out_scores(W, labels, CLASSES, alpha=0.9, images=images)
    some = leave_one_out_scores(W, labels, CLASSES, alpha=0.9, images=images[[7, 2]])
    np.testing.assert_allclose(some, all_scores[[7, 2]], rtol=1e-4, atol=1e-7)
    empty = leave_one_out_scores(W, labels, CLASSES, alpha=0.9, images=images[:0])
    assert empty.shape == (0, CLASSES)


def test_the_answers_are_those_of_a_propagation_without_the_label():
    features, truth = clustered()
    labels, W = known_labels(truth, 30), affinity(features, k=8)
    images = np.flatnonzero(labels >= 0)
    found = leave_one_out(W, labels, CLASSES, images, alpha=0.99)
    for image, answer in zip(images, found.left_out, strict=True):
        others = labels.copy()
        others[image] = -1
        assert propagate(features, others, CLASSES, k=8).labels[image] == answer
    assert (found.left_out != labels[images]).any()  # they know less than the labels


def test_the_propagation_is_that_of_the_run():
    features, truth = clustered()
    labels, W = known_labels(truth, 30), affinity(features, k=8)
    images = np.flatnonzero(labels >= 0)
    for balance in ("none", "uniform", "labels"):
        found = leave_one_out(W, labels, CLASSES, images, alpha=0.99, balance=balance)
        expected = propagate(features, labels, CLASSES, k=8, balance=balance)
        unlabeled = labels < 0
        np.testing.assert_array_equal(found.labels[unlabeled], expected.labels[unlabeled])
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_a_balance_keeps_the_scales_of_all_labels():
    features, truth = clustered()
    labels, W = known_labels(truth, 12, seed=3), affinity(features, k=8)
    images = np.flatnonzero(labels >= 0)
    balanced = leave_one_out(W, labels, CLASSES, images, alpha=0.99, balance="uniform")
    Z = propagate(features, labels, CLASSES, k=8).scores
    scales = find_class_scales(Z, np.bincount(labels[images], minlength=CLASSES) > 0)
    own = leave_one_out_scores(W, labels, CLASSES, alpha=0.99, images=images)
    np.testing.assert_array_equal(balanced.left_out, scales.apply(own).argmax(axis=1))


def test_an_image_that_no_other_label_reaches():
    """Two groups without an edge between them; one has a single label."""
    features = np.zeros((40, 4))
    rng = np.random.default_rng(2)
    features[:30, :2], features[30:, 2:] = rng.random((30, 2)), rng.random((10, 2))
    labels = np.full(40, -1)
    labels[[0, 1, 2, 35]] = [0, 0, 1, 1]
    found = leave_one_out(
        affinity(features, k=5), labels, 2, np.array([35, 2]), alpha=0.99, balance="uniform"
    )
    assert found.left_out.tolist() == [-1, 0]
    assert (found.labels[30:] == 1).all()


def test_a_graph_as_a_torch_tensor():
    features, truth = clustered()
    labels, W = known_labels(truth, 20), affinity(features, k=8)
    images = np.flatnonzero(labels >= 0)
    graph = as_torch_csr(W)
    one, other = (leave_one_out(w, labels, CLASSES, images, alpha=0.99) for w in (W, graph))
    np.testing.assert_array_equal(one.left_out, other.left_out)
    np.testing.assert_array_equal(one.labels, other.labels)
