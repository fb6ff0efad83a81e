"""Sparse products: the way of a GPU, run on the CPU, against a dense product."""

import numpy as np
import pytest
import scipy.sparse
import torch

from utils import sparse_products
from utils.diffusion import as_torch_csr
from utils.sparse_products import sparse_product, subtract_product, sum_bags

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-14}


def random_graph(rows=60, dtype=np.float64):
    """A symmetric sparse matrix with empty rows, dense and in CSR."""
    rng = np.random.default_rng(0)
    dense = rng.random((rows, rows)) * (rng.random((rows, rows)) < 0.1)
    dense[[0, 7, rows - 1]] = 0
    dense = (dense * (dense.any(axis=1) & dense.any(axis=0))).astype(dtype)
    dense += dense.T
    assert (~dense.any(axis=1)).sum() >= 3
    return dense, as_torch_csr(scipy.sparse.csr_matrix(dense), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [1, 10, 40])
def test_sum_of_bags(columns, dtype):
    dense, W = random_graph(dtype=dtype)
    x = np.random.default_rng(1).random((len(dense), columns)).astype(dtype)
    found = sum_bags(W, torch.from_numpy(x)).numpy()
    assert found.dtype == dtype
    np.testing.assert_allclose(found, dense @ x, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("shape", [(60,), (60, 1), (60, 5)])
def test_products(shape, on_gpu):
    dense, W = random_graph()
    W = SparseOnGpu(W) if on_gpu else W
    x = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.from_numpy(dense) @ x
    torch.testing.assert_close(sparse_product(W, x), expected)
    if len(shape) == 2:
        torch.testing.assert_close(subtract_product(W, x, 0.9), x - 0.9 * expected)


class SparseOnGpu:
    """A sparse tensor that says that it is on a GPU."""

    is_cuda = True

    def __init__(self, W):
        self.crow_indices, self.col_indices, self.values = W.crow_indices, W.col_indices, W.values


def test_gpu_does_not_use_torchs_product(monkeypatch):
    """Control: the products of the test above go through the sums of bags."""
    called = []
    monkeypatch.setattr(sparse_products, "sum_bags", lambda W, x: called.append(1) or x)
    _, W = random_graph()
    sparse_product(SparseOnGpu(W), torch.ones(60))
    subtract_product(SparseOnGpu(W), torch.ones(60, 2), 0.9)
    assert called == [1, 1]
