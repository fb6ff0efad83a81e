"""The graph and the diffusion against brute force and dense linear algebra."""

import numpy as np
import pytest
import scipy.sparse
import torch

from al_methods import coreset, select
from semisup.label_propagation import propagate
from utils import diffusion
from utils.arrays import l2_normalize
from utils.diffusion import NotConverged, diffuse, orthonormalize
from utils.graph import affinity, knn
from utils.graph import nearest_neighbors as neighbors_module
from utils.graph.device_graph import affinity_on_device
from utils.graph.nearest_neighbors import estimate_recall, exact_neighbors, search_neighbors


def clustered(n=300, d=8, centers=6, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(centers, d))
    return l2_normalize(means[rng.integers(centers, size=n)] + 0.4 * rng.normal(size=(n, d)))


def test_knn_equals_brute_force_with_duplicates():
    x = clustered().astype(np.float32)
    x[50:120] = x[7]  # more copies than neighbours: an image may not find itself
    x[200] = x[199]
    k = 10
    similarities, neighbors = knn(x, k)
    assert similarities.dtype == np.float32 and neighbors.dtype == np.int64
    products = x.astype(np.float64) @ x.T.astype(np.float64)
    np.fill_diagonal(products, -np.inf)
    brute = -np.sort(-products, axis=1)[:, :k]
    np.testing.assert_allclose(similarities, brute, atol=1e-6)
    rows = np.arange(len(x))[:, None]
    np.testing.assert_allclose(products[rows, neighbors], brute, atol=1e-6)
    assert (neighbors != rows).all()
    assert all(len(set(row)) == k for row in neighbors.tolist())
    assert 200 in neighbors[199] and 199 in neighbors[200]


def test_knn_leaves_the_image_itself_out_for_any_length():
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32) * np.arange(1, 61)[:, None]
    similarities, _ = knn(x.astype(np.float64), 5)
    assert similarities.dtype == np.float32
    products = x @ x.T
    np.fill_diagonal(products, -np.inf)
    np.testing.assert_allclose(similarities, -np.sort(-products, axis=1)[:, :5], rtol=1e-5)


@pytest.mark.parametrize("k", [0, 5, -1])
def test_knn_refuses_invalid_input(k):
    with pytest.raises(ValueError, match="k must be between"):
        knn(np.eye(5, dtype=np.float32), k)
    with pytest.raises(ValueError, match="finite"):
        knn(np.full((5, 2), np.nan, dtype=np.float32), 2)


@pytest.mark.parametrize("products", [2100, 299])
def test_exact_neighbours_in_blocks(monkeypatch, recwarn, products):
    monkeypatch.setitem(neighbors_module.MAX_PRODUCTS, "cpu", products)
    x = clustered().astype(np.float32)
    similarities, neighbors = search_neighbors(x, 9, "exact")  # in blocks of 7 rows, or of one
    products = x @ x.T
    expected = np.argsort(-products, axis=1, kind="stable")[:, :9]
    np.testing.assert_array_equal(neighbors, expected)
    np.testing.assert_allclose(similarities, np.take_along_axis(products, expected, 1), atol=1e-6)
    assert not recwarn.list  # torch warns about an output of the wrong shape


@pytest.mark.parametrize("n", [5, 33, 300, 1031])
@pytest.mark.parametrize("k", [1, 4, 60])
def test_neighbours_by_groups_of_products(n, k):
    """Every third image is the same; groups of one to eight products, with padding."""
    k, x = min(k, n), np.random.default_rng(0).normal(size=(n, 6)).astype(np.float32)
    x[::3] = x[0]
    x = torch.from_numpy(x)
    similarities, neighbors = exact_neighbors(x, k)
    products = x @ x.T
    close = {"rtol": 0, "atol": 1e-5}  # products up to 30 are rounded differently for few rows
    torch.testing.assert_close(similarities, products.topk(k, dim=1).values, **close)
    torch.testing.assert_close(products.gather(1, neighbors), similarities, **close)
    assert (neighbors.sort(dim=1).values.diff(dim=1) > 0).all()  # each only once


@pytest.mark.parametrize("k, gamma", [(1, 40), (7, 3), (299, 3), (299, 1.5)])
def test_affinity_equals_the_formula(k, gamma):
    """Also if all images are neighbours; no edge joins those of negative similarity."""
    x = clustered()
    similarities, neighbors = knn(x, k)
    assert k < 299 or (similarities < -0.5).any()
    a = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        for s, j in zip(similarities[i], neighbors[i], strict=True):
            a[i, j] = max(s, 0) ** gamma
    w = a + a.T
    degrees = w.sum(axis=1)
    expected = w / np.sqrt(degrees[:, None] * degrees[None])
    W = affinity(x, k, gamma)
    assert scipy.sparse.issparse(W) and W.format == "csr"
    np.testing.assert_allclose(W.toarray(), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(W - W.T).max() < 1e-7 and (W.diagonal() == 0).all()
    np.testing.assert_allclose(
        affinity(torch.from_numpy(3 * x), k, gamma).toarray(), W.toarray(), rtol=1e-5, atol=1e-6
    )


def test_defaults_of_the_graph():
    x = clustered()
    assert (affinity(x) != affinity(x, 50, 3, "exact")).nnz == 0


@pytest.mark.parametrize("make", [affinity, affinity_on_device])
def test_duplicates_with_a_similarity_above_one(make, recwarn):
    """Some of 50 pairs have a product of 1 + 1e-7, whose power must not become infinite."""
    x = np.repeat(clustered(50), 2, axis=0).astype(np.float32)
    W = make(torch.from_numpy(x), 3, 1e10)
    dense = W.to_dense().numpy() if make is affinity_on_device else W.toarray()
    assert set(dense.round(6).ravel()) == {0, 1} and dense.sum() > 10 and not recwarn.list


def test_few_images_get_the_complete_graph():
    """If k is larger than the number of images."""
    x = clustered(6).astype(np.float32)
    np.testing.assert_array_equal(affinity(x, 50).toarray(), affinity(x, 5).toarray())
    on_device = [affinity_on_device(torch.from_numpy(x), k, 3).to_dense() for k in (50, 5)]
    assert torch.equal(*on_device)
    np.testing.assert_allclose(on_device[0], affinity(x, 5).toarray(), atol=1e-6)
    assert (affinity(x, 5, 2) > 0).sum() > 6 * 2  # more edges than a smaller k gives


def test_an_isolated_row_stays_zero():
    x = np.eye(6, dtype=np.float32)[[0, 0, 0, 1, 1, 5]]
    W = affinity(x, k=2)
    assert W[5].nnz == 0 and W[:, 5].nnz == 0 and np.isfinite(W.toarray()).all()
    on_device = affinity_on_device(torch.from_numpy(x), 2, 3).to_dense()
    np.testing.assert_allclose(on_device, W.toarray(), atol=1e-6)


@pytest.mark.parametrize("classes", [1, 10, 100])
def test_diffusion_equals_the_dense_solve(classes):
    W = affinity(clustered(), k=10)
    rng = np.random.default_rng(1)
    Y = np.zeros((300, classes), dtype=np.float32)
    Y[rng.permutation(300)[:classes], np.arange(classes)] = 1
    if classes > 1:
        Y[:, classes // 2] = 0  # a class without labels
    Z = diffuse(W, Y)
    dense = np.linalg.solve(np.eye(300) - 0.99 * W.toarray().astype(np.float64), Y)
    np.testing.assert_allclose(Z, dense, atol=1e-5)
    assert classes == 1 or (Z[:, classes // 2] == 0).all()
    np.testing.assert_array_equal(diffuse(W, Y[:, 0]), diffuse(W, Y[:, :1])[:, 0])


def test_a_slow_column_does_not_spoil_a_fast_one():
    W = affinity(clustered(), k=10)
    Y = np.zeros((300, 3), dtype=np.float32)
    Y[3, 0] = 1
    Y[:, 2] = np.random.default_rng(0).normal(size=300) * 1e6
    Z = diffuse(W, Y)
    assert np.isfinite(Z).all() and (Z[:, 1] == 0).all()
    np.testing.assert_allclose(Z[:, 0], diffuse(W, Y[:, 0]), atol=1e-5)


def test_linearly_dependent_columns():
    """Right-hand sides of one block: copies, sums, multiples of 1e9, differences of 1e-5, and one
    that is solved at once because its image has no neighbour."""
    x = np.zeros((300, 8), dtype=np.float32)
    x[:299, :7] = clustered(299)[:, :7]
    x[299, 7] = 1
    W = affinity(x, k=10)
    assert W[299].nnz == 0
    rng = np.random.default_rng(0)
    Y = np.eye(300, 10) + rng.normal(size=(300, 10)) * [[0] * 5 + [1] * 5]
    Y = np.hstack([Y, Y[:, :3], Y @ rng.normal(size=(10, 5)), Y[:, :4] * 1e9, Y[:, 6:] + 1e-5])
    Y = np.hstack([Y, np.eye(300)[:, [299, 0, 299]], np.zeros((300, 2))]).astype(np.float32)
    assert Y.shape[1] <= diffusion.MAX_BLOCK_COLUMNS
    Z = diffuse(W, Y)
    dense = np.linalg.solve(np.eye(300) - 0.99 * W.toarray().astype(np.float64), Y)
    lengths = np.maximum(np.linalg.norm(dense, axis=0), 1e-30)
    assert (np.linalg.norm(Z - dense, axis=0) / lengths).max() < 1e-5
    assert (Z[:, -2:] == 0).all()


@pytest.mark.parametrize("seed, one_hot, alpha", [(344, True, 0.99), (116, False, 0.999)])
def test_many_duplicates_and_columns(seed, one_hot, alpha):
    """Only four distinct images, so that the search space is soon exhausted."""
    rng = np.random.default_rng(seed)
    W = affinity(np.eye(4)[rng.integers(4, size=300)], k=5)
    Y = np.eye(300, 32)[rng.permutation(300)] if one_hot else (rng.random((300, 32)) < 0.05) * 1.0
    Z = diffuse(W, Y, alpha)
    dense = np.linalg.solve(np.eye(300) - alpha * W.toarray().astype(np.float64), Y)
    assert (np.linalg.norm(Z - dense, axis=0) / np.linalg.norm(dense, axis=0)).max() < 2e-4


@pytest.mark.parametrize("gap, rank", [(0, 6), (1e-6, 7), (1e-5, 7), (1e-4, 7), (1, 7)])
def test_rank_of_the_orthonormal_basis(gap, rank):
    """Copies, sums and zeros add no direction; a column that differs by `gap` adds one."""
    rng = np.random.default_rng(0)
    S = rng.normal(size=(300, 6))
    S = np.hstack([S, S[:, :3], S @ rng.normal(size=(6, 5)), S[:, :1], np.zeros((300, 2))])
    S[:, 14] += gap * rng.normal(size=300)
    S = torch.from_numpy((S / np.maximum(np.linalg.norm(S, axis=0), 1)).astype(np.float32))
    Q, T = orthonormalize(S)
    assert Q.shape == (300, rank) and T.shape == (rank, 17)
    assert Q.dtype == torch.float32 and T.dtype == torch.float64
    torch.testing.assert_close(Q.T @ Q, torch.eye(rank), atol=1e-5, rtol=0)
    torch.testing.assert_close(Q.double() @ T, S.double(), atol=1.5e-7, rtol=0)


def test_tiny_columns_have_no_direction():
    """Next to columns of length one, as in `conjugate_gradient`, 1e-9 counts as zero."""
    for S in (torch.zeros(300, 3), torch.full((300, 3), 1e-9)):
        Q, T = orthonormalize(S)
        assert Q.shape == (300, 0) and T.shape == (0, 3)


def test_equal_columns():
    """The same right-hand side 16 times, in many sizes, which round differently.  If directions of
    pure noise were kept, some results would be off by 0.5 or 1e8, some systems would be singular,
    and one would recurse without end."""
    for n in range(20, 60):
        W = affinity(clustered(n), k=5)
        Z = diffuse(W, np.ones((n, 16)), 0.9)
        dense = np.linalg.solve(np.eye(n) - 0.9 * W.toarray().astype(np.float64), np.ones(n))
        np.testing.assert_allclose(Z, np.repeat(dense[:, None], 16, axis=1), rtol=1e-4)


def test_nearly_equal_columns():
    """A difference of 1e-5, above the tolerance of 1e-6, is not treated as noise."""
    W = affinity(clustered(), k=10)
    one, other = np.random.default_rng(0).normal(size=(2, 300))
    Z = diffuse(W, np.stack([one, one + 1e-5 * other], axis=1), 0.5).astype(np.float64)
    expected = np.linalg.solve(np.eye(300) - 0.5 * W.toarray().astype(np.float64), other)
    difference = (Z[:, 1] - Z[:, 0]) / 1e-5
    assert np.linalg.norm(difference - expected) < 0.2 * np.linalg.norm(expected)


def test_diffusion_stays_within_connected_components():
    W = scipy.sparse.block_diag(
        [affinity(clustered(40), k=5), affinity(clustered(30), k=5)]
    ).tocsr()
    Z = diffuse(W, np.eye(70, 1, dtype=np.float32))
    assert (Z[40:] == 0).all() and (Z[:40] > 0).all()
    Z = diffuse(
        W, np.eye(70, dtype=np.float32)[:, 25:55]
    )  # columns of both components, solved together
    assert (Z[40:, :15] == 0).all() and (Z[:40, :15] > 0).all()
    assert (Z[:40, 15:] == 0).all() and (Z[40:, 15:] > 0).all()
    for length in (1, 1e6):
        Z = diffuse(diffusion.as_torch_csr(W), length * np.eye(70)[:, 25:55])
        assert (Z[40:, :15] == 0).all() and (Z[:40, 15:] == 0).all()


def test_diffusion_refuses_invalid_input():
    W, Y = affinity(clustered(40), k=5), np.eye(40, 2)
    with pytest.raises(ValueError, match="alpha"):
        diffuse(W, Y, alpha=1.0)
    with pytest.raises(ValueError, match="do not fit"):
        diffuse(W, Y[:10])
    with pytest.raises(ValueError, match="do not fit"):
        diffuse(W, Y[:, :, None])
    with pytest.raises(NotConverged, match="2 columns"):
        diffuse(W, np.hstack([Y[:, :1], 0 * Y, Y[:, :1]]), max_iter=2)


def test_number_of_iterations():
    """Without edges one iteration gives Z = Y, and convergence is noticed without a second one."""
    Y = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    W = affinity(clustered(40), k=5)
    np.testing.assert_allclose(diffuse(0 * W, Y, max_iter=1), Y, atol=1e-5)
    np.testing.assert_allclose(diffuse(W, Y, alpha=0, max_iter=1), Y, atol=1e-5)
    assert (diffuse(W, 0 * Y, max_iter=0) == 0).all()
    with pytest.raises(NotConverged, match="2 columns"):
        diffuse(0 * W, Y, max_iter=0)


def test_columns_that_did_not_converge_are_counted():
    """NaN is above every tolerance; a residual equal to the tolerance is not."""
    message = str(NotConverged(0.9, 3, torch.tensor([[torch.nan, 0.5, 0.1]]), 0.5))
    assert "1 columns above 0.5 after 3 iterations" in message and "residual is inf" in message
    assert "--lp-alpha" in message


def test_diffusion_without_columns():
    W = affinity(clustered(40), k=5)
    assert diffuse(W, np.zeros((40, 0))).shape == (40, 0)


def test_indices_are_int32_for_fast_products():
    W = diffusion.as_torch_csr(affinity(clustered(40), k=5))
    assert W.crow_indices().dtype == W.col_indices().dtype == torch.int32


@pytest.mark.parametrize("length", [1e-25, 1e-9, 1, 1e9])
def test_the_tolerance_is_relative_to_the_right_hand_side(length):
    """Also for columns far shorter than the tolerance.  A loose tolerance saves iterations."""
    W = affinity(clustered(), k=10)
    Y = length * np.random.default_rng(0).normal(size=(300, 16))
    for tol in (0.1, 1e-3, 1e-5):
        Z = diffuse(W, Y, tol=tol).astype(np.float64)
        residuals = np.linalg.norm(Y - Z + 0.99 * (W @ Z), axis=0) / np.linalg.norm(Y, axis=0)
        assert tol / 3 < residuals.max() < tol


def test_reordering_rows_changes_nothing(monkeypatch):
    W = affinity(clustered(), k=10)
    Y = np.random.default_rng(0).normal(size=(300, 40)).astype(np.float32)
    plain = diffuse(W, Y)
    monkeypatch.setattr(diffusion, "MIN_IMAGES_TO_REORDER", 0)
    assert diffusion.DiffusionSolver(W).row_order is not None
    np.testing.assert_allclose(diffuse(W, Y), plain, atol=1e-4)
    np.testing.assert_allclose(diffuse(W, Y[:, 0]), plain[:, 0], atol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_components_of_reordered_rows(monkeypatch, seed):
    """The same as scipy finds, for chains, cliques, single rows and random graphs in any order."""
    rng = np.random.default_rng(seed)
    parts = [np.zeros((1, 1)), 1 - np.eye(7), np.zeros((1, 1)), np.eye(20, k=1) + np.eye(20, k=-1)]
    random = np.triu(rng.random((60, 60)) < 0.02, 1)
    mixed = scipy.sparse.block_diag([*parts, random + random.T, np.zeros((3, 3))]).toarray()
    shuffled = rng.permutation(len(mixed))
    W = scipy.sparse.csr_matrix(mixed[shuffled][:, shuffled].astype(np.float32))
    W.eliminate_zeros()
    monkeypatch.setattr(diffusion, "MIN_IMAGES_TO_REORDER", 0)
    system = diffusion.DiffusionSolver(W)
    assert system.row_order is not None
    found = system.component_of_image.numpy()
    count, expected = scipy.sparse.csgraph.connected_components(W, directed=False)
    assert len(np.unique(np.stack([found, expected]), axis=1).T) == count == found.max() + 1


def test_reordering_leaves_the_graph_as_it_is(monkeypatch):
    W = affinity(clustered(), k=10)
    before = W.copy()
    monkeypatch.setattr(diffusion, "MIN_IMAGES_TO_REORDER", 0)
    system = diffusion.DiffusionSolver(W)
    system.solve(np.ones(300))
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(W, name), getattr(before, name))
        assert not np.shares_memory(system.W.values().numpy(), getattr(W, name))
    assert (system.scipy_graph != W).nnz == 0


def test_the_graph_on_a_device_is_the_same_graph():
    """The code for GPUs, run on the CPU."""
    x = clustered().astype(np.float32)
    x[30:60] = x[7]
    W, on_device = affinity(x, k=10), affinity_on_device(torch.from_numpy(2 * x), 10, 3)
    assert on_device.layout == torch.sparse_csr
    # Which of the duplicates are listed may differ.
    distinct = np.setdiff1d(np.arange(300), [7, *range(30, 60)])
    dense, expected = on_device.to_dense().numpy(), W.toarray()
    np.testing.assert_allclose(
        dense[distinct][:, distinct], expected[distinct][:, distinct], atol=0.02
    )
    x = clustered(seed=1).astype(np.float32)
    longer = torch.from_numpy(x * np.linspace(1, 9, 300, dtype=np.float32)[:, None])
    # 299 includes neighbours of negative similarity; (1, 40) gives degrees below one.
    for k, gamma in ((299, 3), (10, 1.5), (10, 3), (1, 40)):
        W, on_device = affinity(x, k, gamma), affinity_on_device(longer, k, gamma)
        np.testing.assert_allclose(on_device.to_dense(), W.toarray(), atol=1e-5)
    assert W.sum(axis=1).min() > 0
    W, on_device = affinity(x, 10), affinity_on_device(longer, 10, 3)
    Y = torch.from_numpy(np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32))
    Z = diffuse(on_device, Y)
    assert isinstance(Z, torch.Tensor)
    np.testing.assert_allclose(Z, diffuse(W, Y), atol=1e-4)


def test_new_tensors_are_created_on_the_features_device():
    """A tensor created without a device would be on "meta" here, as it would be on the CPU if the
    features were on a GPU."""
    x = torch.from_numpy(clustered().astype(np.float32))
    W, labels, answers = affinity_on_device(x, 10, 3), np.where(np.arange(300) < 9, 0, -1), []
    for default_device in ("cpu", "meta"):
        with torch.device(default_device):
            picks = coreset.pick(features=x, labels=labels, budget=80)
            neighbors = exact_neighbors(x, 5)
            answers.append((torch.from_numpy(picks), diffuse(W, np.eye(300, 3)), *neighbors))
    for one, other in zip(*answers, strict=True):
        assert torch.equal(one, other)


def test_the_graph_on_a_device_keeps_components_apart():
    """More neighbours than a component has images: edges of weight 0 must not join components, or
    labels would seem to reach images that they do not."""
    x = np.zeros((60, 16), dtype=np.float32)
    x[:40, :8], x[40:, 8:] = np.abs(clustered(40)), np.abs(clustered(20))
    W = affinity_on_device(torch.from_numpy(x), 30, 3)
    assert (W.values() > 0).all()
    Z = diffuse(W, np.eye(60, dtype=np.float32)[:, [3, 50]])
    assert (Z[40:, 0] == 0).all() and (Z[:40, 1] == 0).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_results_of_the_cpu():
    x, labels = clustered().astype(np.float32), np.full(300, -1)
    labels[:30] = np.arange(30) % 6
    on_cpu, on_gpu = (
        propagate(torch.from_numpy(x).to(d), labels, 6, k=10) for d in ("cpu", "cuda")
    )
    np.testing.assert_array_equal(on_cpu.labels, on_gpu.labels)
    np.testing.assert_allclose(on_cpu.weights, on_gpu.weights, atol=1e-3)
    for method in ("coreset", "jlp"):
        options = {"labels": labels, "budget": 40, "rng": None}
        picks = [
            select(method, features=torch.from_numpy(x).to(d), **options) for d in ("cpu", "cuda")
        ]
        assert len(np.intersect1d(*picks)) >= 39


def test_approximate_neighbours(caplog):
    x = clustered(4000, 16, 40).astype(np.float32)
    similarities, neighbors = knn(x, 20, "approx")
    assert (similarities.dtype, neighbors.dtype) == (np.float32, np.int64)
    exact, expected = knn(x, 20)
    assert (neighbors != np.arange(4000)[:, None]).all() and (np.diff(similarities) <= 0).all()
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(expected, neighbors, strict=True)])
    assert recall > 0.95
    estimate = estimate_recall(x, search_neighbors(x, 21, "approx")[1])
    assert estimate == pytest.approx(recall, abs=0.02)
    np.testing.assert_array_equal(knn(x, 20, "auto")[0], exact)
    with pytest.raises(ValueError, match="unknown search"):
        knn(x, 20, "fast")


def test_recall_is_the_share_of_exact_neighbours():
    """By inner product of vectors of any length; the sample includes the first and last image."""
    x = np.random.default_rng(0).normal(size=(150, 8)).astype(np.float32)
    x *= np.linspace(1, 9, 150, dtype=np.float32)[:, None]
    exact = np.argsort(-x @ x.T, axis=1, kind="stable")[:, :4]
    assert estimate_recall(x, exact) == 1
    for row in (0, 149):
        incomplete = exact.copy()
        incomplete[row, 2:] = row  # as where too few were found
        assert estimate_recall(x, incomplete) == pytest.approx(1 - 0.5 / 150, abs=1e-6)


def test_auto_is_exact_up_to_a_limit(monkeypatch):
    """With a low recall the approximate search differs."""
    monkeypatch.setattr(neighbors_module, "TARGET_RECALL", 0.1)
    x = clustered(5000, 16, 40).astype(np.float32)
    exact, approximate = (search_neighbors(x, 20, search)[1] for search in ("exact", "approx"))
    assert (exact != approximate).any()
    for limit, expected in ((5000, exact), (4999, approximate)):
        monkeypatch.setattr(neighbors_module, "MAX_EXACT_IMAGES", limit)
        np.testing.assert_array_equal(search_neighbors(x, 20, "auto")[1], expected)


def test_cells_with_too_few_images(monkeypatch):
    """Where only one cell is searched and has fewer than k images, the rest are edges of weight
    0."""
    monkeypatch.setattr("utils.graph.search_plan.MAX_COST", 1)
    monkeypatch.setattr("utils.graph.search_plan.MIN_CELLS", 1)
    monkeypatch.setattr("utils.graph.cells.CELL_ROWS", 32)
    monkeypatch.setattr("utils.graph.cells.MAX_CELL_ROWS", 128)
    x = clustered(3000, 8, 20).astype(np.float32)
    similarities, neighbors = search_neighbors(x, 51, "approx")
    own_rows = np.arange(len(x))[:, None]
    is_missing = (neighbors[:, 1:] == own_rows) & (similarities[:, 1:] == 0)
    assert 0 < is_missing.any(axis=1).mean() < 1 and neighbors.min() >= 0
    products = np.einsum("nd,nkd->nk", x, x[neighbors])
    np.testing.assert_allclose(
        similarities[:, 1:][~is_missing], products[:, 1:][~is_missing], atol=1e-6
    )
    W = affinity(x, k=50, search="approx")
    assert (W.diagonal() == 0).all() and np.isfinite(W.data).all() and (W.data > 0).all()
    assert W.nnz < affinity(x, k=50).nnz
