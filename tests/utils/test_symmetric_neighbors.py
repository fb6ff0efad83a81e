"""Exact neighbours from half of the products equal those from all products."""

import numpy as np
import pytest
import torch

from utils.graph import nearest_neighbors, symmetric_neighbors


def features(n, d=8, copies=15):
    """Clumps, an image with more than k copies, and the negatives of some images."""
    rng = np.random.default_rng(n)
    x = rng.normal(size=(9, d))[rng.integers(9, size=n)] + 0.5 * rng.normal(size=(n, d))
    x[5 : 5 + copies], x[-5:] = x[5], -x[:5]
    return torch.from_numpy(x.astype(np.float32))


def assert_exact(x, k, neighbors):
    similarities, indices = neighbors
    products = x @ x.T
    expected = products.topk(k).values
    torch.testing.assert_close(similarities, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(products.gather(1, indices), expected, atol=1e-6, rtol=1e-6)
    assert indices.dtype == torch.int64
    assert all(len(set(row)) == k for row in indices.tolist())


@pytest.mark.parametrize("buffer_factor", [4, 1, 0.1])
@pytest.mark.parametrize("n, k", [(128, 1), (129, 16), (300, 9), (391, 13), (640, 5)])
def test_neighbours_from_half_of_the_products(monkeypatch, n, k, buffer_factor):
    """Even and odd numbers of blocks, with and without padding, with large and small buffers."""
    monkeypatch.setattr(symmetric_neighbors, "BLOCK_ROWS", 64)
    monkeypatch.setattr(symmetric_neighbors, "IMAGES_PER_CELL", 16)
    monkeypatch.setattr(symmetric_neighbors, "BUFFER_FACTOR", buffer_factor)
    x = features(n)
    assert_exact(x, k, symmetric_neighbors.search_symmetric(x, k))


def test_identical_images(monkeypatch):
    monkeypatch.setattr(symmetric_neighbors, "BLOCK_ROWS", 64)
    x = torch.ones(600, 4)
    assert_exact(x, 7, symmetric_neighbors.search_symmetric(x, 7))


def test_each_pair_of_blocks_is_multiplied_once(monkeypatch):
    monkeypatch.setattr(symmetric_neighbors, "BLOCK_ROWS", 64)
    pairs, compare = [], symmetric_neighbors._BlockSearch.compare_blocks
    monkeypatch.setattr(
        symmetric_neighbors._BlockSearch,
        "compare_blocks",
        lambda self, *pair: pairs.append(frozenset(pair)) or compare(self, *pair),
    )
    for n, blocks in ((350, 5), (400, 6)):
        pairs.clear()
        symmetric_neighbors.search_symmetric(features(n), 3)
        assert len(pairs) == len(set(pairs)) == blocks * (blocks + 1) // 2


def test_when_the_symmetric_search_is_used(monkeypatch):
    """For many images, few neighbours, one or two threads, and float32."""
    monkeypatch.setattr(symmetric_neighbors, "BLOCK_ROWS", 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    x, calls = features(600), []
    search = symmetric_neighbors.search_symmetric
    monkeypatch.setattr(
        symmetric_neighbors, "search_symmetric", lambda *args: calls.append(1) or search(*args)
    )
    assert_exact(x, 16, nearest_neighbors.exact_neighbors(x, 16))
    assert calls == [1]
    for other, k in ((x[:511], 16), (x, 17)):
        assert_exact(other, k, nearest_neighbors.exact_neighbors(other, k))
    assert nearest_neighbors.exact_neighbors(x.double(), 16)[0].dtype == torch.float64
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert_exact(x, 16, nearest_neighbors.exact_neighbors(x, 16))
    assert calls == [1]


def test_threads_change_nothing(monkeypatch):
    """Not even which of several equal neighbours are found, nor torch's number of threads."""
    monkeypatch.setattr(symmetric_neighbors, "BLOCK_ROWS", 64)
    x, before = features(600, copies=100), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 2, 2):
            torch.set_num_threads(threads)
            results.append(symmetric_neighbors.search_symmetric(x, 9))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("count", [1, 2, 5, 8, 12])
def test_lists_of_pairs_are_disjoint(count):
    lists = list(symmetric_neighbors.round_robin_pairs(count))
    for pairs in lists:
        blocks = [block for pair in pairs for block in set(pair)]
        assert len(blocks) == len(set(blocks))
    pairs = [pair for pairs in lists for pair in pairs]
    assert sorted(map(sorted, pairs)) == [[a, b] for a in range(count) for b in range(a, count)]
    assert pairs[:count] == [(one, one) for one in range(count)]
