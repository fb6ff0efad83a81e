"""Graphs of several views, local kernel width, automatic k, and balanced class masses."""

import numpy as np
import pytest
import torch

from semisup.class_masses import balance_classes
from semisup.label_propagation import class_association, propagate
from tests.utils.test_graph import clustered
from utils.arrays import l2_normalize
from utils.diffusion import as_torch_csr
from utils.graph import affinity, affinity_graph, knn, nearest_neighbors
from utils.graph.affinity_graph import auto_k
from utils.graph.device_graph import affinity_on_device


def dense_graph(x, k, kernel="cosine", gamma=3):
    """A + Aᵀ of one view, entry by entry."""
    similarities, neighbors = knn(x, k)
    width = np.sqrt(np.maximum(2 - 2 * similarities[:, -1], 0))
    a = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        for s, j in zip(similarities[i], neighbors[i], strict=True):
            cosine = max(s, 0) ** gamma
            gaussian = np.exp(-(2 - 2 * s) / (width[i] * width[j]))
            a[i, j] = cosine if kernel == "cosine" else gaussian
    return a + a.T


def as_dense(W):
    return W.to_dense().numpy() if isinstance(W, torch.Tensor) else W.toarray()


def normalise_graph(a):
    degrees = a.sum(axis=1)
    return a / np.sqrt(np.outer(degrees, degrees))


@pytest.mark.parametrize("kernel", ["cosine", "gaussian"])
@pytest.mark.parametrize("make", [affinity, affinity_on_device])
def test_graph_of_several_views_follows_the_formula(kernel, make):
    views = [clustered(120, 8, seed=0), clustered(120, 5, seed=1)]
    parts = [dense_graph(x, 6, kernel) for x in views]
    expected = normalise_graph(sum(a / a.sum() for a in parts))
    features = [torch.from_numpy(3 * x).float() for x in views]
    W = as_dense(make(features, 6, 3, kernel=kernel))
    np.testing.assert_allclose(W, expected, rtol=1e-4, atol=1e-6)
    W = as_dense(make(features[:1], 6, 3, kernel=kernel))
    np.testing.assert_allclose(W, normalise_graph(parts[0]), rtol=1e-4, atol=1e-6)


def test_views_have_equal_weight_whatever_their_scale():
    """A second copy of a view changes nothing, since each view is divided by its sum."""
    x = clustered(80)
    twice = affinity((x, x), 6, 3)
    np.testing.assert_allclose(twice.toarray(), affinity(x, 6, 3).toarray(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", [affinity, affinity_on_device])
def test_width_of_zero_where_all_neighbours_are_duplicates(make):
    x = np.repeat(clustered(10), 8, axis=0).astype(np.float32)
    W = as_dense(make(torch.from_numpy(x), 4, 3, kernel="gaussian"))
    assert np.isfinite(W).all() and (W.sum(axis=1) > 0).all()


@pytest.mark.parametrize("make", [affinity, affinity_on_device])
@pytest.mark.parametrize("kernel", ["cosine", "gaussian"])
def test_zero_rows_have_no_neighbour(make, kernel):
    x = clustered(40).astype(np.float32)
    x[[3, 7, 8, 9, 20, 39]] = 0
    W = as_dense(make(torch.from_numpy(x), 5, 3, kernel=kernel))
    assert ((W > 0).any(axis=1) == x.any(axis=1)).all() and not W.diagonal().any()


def test_approximate_graph_has_no_loops(monkeypatch):
    """Where cells contain fewer than k images, missing neighbours become no edge of any kernel."""
    near, far = np.eye(40)[:1] + 1e-3 * clustered(3000, 40), clustered(60, 40, seed=1)
    x = np.concatenate([near, far]).astype(np.float32)
    monkeypatch.setattr("utils.graph.search_plan.MAX_COST", 1)
    monkeypatch.setattr("utils.graph.search_plan.MIN_CELLS", 1)
    monkeypatch.setattr("utils.graph.cells.CELL_ROWS", 32)
    monkeypatch.setattr("utils.graph.cells.MAX_CELL_ROWS", 128)
    neighbors = nearest_neighbors.search_neighbors(l2_normalize(x), 51, "approx")[1]
    assert (neighbors[:, 1:] == np.arange(len(x))[:, None]).any()  # some are missing
    for kernel in ("cosine", "gaussian"):
        W = affinity(x, 50, 3, search="approx", kernel=kernel)
        assert W.nnz and not W.diagonal().any()


def test_automatic_k_follows_the_number_of_images():
    expected = {2: 5, 1437: 5, 4000: 5, 5600: 6, 20_000: 20, 50_000: 50, 10**6: 50}
    assert {n: auto_k(n) for n in expected} == expected
    x = clustered(70)
    np.testing.assert_array_equal(affinity(x, "auto").toarray(), affinity(x, 5).toarray())


@pytest.mark.parametrize("prior", [[1, 1, 1, 1], [4, 1, 2, 3]])
def test_balanced_classes_have_the_required_masses(prior):
    rng = np.random.default_rng(0)
    Z = (rng.gamma(0.3, size=(200, 4)) * [8, 1, 1, 0.1]).astype(np.float32)
    Z[17] = 0  # no label reaches it
    balanced = balance_classes(Z, np.array(prior))
    assert not balanced[17].any() and balanced.dtype == np.float32
    rows = np.delete(balanced, 17, axis=0).astype(float)
    mass = (rows / rows.sum(axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(mass, np.array(prior) / sum(prior), rtol=2e-3)
    ratios = np.delete(balanced, 17, axis=0) / np.delete(Z, 17, axis=0)
    np.testing.assert_allclose(ratios, np.broadcast_to(ratios[0], ratios.shape), rtol=1e-4)


def test_impossible_balance():
    """Two classes that share no image, and one without a label; then a class that alone reaches
    more images than its share."""
    Z = np.zeros((10, 3), np.float32)
    Z[:7, 0], Z[7:, 2] = 1, 1
    assert balance_classes(Z, np.array([1, 0, 1])) is None
    assert balance_classes(Z, np.array([7, 0, 3])) is not None
    assert not balance_classes(np.zeros_like(Z), np.array([1, 1, 1])).any()
    shared = np.array([[1, 0]] * 60 + [[0.99, 0.01]] * 40, np.float32)
    assert balance_classes(shared, np.array([1, 1])) is None


@pytest.mark.parametrize("balance", ["uniform", "labels"])
def test_propagation_with_an_impossible_balance(balance):
    """A separate group of seven tenths of the images is of the first class; the other group has one
    label of each class.  Propagation falls back to no balance."""
    rng = np.random.default_rng(0)
    separate = [0, 0, 1] + 0.2 * rng.normal(size=(120, 3)) * [1, 1, 0]
    angle = np.linspace(1.5, 3.5, 50)
    arc = np.stack([np.cos(angle), np.sin(angle), np.zeros(50)], axis=1)
    x = np.concatenate([separate, arc])
    labels = np.full(170, -1)
    labels[[3, 125, 165]] = [0, 0, 1]
    plain = propagate(x, labels, 2, k=8, balance="none")
    balanced = propagate(x, labels, 2, k=8, balance=balance)
    assert balanced.balance_failed and not plain.balance_failed
    for expected, actual in zip(plain[:3], balanced[:3], strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert (balanced.labels[120:135] == 0).all() and (balanced.labels[155:] == 1).all()


@pytest.mark.parametrize("balance", ["uniform", "labels"])
def test_propagation_with_a_balance(balance):
    """Three groups of the same size, of which the first has three labels."""
    rng = np.random.default_rng(0)
    centers = np.eye(3)[np.arange(150) % 3]
    x = centers + 0.25 * rng.normal(size=(150, 3))
    labels = np.full(150, -1)
    labels[:3] = [0, 1, 2]
    labels[3:9:3] = 0
    plain = propagate(x, labels, 4, k=8)
    balanced = propagate(x, labels, 4, k=8, balance=balance)
    mass = balanced.scores.mean(axis=0)
    expected = [1 / 3] * 3 if balance == "uniform" else [3 / 5, 1 / 5, 1 / 5]
    np.testing.assert_allclose(mass[:3], expected, rtol=2e-3)
    assert mass[3] == 0 and abs(plain.scores.mean(axis=0)[0] - expected[0]) > 0.01
    assert (balanced.labels[labels >= 0] == labels[labels >= 0]).all()
    both = propagate((x, x), labels, 4, k=8, balance=balance)
    np.testing.assert_array_equal(both.labels, balanced.labels)


def test_class_association():
    """Against a loop over classes, with an image that does not count and a class without images."""
    W = affinity(clustered(90), k=6)
    labels = np.arange(90) % 3
    labels[7] = -1
    dense, expected = W.toarray(), 0.0
    for c in range(3):
        rows = dense[labels == c]
        expected += rows[:, labels == c].sum() / rows.sum()
    assert class_association(W, labels, 4) == pytest.approx(expected, rel=1e-5)
    assert class_association(as_torch_csr(W), labels, 4) == pytest.approx(expected, rel=1e-5)


def groups_and_labels(sizes):
    """Overlapping groups in a row of these sizes; the first two images of each are labeled."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(len(sizes)), sizes)
    x = np.stack([4 * group, np.full(len(group), 20)], axis=1) + rng.normal(size=(len(group), 2))
    labels = np.full(len(group), -1)
    for c in range(len(sizes)):
        labels[np.flatnonzero(group == c)[:2]] = c
    return x, labels, group


@pytest.mark.parametrize("solver", ["diffusion", "poisson"])
@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((100, 100), "uniform"), ((260, 30), "none")],
)
def test_automatic_balance(solver, sizes, expected):
    """Equal masses for groups of the same size, none where the groups differ; the result is that of
    the chosen balance."""
    x, labels, group = groups_and_labels(sizes)
    found = {
        balance: propagate(x, labels, 2, k=8, solver=solver, balance=balance)
        for balance in ("none", "uniform", "auto")
    }
    right = {balance: (result.labels == group).mean() for balance, result in found.items()}
    other = "none" if expected == "uniform" else "uniform"
    assert right[expected] > right[other] + 0.01
    assert found["auto"].balance == expected
    for wanted, actual in zip(found[expected], found["auto"], strict=True):
        np.testing.assert_array_equal(actual, wanted)


def test_neighbours_of_a_static_view_are_searched_once(monkeypatch):
    searches, x = [], torch.from_numpy(clustered(60)).float()
    search = affinity_graph.search_neighbors
    monkeypatch.setattr(
        affinity_graph, "search_neighbors", lambda *args: searches.append(1) or search(*args)
    )
    first = affinity((x, x.clone()), 6)
    assert len(searches) == 2
    assert (affinity((x, x.clone()), 6) != first).nnz == 0 and len(searches) == 3
    affinity(x, 7)
    assert len(searches) == 4
    x[0] = x[1]  # now it is another view
    again = affinity(x, 6)
    assert len(searches) == 5 and (again != affinity(x.numpy().copy(), 6)).nnz == 0
    cache_size = len(affinity_graph._GRAPH_CACHE)
    del x
    assert len(affinity_graph._GRAPH_CACHE) < cache_size
