"""Approximate neighbours by cells against all products."""

import numpy as np
import pytest
import torch

from tests.benchmarks.synthetic_features import features_and_classes
from utils.arrays import l2_normalize
from utils.graph import cell_neighbors, cells, knn, nearest_neighbors, search_plan
from utils.graph.cells import make_cells, surplus_copies
from utils.graph.nearest_neighbors import approximate_neighbors, estimate_recall
from utils.graph.search_plan import Sample, evaluate, make_plan
from utils.graph.symmetric_neighbors import map_single_threaded


def unit_rows(kind, n, d=32):
    rng = np.random.default_rng(0)
    if kind == "sheets":
        x = features_and_classes(n, d)[0]
    elif kind == "low-dimensional":
        x = np.sin(rng.normal(size=(n, 3)) @ rng.normal(size=(3, d)) + rng.uniform(0, 6, size=d))
    elif kind == "scales":  # clusters of very different width and size
        members = rng.choice(60, n, p=rng.dirichlet(np.full(60, 0.3)))
        width = 10 ** rng.uniform(-2, 0, size=60)
        x = rng.normal(size=(60, d))[members] + width[members, None] * rng.normal(size=(n, d)) / 3
    elif kind == "sphere":
        x = rng.normal(size=(n, 8))
    else:  # half of the rows equal, or equal up to rounding
        x = features_and_classes(n, d)[0]
        x[rng.permutation(n)[: n // 2]] = x[7]
        if kind == "half almost equal":
            x += 1e-6 * rng.normal(size=x.shape).astype(np.float32)
    return l2_normalize(x.astype(np.float32))


KINDS = ("sheets", "low-dimensional", "scales", "sphere", "half equal", "half almost equal")


def exact_products(x, rows, k):
    products = torch.from_numpy(x[rows]).double() @ torch.from_numpy(x).double().T
    return products, products.topk(k).values.numpy()


@pytest.fixture
def searches(monkeypatch):
    """How often an approximate search was answered by an exact one."""
    exact, calls = nearest_neighbors.exact_neighbors, []
    monkeypatch.setattr(
        nearest_neighbors, "exact_neighbors", lambda *args: calls.append(1) or exact(*args)
    )
    return calls


@pytest.mark.parametrize("kind", KINDS)
def test_recall_is_the_target(kind, searches, monkeypatch):
    monkeypatch.setattr(cells, "CELL_ROWS", 32)
    monkeypatch.setattr(cells, "MAX_CELL_ROWS", 128)
    x = unit_rows(kind, 12_000)
    similarities, indices = approximate_neighbors(x, 21, 0.95)
    assert not searches
    assert (similarities.dtype, indices.dtype) == (np.float32, np.int64)
    rows = np.random.default_rng(1).choice(len(x), 500, replace=False)
    products, exact = exact_products(x, rows, 21)
    found = products.gather(1, torch.from_numpy(indices[rows])).numpy()
    np.testing.assert_allclose(similarities[rows], found, atol=1e-6)
    assert (np.diff(similarities) <= 0).all()
    assert all(len(set(row)) == 21 for row in indices[rows].tolist())
    recall = (found >= exact[:, -1:] - 1e-6).mean()
    assert recall > 0.93
    assert estimate_recall(x, indices) == pytest.approx(recall, abs=0.03)


def test_a_higher_target_finds_more():
    x = unit_rows("sheets", 12_000, 64)
    recalls = [estimate_recall(x, approximate_neighbors(x, 21, t)[1]) for t in (0.5, 0.8, 0.99)]
    assert recalls == sorted(recalls) and recalls[0] < 0.93 and recalls[2] > 0.98


def test_threads_do_not_change_the_result():
    x, threads, found = unit_rows("sheets", 9000), torch.get_num_threads(), []
    try:
        for count in (1, 2, 1):
            torch.set_num_threads(count)
            found.append(approximate_neighbors(x, 11, 0.9))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("distinct", [1, 3, 200])
def test_few_distinct_rows(distinct):
    x = np.repeat(unit_rows("sheets", distinct), 6000 // distinct, axis=0)
    similarities, indices = approximate_neighbors(x, 11, 0.9)
    np.testing.assert_allclose(similarities, 1, atol=1e-6)
    assert (np.abs(x[indices] - x[:, None]) < 1e-6).all()
    assert all(len(set(row)) == 11 for row in indices.tolist())
    neighbors = knn(x, 10, "approx")[1]
    assert (neighbors != np.arange(len(x))[:, None]).all()


def test_hard_rows_are_searched_exactly_or_at_the_largest_cost(searches, monkeypatch):
    """No plan of 4,000 random rows of 64 dimensions costs less than all products."""
    x = l2_normalize(np.random.default_rng(0).normal(size=(4000, 64)).astype(np.float32))
    similarities, _ = approximate_neighbors(x, 11, 0.99)
    assert searches
    np.testing.assert_allclose(
        similarities, torch.from_numpy(x @ x.T).topk(11).values.numpy(), atol=1e-6
    )
    monkeypatch.setattr(search_plan, "MAX_COST", 1500)
    searches.clear()
    indices = approximate_neighbors(x, 11, 0.99)[1]
    assert not searches and 0.2 < estimate_recall(x, indices) < 0.9


def test_vectors_of_any_length():
    """Inner products, not angles."""
    x = unit_rows("sheets", 6000) * np.random.default_rng(0).uniform(0.5, 2, (6000, 1))
    assert estimate_recall(x, approximate_neighbors(x.astype(np.float32), 11, 0.95)[1]) > 0.93


def test_cells_hold_each_row_once():
    x = torch.from_numpy(unit_rows("half almost equal", 20_000))
    with map_single_threaded() as apply:
        order, starts, centroids = make_cells(x, apply)
    sizes = starts.diff()
    assert torch.equal(order.sort().values, torch.arange(len(x)))
    assert sizes.min() >= 1 and sizes.max() <= cells.MAX_CELL_ROWS
    assert sizes.double().mean() > cells.CELL_ROWS / 2
    means = torch.stack([x[rows].mean(dim=0) for rows in order.split(sizes.tolist())])
    torch.testing.assert_close(centroids, means)
    to_own = (x[order] - centroids.repeat_interleave(sizes, dim=0)).square().sum()
    assert to_own < 0.5 * (x - x.mean(dim=0)).square().sum()


def test_equal_rows_that_k_means_cannot_divide():
    x = torch.ones(5000, 4)
    with map_single_threaded() as apply:
        order, starts, _ = make_cells(x, apply)
    assert torch.equal(order.sort().values, torch.arange(5000))
    assert starts.diff().max() <= cells.MAX_CELL_ROWS


def test_surplus_copies():
    x = np.arange(40, dtype=np.float32).reshape(20, 2)
    x[[3, 5, 8, 13, 19]] = x[3]
    x[[0, 1, 2]] = x[1]
    surplus, first = surplus_copies(x, 3)
    assert (surplus.tolist(), first.tolist()) == ([13, 19], [3, 3])
    surplus, first = surplus_copies(x, 1)
    assert surplus.tolist() == [1, 2, 5, 8, 13, 19]
    assert first.tolist() == [0, 0, 3, 3, 3, 3]
    assert not len(surplus_copies(x, 5)[0])


@pytest.mark.parametrize("shape", [(5, 64), (3, 61 * 8), (4, 9)])
def test_largest_products(shape):
    """With and without groups, with ties and with rows of -inf."""
    values = torch.from_numpy(np.random.default_rng(0).integers(60, size=shape)).float()
    values[0] = 3
    values[1, 1:] = -torch.inf
    for k in (1, 7, 9):
        best, columns = cell_neighbors.largest_products(values, k)
        torch.testing.assert_close(best, values.topk(k).values)
        torch.testing.assert_close(values.gather(1, columns), best)
        assert all(len(set(row)) == k for row in columns.tolist())


def brute_force_recall(sample, cells, margin):
    """Recall and cost of a plan, row by row."""
    found, cost = [], []
    for hits, offsets, sizes, products, ranks in zip(*sample[:5], strict=True):
        own = [p for p, rank in zip(products.tolist(), ranks.tolist(), strict=True) if rank < cells]
        kth = own[sample.k - 1] if len(own) >= sample.k else products[-1].item()
        number = row_cost = 0
        for cell in range(min(cells * search_plan.MARGIN_CELLS, len(hits))):
            if cell < cells:
                number, row_cost = number + hits[cell], row_cost + sizes[cell]
            elif margin > -np.inf:
                row_cost += search_plan.DECISION_COST
                if kth + offsets[cell] <= margin:
                    number += hits[cell]
                    row_cost += search_plan.MARGIN_COST * sizes[cell]
        if margin > -np.inf:
            row_cost += search_plan.DECISION_COST * cells
        found.append(min(float(number), sample.k) / sample.k)
        cost.append(float(row_cost))
    return np.mean(found), np.mean(cost)


def make_sample(rows=40, count=200, k=6, nearest=30):
    """Nearer cells hold more of the neighbours and have smaller offsets."""
    rng = np.random.default_rng(0)
    ranks = np.minimum(rng.geometric(0.04, size=(rows, nearest)) - 1, count - 1)
    hits = np.stack([np.bincount(row[:k], minlength=count) for row in ranks])
    offsets = np.linspace(-1, 0, count) + 0.1 * rng.normal(size=(rows, count))
    sizes = np.tile(rng.integers(1, 40, size=count), (rows, 1))
    products = -np.sort(-rng.random((rows, nearest)), axis=1)
    return Sample(*map(torch.from_numpy, (hits, offsets, sizes, products, ranks)), k)


@pytest.mark.parametrize("margin", [-np.inf, -0.3, 0.2])
@pytest.mark.parametrize("number", [3, 12])
def test_recall_and_cost_of_a_plan(number, margin):
    sample = make_sample()
    scores = search_plan.margin_scores(sample, number)
    plan = evaluate(sample, number, scores, margin)
    expected = brute_force_recall(sample, number, margin)
    assert plan == (number, margin, pytest.approx(expected[0]), pytest.approx(expected[1]))


def test_the_cheapest_plan_that_reaches_the_target(monkeypatch):
    sample = make_sample()
    plans = [make_plan(sample, target) for target in (0.3, 0.6, 0.9, 0.99)]
    for plan, target in zip(plans, (0.3, 0.6, 0.9, 0.99), strict=True):
        assert plan.recall >= target
        recall, cost = brute_force_recall(sample, plan.cells, plan.margin)
        assert (recall, cost) == (pytest.approx(plan.recall), pytest.approx(plan.cost))
    costs = [plan.cost for plan in plans]
    assert costs == sorted(costs) and costs[0] < costs[-1]
    # Every neighbour is in one of the cells: all of them are searched if nothing else reaches 1.
    assert make_plan(sample, 1.0).recall == 1
    monkeypatch.setattr(search_plan, "MAX_COST", costs[1])
    limited = make_plan(sample, 0.99)
    assert limited.cost <= costs[1] and limited.recall < 0.9
