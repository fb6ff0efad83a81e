"""Poisson learning and Poisson MBO, against dense references."""

import numpy as np
import pytest
import scipy.optimize
import torch

from semisup.label_propagation import propagate
from semisup.propagation_solvers import SOLVERS, poisson
from utils.graph import affinity, degrees_of
from utils.graph.device_graph import affinity_on_device


def blobs(count=120, classes=3, spread=0.6):
    """Features (N, d) float32 around the corners of a simplex, and their classes."""
    rng = np.random.default_rng(2)
    truth = np.arange(count) % classes
    x = np.eye(classes)[truth] + spread * rng.normal(size=(count, classes)) / np.sqrt(classes)
    return np.abs(x).astype(np.float32), truth


def some_labels(truth, counts):
    labels = np.full(len(truth), -1)
    for c, count in enumerate(counts):
        labels[np.flatnonzero(truth == c)[:count]] = c
    return labels


def weights_of(W):
    """The weights A of the graph, dense float64."""
    root = np.sqrt(np.asarray(degrees_of(W)))
    return W.toarray().astype(float) * root * root[:, None]


def sources_of(labels, classes):
    """One-hot labels, each class with the weight one in all, minus their mean."""
    b = np.zeros((len(labels), classes))
    for c in range(classes):
        mine = labels == c
        b[mine] = -1 / classes / mine.sum()
        b[mine, c] += 1 / mine.sum()
    return b


def dense_poisson(A, labels, classes):
    """The pseudo-inverse of the Laplacian, with degree-weighted mean zero."""
    degrees = A.sum(axis=1)
    u = np.linalg.pinv(np.diag(degrees) - A) @ sources_of(labels, classes)
    return u - degrees @ u / degrees.sum()


@pytest.mark.parametrize("counts", [(1, 1, 1), (5, 1, 2)])
def test_poisson_learning(counts):
    x, truth = blobs()
    labels = some_labels(truth, counts)
    W = affinity(x, 8)
    np.testing.assert_allclose(weights_of(W).sum(axis=1), degrees_of(W), rtol=1e-5)
    u, reached = poisson.solve_poisson(W, labels, 3)
    expected = dense_poisson(weights_of(W), labels, 3)
    np.testing.assert_allclose(u, expected, atol=1e-3 * np.abs(expected).max())
    assert reached.all()
    result = propagate(x, labels, 3, k=8, solver="poisson")
    free = labels < 0
    np.testing.assert_array_equal(result.labels[free], expected.argmax(axis=1)[free])
    assert (result.labels[~free] == labels[~free]).all()
    balanced = propagate(x, labels, 3, k=8, solver="poisson", balance="uniform").labels
    assert np.abs(np.bincount(balanced[free]) - 40).max() <= 4  # labeled images aside
    np.testing.assert_allclose(result.scores.sum(axis=1), 1, rtol=1e-5)


def dense_mbo(A, labels, sizes):
    """Algorithm 2 of the paper, with the classes of given sizes of largest total score."""
    classes, degrees = len(sizes), A.sum(axis=1)
    step, b = 1 / degrees.max(), sources_of(labels, classes) * (labels >= 0).sum() / classes
    u = dense_poisson(A, labels, classes)
    for _ in range(20):
        u = np.eye(classes)[assign(u, sizes)]
        for _ in range(40):
            u = u - step * (degrees[:, None] * u - A @ u - b)
    return assign(u, sizes)


def assign(u, sizes):
    """The assignment of rows to classes of these sizes that maximises the sum of u."""
    seats = np.repeat(np.arange(len(sizes)), sizes)
    return seats[scipy.optimize.linear_sum_assignment(-u[:, seats])[1]]


@pytest.mark.parametrize("count", [1, 6])
def test_poisson_mbo(count):
    x, truth = blobs(spread=1.3)
    labels = some_labels(truth, (count,) * 3)
    W = affinity(x, 8)
    expected = dense_mbo(weights_of(W), labels, [40, 40, 40])
    result = propagate(x, labels, 3, k=8, solver="poisson_mbo", balance="uniform")
    free = labels < 0
    assert (result.labels == expected)[free].mean() >= 0.99
    plain = propagate(x, labels, 3, k=8, solver="poisson").labels
    assert (plain == expected)[free].mean() < 0.96  # the test tells them apart


@pytest.mark.parametrize("shares", [(0.5, 0.3, 0.2), (0.9, 0.05, 0.05), (1 / 3, 1 / 3, 1 / 3)])
def test_class_sizes(shares):
    """Against the assignment problem."""
    u = np.random.default_rng(4).normal(size=(200, 3)) + np.array([1, 0, -1])
    constants = poisson.class_constants(u, np.array(shares))
    assigned = (u + constants).argmax(axis=1)
    sizes = np.diff(np.round(np.cumsum(shares) * 200).astype(int), prepend=0)
    assert np.abs(np.bincount(assigned, minlength=3) - sizes).max() <= 1
    best = assign(u, sizes)
    total, optimum = (u[np.arange(200), a].sum() for a in (assigned, best))
    assert abs(total - optimum) < 0.01 * abs(optimum)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("balance", ["none", "uniform", "labels"])
def test_components_and_classes_without_labels(solver, balance):
    """Three components: one with two classes, one with a single class, one without any label; of
    four classes the last has no label."""
    rng = np.random.default_rng(1)
    x = np.zeros((90, 9))
    for part in range(3):
        rows = slice(30 * part, 30 * part + 30)
        x[rows, 3 * part : 3 * part + 3] = np.abs(rng.normal(size=(30, 3)))
    labels = np.full(90, -1)
    labels[[0, 1, 2, 30]] = [0, 1, 0, 2]
    result = propagate(x, labels, 4, k=6, solver=solver, balance=balance)
    assert set(result.labels[:30]) == {0, 1}
    assert (result.labels[30:60] == 2).all()
    assert (result.labels[60:] == -1).all() and not result.scores[60:].any()
    assert np.isfinite(result.scores).all() and not result.scores[:, 3].any()


@pytest.mark.parametrize("solver", ["poisson", "poisson_mbo"])
def test_other_row_order_and_device(monkeypatch, solver):
    """On a torch graph, and with the rows of the graph in another order, the result is the same."""
    x, truth = blobs()
    labels, prior = some_labels(truth, (2, 1, 1)), np.full(3, 1 / 3)
    settings = {"alpha": 0.99, "prior": prior}
    expected = SOLVERS[solver].solve(affinity(x, 8), labels, 3, **settings)
    on_device = affinity_on_device(torch.from_numpy(x), 8, 3)
    actual = SOLVERS[solver].solve(on_device, labels, 3, **settings)
    np.testing.assert_allclose(actual, expected, atol=2e-3)
    monkeypatch.setattr("utils.diffusion.MIN_IMAGES_TO_REORDER", 50)
    actual = SOLVERS[solver].solve(affinity(x, 8), labels, 3, **settings)
    np.testing.assert_allclose(actual, expected, atol=2e-3)


def test_no_label_at_all():
    x, _ = blobs(30)
    for solver in SOLVERS:
        result = propagate(x, np.full(30, -1), 3, k=5, solver=solver, balance="labels")
        assert (result.labels == -1).all() and not result.scores.any()
