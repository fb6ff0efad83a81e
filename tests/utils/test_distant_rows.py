"""The diffusion far from its right-hand sides, against exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch

from al_methods import select
from semisup.label_propagation import propagate
from utils import distant_rows
from utils.diffusion import DiffusionSolver, as_torch_csr
from utils.graph import affinity


def curve(count):
    """Points in order on a smooth curve that does not close: (N, 16) float32."""
    angles = 2 * np.pi * 0.9 * np.outer(np.linspace(0, 1, count), np.arange(1, 9))
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def chain_with_blob(chain, blob):
    """W of a chain whose last image is joined to a random graph: CSR (N, N) float32."""
    rng = np.random.default_rng(5)
    n = chain + blob
    edges = [(i, i + 1) for i in range(chain)]
    edges += [(chain + i, chain + int(j)) for i in range(blob) for j in rng.integers(blob, size=4)]
    edges = [(i, j) for i, j in edges if i != j]
    i, j = np.array(edges).T
    a = scipy.sparse.coo_matrix((rng.uniform(0.5, 1, len(i)), (i, j)), shape=(n, n))
    a = (a + a.T).tocsr()
    scale = scipy.sparse.diags(1 / np.sqrt(np.asarray(a.sum(axis=1)).ravel()))
    return scipy.sparse.csr_matrix(scale @ a @ scale).astype(np.float32)


def two_sides(n, ends=3):
    Y = np.zeros((n, 2), np.float32)
    Y[:ends, 0] = Y[-ends:, 1] = 1 / ends
    return Y


def exact_solution(W, Y, alpha):
    """By a sparse factorisation in float64, without pivoting: all terms of its substitutions have
    one sign."""
    system = scipy.sparse.csc_matrix(scipy.sparse.eye(len(Y)) - alpha * W.astype(np.float64))
    options = {"SymmetricMode": True}
    lu = scipy.sparse.linalg.splu(
        system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0, options=options
    )
    return lu.solve(Y.astype(np.float64))


def assert_rows_equal(values, exponents, exact, rtol=0.02):
    """Next to their sums; on a logarithmic scale, since the sums may be below 1e-300."""
    size = exact.sum(axis=1)
    np.testing.assert_allclose(
        np.log(values.sum(axis=1).astype(float)) + exponents * np.log(2), np.log(size), atol=rtol
    )
    shares = values / values.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, exact / size[:, None], atol=rtol)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("alpha", [0.99, 0.9])
@pytest.mark.parametrize("on_device", [True, False])
def test_distant_rows(monkeypatch, direct, alpha, on_device):
    """A chain of 300 images with labels at one end, and a random graph of 200 at the other."""
    if not direct:
        monkeypatch.setattr(distant_rows, "MAX_DIRECT_PRODUCTS", 0)
    W = chain_with_blob(300, 200)
    Y = two_sides(len(W.indptr) - 1)
    Y[-3:] = 0
    Y[4:6, 1] = 0.5
    values, exponents = DiffusionSolver(as_torch_csr(W) if on_device else W, alpha).solve_rows(Y)
    assert isinstance(values, torch.Tensor) == on_device
    exact = exact_solution(W, Y, alpha)
    assert exact.sum(axis=1).min() < 1e-15 and (exponents < 0).any()
    assert_rows_equal(np.asarray(values), exponents, exact)


def test_values_below_the_smallest_number():
    """3,000 images in a row, at α = 0.5 with 1e-858 in the middle, against exact fractions."""
    n, alpha = 3000, 0.5
    a = scipy.sparse.diags([np.full(n - 1, 0.5)] * 2, [-1, 1]).tocsr().astype(np.float32)
    Y = two_sides(n, ends=1)
    values, exponents = DiffusionSolver(a, alpha).solve_rows(Y)
    # Row i: z_i − (z_{i−1} + z_{i+1}) / 4 = y_i, so far from the ends z_{i+1} / z_i is the ratio of
    # two numbers of the sequence u_{i+1} = 4 u_i − u_{i−1}, and z_0 follows from row 0.
    u = [Fraction(1), Fraction(4)]
    for _ in range(40):
        u.append(4 * u[-1] - u[-2])
    decay = float(u[-2] / u[-1])  # of one edge, far from the end
    middle = n // 2 - 1
    logs = np.log(values[:, 0].astype(float), out=np.full(n, -np.inf), where=values[:, 0] > 0)
    logs += exponents * np.log(2)
    start = np.log(1 / (1 - decay / 4))
    expected = start + np.arange(middle) * np.log(decay)
    np.testing.assert_allclose(logs[:middle], expected, atol=0.02, rtol=1e-6)
    assert (values[:middle, 0] > values[:middle, 1]).all()
    assert (values[middle + 1 :, 0] < values[middle + 1 :, 1]).all()


@pytest.mark.parametrize("k", [5, 10])
def test_every_frame_of_a_sequence_gets_a_label(k):
    x, labels = curve(1000), np.full(1000, -1)
    labels[:3], labels[-3:] = 0, 1
    result = propagate(x, labels, 2, k=k)
    exact = exact_solution(affinity(x, k), two_sides(1000), 0.99)
    assert exact.sum(axis=1).min() < 1e-8
    np.testing.assert_array_equal(result.labels, exact.argmax(axis=1))
    shares = exact / exact.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(result.scores, shares, atol=0.02)


def test_images_without_a_label_in_reach_stay_without():
    W = scipy.sparse.block_diag([chain_with_blob(150, 20)] * 2).tocsr()
    Y = np.zeros((W.shape[0], 2), np.float32)
    Y[0, 0] = Y[1, 1] = 1
    values, _ = DiffusionSolver(W).solve_rows(Y)
    assert (values[:170].sum(axis=1) > 0).all() and not values[170:].any()


def test_rows_in_another_order(monkeypatch):
    """Large graphs are solved with their rows in another order."""
    W = chain_with_blob(300, 200)
    shuffled = np.random.default_rng(3).permutation(500)
    W = W[shuffled][:, shuffled].tocsr()
    Y = two_sides(500)[shuffled]
    expected = DiffusionSolver(W).solve_rows(Y)
    monkeypatch.setattr("utils.diffusion.MIN_IMAGES_TO_REORDER", 100)
    values, exponents = DiffusionSolver(W).solve_rows(Y)
    np.testing.assert_array_equal(exponents, expected[1])
    np.testing.assert_allclose(values, expected[0], rtol=0.02)


def test_jlp_picks_the_images_that_labels_reach_least():
    """On a chain the least reached image is below the rounding of float32."""
    x, labels = curve(600), np.full(600, -1)
    labels[:2] = 0
    picks = select("jlp", features=x, labels=labels, budget=12, rng=None, k=5)
    inverse = np.maximum(exact_solution(affinity(x, 5), np.eye(600), 0.99), 0)
    f = inverse[:, :2].sum(axis=1)
    assert f.min() < 1e-15
    for chosen in picks:
        unlabeled = labels < 0
        assert f[chosen] <= 1.05 * f[unlabeled].min()
        labels[chosen] = 0
        f += inverse[:, chosen]
