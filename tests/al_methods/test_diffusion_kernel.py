"""The kernel from a few columns, and the coarse graph, against dense references."""

import numpy as np
import pytest
import scipy.sparse
import torch

from al_methods import diffusion_kernel, graph_communities, lp_coverage, select
from al_methods.coarse_graph import coarsen, group_images
from al_methods.diffusion_kernel import approximate_kernel, factorize, sample_evenly
from tests.al_methods.test_coverage_methods import diffusion_kernel as exact_kernel
from tests.al_methods.test_coverage_methods import (
    facility_location,
    make_clusters,
    reference_weights,
    some_labels,
)
from utils.diffusion import DiffusionSolver, as_torch_csr
from utils.graph import affinity

N = 300


def uniform(n=N):
    return np.random.default_rng(2).normal(size=(n, 20)).astype(np.float32)


def separate(n=N):
    """Parts without an edge between them: large ones, small ones, and single images."""
    sizes = [n // 2, n // 4, 30, 20, 10, 5, 1, 1]
    part = np.repeat(np.arange(9), [*sizes, n - sum(sizes)])
    noise = np.zeros((n, 9, 4))
    noise[np.arange(n), part] = np.random.default_rng(3).random((n, 4))
    x = np.concatenate([np.eye(9)[part] * 0.5, noise.reshape(n, -1)], axis=1)
    return x.astype(np.float32)


GRAPHS = {
    "clusters": lambda: make_clusters(N, groups=30),
    "no clusters": uniform,
    "duplicates": lambda: make_clusters(N, groups=10, copies=N // 2),
    "not connected": separate,
}


@pytest.mark.parametrize("known", [(), tuple(range(3, 290, 14))], ids=["no label", "labels"])
@pytest.mark.parametrize("k", [5, 25, 50])
@pytest.mark.parametrize("kind", GRAPHS)
def test_coverage_of_a_few_columns_is_that_of_the_dense_method(monkeypatch, kind, k, known):
    """Up to all images, 99.9 % from twenty picks on.  Fewer picks of images that are nearly equal
    may be others (99.7 % without clusters)."""
    monkeypatch.setattr(graph_communities, "MAX_SEEDS", 0)  # no merging
    monkeypatch.setattr(lp_coverage, "MAX_DENSE_IMAGES", 10)
    x, lp = GRAPHS[kind](), {"k": k, "gamma": 3, "alpha": 0.99}
    labels = some_labels(N, known)
    weights, kernel = reference_weights(x, labels, **lp), exact_kernel(x, **lp)
    budget = N - len(known)
    picks = select("lp_coverage", features=x, labels=labels, budget=budget, rng=None, **lp)
    expected, _ = facility_location(kernel, list(known), budget, weights)
    assert len(set(picks.tolist()) | set(known)) == N
    covered, reference = (
        np.maximum.accumulate(
            np.maximum(kernel[list(p)], kernel[list(known)].max(axis=0) if known else 0)
        )
        @ weights
        for p in (picks, expected)
    )
    share = covered / reference
    assert share.min() >= 0.996 and share[19:].min() >= 0.999


@pytest.mark.parametrize("kind", GRAPHS)
def test_entries_and_products_of_the_approximation(kind):
    """Entries differ from the inverse by a few percent of their row, and less with more columns."""
    W = affinity(GRAPHS[kind](), 50)
    K = np.linalg.inv(np.eye(N) - 0.99 * W.toarray().astype(float))
    kernel = approximate_kernel(as_torch_csr(W), DiffusionSolver(W, 0.99))
    assert kernel is not None and kernel.factor.shape[1] < N
    scale = torch.from_numpy(1 / np.sqrt(K.diagonal())).float()
    expected = K / np.sqrt(np.outer(K.diagonal(), K.diagonal()))
    error = np.abs(kernel.normalize(scale).numpy() - expected).sum(axis=1) / expected.sum(axis=1)
    assert error.max() < 0.06
    np.testing.assert_allclose(kernel.diagonal().numpy(), K.diagonal(), rtol=0.06)
    sides = torch.rand(N, 3, generator=torch.Generator().manual_seed(0))
    entries = kernel.normalize(torch.full((N,), 0.05)).double().numpy() / 0.05**2  # all below one
    np.testing.assert_allclose(kernel.solve(sides), entries @ sides.numpy(), rtol=0.02)


def test_more_parts_than_columns_are_inverted(monkeypatch):
    """No column of most parts is known, which the row sums tell."""
    monkeypatch.setattr(diffusion_kernel, "LANDMARKS_PER_ROUND", 5)
    monkeypatch.setattr(diffusion_kernel, "MIN_ROW_ENTRIES", 0)
    monkeypatch.setattr(lp_coverage, "MAX_DENSE_IMAGES", 10)
    x = np.eye(50, dtype=np.float32)[np.arange(N) % 50]
    W = affinity(x, 5)
    system = DiffusionSolver(W, 0.99)
    assert approximate_kernel(as_torch_csr(W), system) is None
    kernel, scale, product = lp_coverage.normalize_kernel(as_torch_csr(W), system)
    assert product is system
    K = np.linalg.inv(np.eye(N) - 0.99 * W.toarray().astype(float))
    np.testing.assert_allclose(scale, 1 / np.sqrt(K.diagonal()), rtol=1e-4)
    expected = K / np.sqrt(np.outer(K.diagonal(), K.diagonal()))
    np.testing.assert_allclose(kernel, expected, atol=1e-4)


def test_samples_have_equal_shares_of_the_mass():
    mass = torch.tensor([0, 4.5, 0, 2, 1.5, 0, 0, 8])
    assert sample_evenly(mass, 4).tolist() == [1, 3, 7]  # at 2, 6, 10 and 14 of 16
    assert sample_evenly(torch.ones(10), 5).tolist() == [0, 2, 4, 6, 8]
    assert sample_evenly(torch.ones(3), 10).tolist() == [0, 1, 2]


def test_factor_of_a_matrix_of_low_rank():
    rng = np.random.default_rng(0)
    half = rng.normal(size=(30, 4))
    full = torch.from_numpy(half @ half.T).float()
    factor = factorize(full[:, ::3], torch.arange(0, 30, 3))
    assert factor.shape == (30, 4)
    np.testing.assert_allclose(factor @ factor.T, full, atol=1e-3)


def chain(n):
    W = scipy.sparse.diags([np.full(n - 1, 0.5)] * 2, [-1, 1], format="csr", dtype=np.float32)
    return scipy.sparse.csr_matrix(W)


def test_groups_of_a_chain_are_pieces_of_it():
    group = group_images(chain(100), 10)
    assert len(set(group.tolist())) == 10
    assert (np.diff(group) != 0).sum() == 9  # consecutive images
    assert np.bincount(group).max() <= 15


def test_images_that_nothing_joins_are_grouped_too():
    lonely = scipy.sparse.block_diag([chain(50), np.zeros((30, 30))], format="csr")
    group = group_images(scipy.sparse.csr_matrix(lonely), 10)
    assert sorted(set(group.tolist())) == list(range(group.max() + 1))
    assert not set(group[:50].tolist()) & set(group[group > 7].tolist())
    assert np.bincount(group).max() <= 15


def test_coarse_graph_equals_the_product_of_its_definition():
    W = affinity(make_clusters(N, groups=30), 10)
    coarse = coarsen(W, 0.99, 80)
    assert 30 <= len(coarse.sizes) <= 80 and int(coarse.sizes.sum()) == N
    P = np.eye(len(coarse.sizes))[coarse.group] / np.sqrt(coarse.sizes.numpy())
    np.testing.assert_allclose(coarse.W.to_dense(), P.T @ W.toarray() @ P, atol=1e-6)
    assert torch.equal(coarse.W.to_dense(), coarse.W.to_dense().T)
    on_device = coarsen(as_torch_csr(W), 0.99, 80)
    assert torch.equal(on_device.W.to_dense(), coarse.W.to_dense())
    short = W.toarray().astype(float)
    returns = 0.99**2 * np.square(short).sum(axis=1)
    means = [returns[coarse.group == g].mean() for g in range(len(coarse.sizes))]
    np.testing.assert_allclose(coarse.returns, means, rtol=1e-4)
    walks = sum(0.99**t * np.linalg.matrix_power(short, t) for t in range(5))
    own = (1 + returns) ** -0.5
    np.testing.assert_allclose(coarse.reach, own * (walks @ own), rtol=1e-4)


def test_one_image_per_group_is_the_graph_itself():
    W = affinity(make_clusters(60, groups=5), 6)
    coarse = coarsen(W, 0.99, 120)
    order = np.argsort(coarse.group)
    np.testing.assert_allclose(coarse.W.to_dense(), W.toarray()[order][:, order], atol=1e-6)


@pytest.mark.parametrize("known", [(), tuple(range(3, 1900, 90))], ids=["no label", "labels"])
@pytest.mark.parametrize("merged", [0, 500], ids=["greedy", "communities"])
def test_picks_by_groups(monkeypatch, known, merged):
    """Groups of five images reach at least 94 % of the coverage of the dense method."""
    n = 2000
    x, lp = make_clusters(n, d=16, groups=60), {"k": 10, "gamma": 3, "alpha": 0.99}
    labels, arrays = some_labels(n, known), {"features": x, "budget": 30, "rng": None}
    kernel, weights = exact_kernel(x, **lp), np.ones(n)
    if known:
        weights = reference_weights(x, labels, **lp)
    monkeypatch.setattr(graph_communities, "MAX_SEEDS", merged)
    dense = select("lp_coverage", labels=labels, **arrays, **lp)
    monkeypatch.setattr(lp_coverage, "MIN_IMAGES_TO_COARSEN", 1000)
    monkeypatch.setattr(lp_coverage, "MAX_KERNEL_IMAGES", 800)
    picks = select("lp_coverage", labels=labels, **arrays, **lp)
    assert len(set(picks.tolist())) == 30 and (labels[picks] < 0).all()
    covered, reference = (kernel[[*known, *p]].max(axis=0) @ weights for p in (picks, dense))
    assert covered >= 0.94 * reference


def test_many_picks_are_not_made_by_groups(monkeypatch):
    monkeypatch.setattr(lp_coverage, "MIN_IMAGES_TO_COARSEN", 100)
    monkeypatch.setattr(lp_coverage, "MAX_KERNEL_IMAGES", 80)
    monkeypatch.setattr(lp_coverage, "coarsen", None)  # an error if called
    x = make_clusters(150)
    for known, budget in (((), 50), ((3, 4, 5, 6, 7), 36)):
        labels = some_labels(150, known)
        picks = select("lp_coverage", features=x, labels=labels, budget=budget, rng=None, k=8)
        assert len(set(picks.tolist()) - set(known)) == budget
