"""The graph and the diffusion against brute force and dense algebra."""

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


def test_knn_is_brute_force_with_duplicates():
    x = clustered().astype(np.float32)
    x[50:120] = x[7]  # more copies than neighbours: an image may be missing from its own list
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


def test_knn_leaves_itself_out_of_features_of_any_length():
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32) * np.arange(1, 61)[:, None]
    similarities, _ = knn(x.astype(np.float64), 5)
    assert similarities.dtype == np.float32
    products = x @ x.T
    np.fill_diagonal(products, -np.inf)
    np.testing.assert_allclose(similarities, -np.sort(-products, axis=1)[:, :5], rtol=1e-5)


@pytest.mark.parametrize("k", [0, 5, -1])
def test_knn_refuses(k):
    with pytest.raises(ValueError, match="k must be between"):
        knn(np.eye(5, dtype=np.float32), k)
    with pytest.raises(ValueError, match="finite"):
        knn(np.full((5, 2), np.nan, dtype=np.float32), 2)


@pytest.mark.parametrize("products", [2100, 299])
def test_exact_neighbours_in_blocks(monkeypatch, recwarn, products):
    monkeypatch.setattr(neighbors_module, "MAX_PRODUCTS", products)
    x = clustered().astype(np.float32)
    similarities, found = search_neighbors(x, 9, "exact")  # 7 rows at a time, or one
    products = x @ x.T
    expected = np.argsort(-products, axis=1, kind="stable")[:, :9]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(similarities, np.take_along_axis(products, expected, 1), atol=1e-6)
    assert not recwarn.list  # of a product that does not fit where it is put


@pytest.mark.parametrize("n", [5, 33, 300, 1031])
@pytest.mark.parametrize("k", [1, 4, 60])
def test_neighbours_by_groups_of_products(n, k):
    """Every third image is a duplicate of another; groups of one to eight, with padding."""
    k, x = min(k, n), np.random.default_rng(0).normal(size=(n, 6)).astype(np.float32)
    x[::3] = x[0]
    x = torch.from_numpy(x)
    similarities, found = exact_neighbors(x, k)
    products = x @ x.T
    close = {"rtol": 0, "atol": 1e-5}  # of products up to 30, which few rows round otherwise
    torch.testing.assert_close(similarities, products.topk(k, dim=1).values, **close)
    torch.testing.assert_close(products.gather(1, found), similarities, **close)
    assert (found.sort(dim=1).values.diff(dim=1) > 0).all()  # nobody twice


@pytest.mark.parametrize("k, gamma", [(1, 40), (7, 3), (299, 3), (299, 1.5)])
def test_affinity_is_the_formula(k, gamma):
    """Also where all are neighbours, those of negative similarity too: no edge joins them."""
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


def test_the_defaults_of_the_graph():
    x = clustered()
    assert (affinity(x) != affinity(x, 50, 3, "exact")).nnz == 0


@pytest.mark.parametrize("make", [affinity, affinity_on_device])
def test_duplicates_beyond_a_similarity_of_one(make, recwarn):
    """Of 50 pairs some have a product of 1 + 1e-7, which no power may carry to infinity."""
    x = np.repeat(clustered(50), 2, axis=0).astype(np.float32)
    W = make(torch.from_numpy(x), 3, 1e10)
    dense = W.to_dense().numpy() if make is affinity_on_device else W.toarray()
    assert set(dense.round(6).ravel()) == {0, 1} and dense.sum() > 10 and not recwarn.list


def test_few_images_get_the_complete_graph():
    """A k for many images, given a handful of them."""
    x = clustered(6).astype(np.float32)
    np.testing.assert_array_equal(affinity(x, 50).toarray(), affinity(x, 5).toarray())
    there = [affinity_on_device(torch.from_numpy(x), k, 3).to_dense() for k in (50, 5)]
    assert torch.equal(*there)
    np.testing.assert_allclose(there[0], affinity(x, 5).toarray(), atol=1e-6)
    assert (affinity(x, 5, 2) > 0).sum() > 6 * 2  # more than a smaller k would join


def test_an_isolated_row_stays_zero():
    x = np.eye(6, dtype=np.float32)[[0, 0, 0, 1, 1, 5]]
    W = affinity(x, k=2)
    assert W[5].nnz == 0 and W[:, 5].nnz == 0 and np.isfinite(W.toarray()).all()
    there = affinity_on_device(torch.from_numpy(x), 2, 3).to_dense()
    np.testing.assert_allclose(there, W.toarray(), atol=1e-6)


@pytest.mark.parametrize("classes", [1, 10, 100])
def test_diffusion_is_the_dense_solve(classes):
    W = affinity(clustered(), k=10)
    rng = np.random.default_rng(1)
    Y = np.zeros((300, classes), dtype=np.float32)
    Y[rng.permutation(300)[:classes], np.arange(classes)] = 1
    if classes > 1:
        Y[:, classes // 2] = 0  # a class that has no label
    Z = diffuse(W, Y)
    dense = np.linalg.solve(np.eye(300) - 0.99 * W.toarray().astype(np.float64), Y)
    np.testing.assert_allclose(Z, dense, atol=1e-5)
    assert classes == 1 or (Z[:, classes // 2] == 0).all()
    np.testing.assert_array_equal(diffuse(W, Y[:, 0]), diffuse(W, Y[:, :1])[:, 0])


def test_a_fast_column_is_not_spoilt_by_a_slow_one():
    W = affinity(clustered(), k=10)
    Y = np.zeros((300, 3), dtype=np.float32)
    Y[3, 0] = 1
    Y[:, 2] = np.random.default_rng(0).normal(size=300) * 1e6
    Z = diffuse(W, Y)
    assert np.isfinite(Z).all() and (Z[:, 1] == 0).all()
    np.testing.assert_allclose(Z[:, 0], diffuse(W, Y[:, 0]), atol=1e-5)


def test_columns_that_depend_on_each_other():
    """Among the right-hand sides of a block: the same twice, sums, multiples of 1e9, differences of
    1e-5, and one that is solved at once because its image has no neighbour."""
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
    """Four distinct images, so that the space is soon exhausted."""
    rng = np.random.default_rng(seed)
    W = affinity(np.eye(4)[rng.integers(4, size=300)], k=5)
    Y = np.eye(300, 32)[rng.permutation(300)] if one_hot else (rng.random((300, 32)) < 0.05) * 1.0
    Z = diffuse(W, Y, alpha)
    dense = np.linalg.solve(np.eye(300) - alpha * W.toarray().astype(np.float64), Y)
    assert (np.linalg.norm(Z - dense, axis=0) / np.linalg.norm(dense, axis=0)).max() < 2e-4


@pytest.mark.parametrize("gap, rank", [(0, 6), (1e-6, 7), (1e-5, 7), (1e-4, 7), (1, 7)])
def test_orthonormal_has_the_rank_of_its_columns(gap, rank):
    """Copies, sums and zeros add no direction, a column that is `gap` off another adds its own."""
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


def test_columns_of_noise_have_no_direction():
    """Beside columns of length one, as `conjugate_gradient` makes them, 1e-9 is nothing."""
    for S in (torch.zeros(300, 3), torch.full((300, 3), 1e-9)):
        Q, T = orthonormalize(S)
        assert Q.shape == (300, 0) and T.shape == (0, 3)


def test_equal_columns():
    """The same right-hand side 16 times, in many sizes for many roundings: with directions of
    nothing but noise some are off by 0.5 or 1e8, some singular, and one recurses without end."""
    for n in range(20, 60):
        W = affinity(clustered(n), k=5)
        Z = diffuse(W, np.ones((n, 16)), 0.9)
        dense = np.linalg.solve(np.eye(n) - 0.9 * W.toarray().astype(np.float64), np.ones(n))
        np.testing.assert_allclose(Z, np.repeat(dense[:, None], 16, axis=1), rtol=1e-4)


def test_columns_that_differ_a_little():
    """A difference of 1e-5, above the tolerance of 1e-6, is not taken for noise."""
    W = affinity(clustered(), k=10)
    one, other = np.random.default_rng(0).normal(size=(2, 300))
    Z = diffuse(W, np.stack([one, one + 1e-5 * other], axis=1), 0.5).astype(np.float64)
    expected = np.linalg.solve(np.eye(300) - 0.5 * W.toarray().astype(np.float64), other)
    found = (Z[:, 1] - Z[:, 0]) / 1e-5
    assert np.linalg.norm(found - expected) < 0.2 * np.linalg.norm(expected)


def test_diffusion_reaches_nothing_beyond_its_component():
    W = scipy.sparse.block_diag(
        [affinity(clustered(40), k=5), affinity(clustered(30), k=5)]
    ).tocsr()
    Z = diffuse(W, np.eye(70, 1, dtype=np.float32))
    assert (Z[40:] == 0).all() and (Z[:40] > 0).all()
    Z = diffuse(W, np.eye(70, dtype=np.float32)[:, 25:55])  # columns of both, solved together
    assert (Z[40:, :15] == 0).all() and (Z[:40, :15] > 0).all()
    assert (Z[:40, 15:] == 0).all() and (Z[40:, 15:] > 0).all()
    for length in (1, 1e6):
        there = diffuse(diffusion.as_torch_csr(W), length * np.eye(70)[:, 25:55])
        assert (there[40:, :15] == 0).all() and (there[:40, 15:] == 0).all()


def test_diffusion_refuses():
    W, Y = affinity(clustered(40), k=5), np.eye(40, 2)
    with pytest.raises(ValueError, match="alpha"):
        diffuse(W, Y, alpha=1.0)
    with pytest.raises(ValueError, match="do not fit"):
        diffuse(W, Y[:10])
    with pytest.raises(ValueError, match="do not fit"):
        diffuse(W, Y[:, :, None])
    with pytest.raises(NotConverged, match="2 columns"):
        diffuse(W, np.hstack([Y[:, :1], 0 * Y, Y[:, :1]]), max_iter=2)


def test_as_many_iterations_as_are_allowed():
    """Without an edge the first gives Z = Y, and that it does is seen without a second."""
    Y = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    W = affinity(clustered(40), k=5)
    np.testing.assert_allclose(diffuse(0 * W, Y, max_iter=1), Y, atol=1e-5)
    np.testing.assert_allclose(diffuse(W, Y, alpha=0, max_iter=1), Y, atol=1e-5)
    assert (diffuse(W, 0 * Y, max_iter=0) == 0).all()
    with pytest.raises(NotConverged, match="2 columns"):
        diffuse(0 * W, Y, max_iter=0)


def test_what_did_not_converge_is_counted():
    """What is no number is above every tolerance, what is at it is not."""
    told = str(NotConverged(0.9, 3, torch.tensor([[torch.nan, 0.5, 0.1]]), 0.5))
    assert ": 1 columns above 0.5 after 3 iterations, the largest residual is inf" in told


def test_no_column():
    W = affinity(clustered(40), k=5)
    assert diffuse(W, np.zeros((40, 0))).shape == (40, 0)


def test_indices_are_as_narrow_as_the_product_is_fast():
    W = diffusion.as_torch_csr(affinity(clustered(40), k=5))
    assert W.crow_indices().dtype == W.col_indices().dtype == torch.int32


@pytest.mark.parametrize("length", [1e-25, 1e-9, 1, 1e9])
def test_the_tolerance_is_beside_the_right_hand_side(length):
    """Also of a column far shorter than the tolerance; and a loose tolerance is taken as one."""
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


def test_the_graph_on_the_features_device_is_the_same_graph():
    """Written for GPUs, where it has not been run; the same code on the CPU."""
    x = clustered().astype(np.float32)
    x[30:60] = x[7]
    W, there = affinity(x, k=10), affinity_on_device(torch.from_numpy(2 * x), 10, 3)
    assert there.layout == torch.sparse_csr
    near = np.setdiff1d(
        np.arange(300), [7, *range(30, 60)]
    )  # which duplicates are listed may differ
    dense = there.to_dense().numpy()
    np.testing.assert_allclose(dense[near][:, near], W.toarray()[near][:, near], atol=0.02)
    x = clustered(seed=1).astype(np.float32)
    longer = torch.from_numpy(x * np.linspace(1, 9, 300, dtype=np.float32)[:, None])
    # 299: those of negative similarity too; (1, 40): degrees below one
    for k, gamma in ((299, 3), (10, 1.5), (10, 3), (1, 40)):
        W, there = affinity(x, k, gamma), affinity_on_device(longer, k, gamma)
        np.testing.assert_allclose(there.to_dense(), W.toarray(), atol=1e-5)
    assert W.sum(axis=1).min() > 0
    W, there = affinity(x, 10), affinity_on_device(longer, 10, 3)
    Y = torch.from_numpy(np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32))
    Z = diffuse(there, Y)
    assert isinstance(Z, torch.Tensor)
    np.testing.assert_allclose(Z, diffuse(W, Y), atol=1e-4)


def test_new_tensors_are_made_where_the_features_are():
    """Without a device they would be on "meta" here, as they would be beside a GPU on the CPU."""
    x = torch.from_numpy(clustered().astype(np.float32))
    W, labels, answers = affinity_on_device(x, 10, 3), np.where(np.arange(300) < 9, 0, -1), []
    for place in ("cpu", "meta"):
        with torch.device(place):
            picks = coreset.pick(features=x, labels=labels, budget=80)
            neighbors = exact_neighbors(x, 5)
            answers.append((torch.from_numpy(picks), diffuse(W, np.eye(300, 3)), *neighbors))
    for one, other in zip(*answers, strict=True):
        assert torch.equal(one, other)


def test_the_graph_on_the_features_device_keeps_its_parts_apart():
    """More neighbours than a part has images: edges of no strength must not join the parts, or
    labels would seem to reach what they do not."""
    x = np.zeros((60, 16), dtype=np.float32)
    x[:40, :8], x[40:, 8:] = np.abs(clustered(40)), np.abs(clustered(20))
    W = affinity_on_device(torch.from_numpy(x), 30, 3)
    assert (W.values() > 0).all()
    Z = diffuse(W, np.eye(60, dtype=np.float32)[:, [3, 50]])
    assert (Z[40:, 0] == 0).all() and (Z[:40, 1] == 0).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_round_on_a_gpu_is_the_round_on_the_cpu():
    x, labels = clustered().astype(np.float32), np.full(300, -1)
    labels[:30] = np.arange(30) % 6
    here, there = (propagate(torch.from_numpy(x).to(d), labels, 6, k=10) for d in ("cpu", "cuda"))
    np.testing.assert_array_equal(here.labels, there.labels)
    np.testing.assert_allclose(here.weights, there.weights, atol=1e-3)
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
    exact, right = knn(x, 20)
    assert (neighbors != np.arange(4000)[:, None]).all() and (np.diff(similarities) <= 0).all()
    found = np.mean([np.isin(a, b).mean() for a, b in zip(right, neighbors, strict=True)])
    assert found > 0.95
    measured = estimate_recall(x, search_neighbors(x, 21, "approx")[1])
    assert measured == pytest.approx(found, abs=0.02)
    np.testing.assert_array_equal(knn(x, 20, "auto")[0], exact)
    with pytest.raises(ValueError, match="unknown search"):
        knn(x, 20, "fast")


def test_recall_is_the_part_that_was_found():
    """By inner product, of vectors of any length, the first and the last among them."""
    x = np.random.default_rng(0).normal(size=(150, 8)).astype(np.float32)
    x *= np.linspace(1, 9, 150, dtype=np.float32)[:, None]
    found = np.argsort(-x @ x.T, axis=1, kind="stable")[:, :4]
    assert estimate_recall(x, found) == 1
    for row in (0, -1):
        spoilt = found.copy()
        spoilt[row, 2:] = -1
        assert estimate_recall(x, spoilt) == pytest.approx(1 - 0.5 / 150, abs=1e-6)


@pytest.mark.parametrize("images, cells", [(8, 1), (1000, 33), (4000, 83)])
def test_cells_grow_slower_than_images(images, cells):
    index = neighbors_module.build_ivf_index(clustered(images).astype(np.float32))
    assert (index.nlist, index.nprobe, index.ntotal) == (cells, min(cells, 32), images)


def test_auto_approximates_only_where_there_are_many(monkeypatch):
    """One cell probed, so that what is approximate shows; and searched by the batch."""
    monkeypatch.setattr(neighbors_module, "MAX_PROBES", 1)
    x = clustered(1000, 16, 40).astype(np.float32)
    exact, approximate = (search_neighbors(x, 20, search)[1] for search in ("exact", "approx"))
    assert (exact != approximate).any()
    for limit, expected in ((1000, exact), (999, approximate)):
        monkeypatch.setattr(neighbors_module, "MAX_EXACT_IMAGES", limit)
        np.testing.assert_array_equal(search_neighbors(x, 20, "auto")[1], expected)
    monkeypatch.setattr(neighbors_module, "SEARCH_BATCH_SIZE", 300)
    np.testing.assert_array_equal(search_neighbors(x, 20, "approx")[1], approximate)


def test_cells_that_hold_too_few(monkeypatch):
    """With one cell probed an image may find fewer than k: the rest are edges of no strength."""
    monkeypatch.setattr(neighbors_module, "MAX_PROBES", 1)
    x = clustered(200, 8, 20).astype(np.float32)
    similarities, found = search_neighbors(x, 51, "approx")
    rows = np.arange(200)[:, None]
    own = found == rows
    assert own[:, 0].all() and (own.sum(axis=1) > 1).any()  # to themselves
    assert (similarities[:, 1:][own[:, 1:]] == 0).all()
    products = np.take_along_axis(x @ x.T, found, axis=1)
    np.testing.assert_allclose(similarities[~own], products[~own], atol=1e-6)
    W = affinity(x, k=50, search="approx")
    assert (W.diagonal() == 0).all() and np.isfinite(W.data).all() and (W.data > 0).all()
    assert W.nnz < affinity(x, k=50).nnz
