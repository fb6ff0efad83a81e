"""Exact neighbours from half of the products are those of all."""

import numpy as np
import pytest
import torch

from utils.graph import nearest_neighbors, symmetric_neighbors


def features(n, d=8, copies=15):
    """Clumps, some images far more often than k, and a negative one of each of a few."""
    rng = np.random.default_rng(n)
    x = rng.normal(size=(9, d))[rng.integers(9, size=n)] + 0.5 * rng.normal(size=(n, d))
    x[5 : 5 + copies], x[-5:] = x[5], -x[:5]
    return torch.from_numpy(x.astype(np.float32))


def assert_exact(x, k, found):
    similarities, indices = found
    products = x @ x.T
    expected = products.topk(k).values
    torch.testing.assert_close(similarities, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(products.gather(1, indices), expected, atol=1e-6, rtol=1e-6)
    assert indices.dtype == torch.int64
    assert all(len(set(row)) == k for row in indices.tolist())


@pytest.mark.parametrize("kept", [4, 1, 0.1])
@pytest.mark.parametrize("n, k", [(128, 1), (129, 16), (300, 9), (391, 13), (640, 5)])
def test_neighbours_from_half_of_the_products(monkeypatch, n, k, kept):
    """Blocks even and odd in number, with and without padding, and those that are settled early."""
    monkeypatch.setattr(symmetric_neighbors, "BLOCK_ROWS", 64)
    monkeypatch.setattr(symmetric_neighbors, "IMAGES_PER_CELL", 16)
    monkeypatch.setattr(symmetric_neighbors, "BUFFER_FACTOR", kept)
    x = features(n)
    assert_exact(x, k, symmetric_neighbors.search_symmetric(x, k))


def test_every_image_the_same(monkeypatch):
    monkeypatch.setattr(symmetric_neighbors, "BLOCK_ROWS", 64)
    x = torch.ones(600, 4)
    assert_exact(x, 7, symmetric_neighbors.search_symmetric(x, 7))


def test_each_product_is_made_once(monkeypatch):
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


def test_where_it_is_searched_so(monkeypatch):
    """Many images, few neighbours, one thread or two, float32."""
    monkeypatch.setattr(symmetric_neighbors, "BLOCK_ROWS", 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    x, asked = features(600), []
    search = symmetric_neighbors.search_symmetric
    monkeypatch.setattr(
        symmetric_neighbors, "search_symmetric", lambda *given: asked.append(1) or search(*given)
    )
    assert_exact(x, 16, nearest_neighbors.exact_neighbors(x, 16))
    assert asked == [1]
    for other, k in ((x[:511], 16), (x, 17)):
        assert_exact(other, k, nearest_neighbors.exact_neighbors(other, k))
    assert nearest_neighbors.exact_neighbors(x.double(), 16)[0].dtype == torch.float64
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert_exact(x, 16, nearest_neighbors.exact_neighbors(x, 16))
    assert asked == [1]


def test_threads_change_nothing(monkeypatch):
    """Not even which of equal neighbours are found, nor how many threads torch has afterwards."""
    monkeypatch.setattr(symmetric_neighbors, "BLOCK_ROWS", 64)
    x, before = features(600, copies=100), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 2, 2):
            torch.set_num_threads(threads)
            found.append(symmetric_neighbors.search_symmetric(x, 9))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("count", [1, 2, 5, 8, 12])
def test_pairs_are_disjoint(count):
    lists = list(symmetric_neighbors.round_robin_pairs(count))
    for pairs in lists:
        blocks = [block for pair in pairs for block in set(pair)]
        assert len(blocks) == len(set(blocks))
    pairs = [pair for some in lists for pair in some]
    assert sorted(map(sorted, pairs)) == [[a, b] for a in range(count) for b in range(a, count)]
    assert pairs[:count] == [(one, one) for one in range(count)]
