"""The nearest-neighbour graph that label propagation and jLP share.

Source: Iscen et al., "Label propagation for deep semi-supervised learning", CVPR 2019, section 4
(after Zhou et al., NIPS 2003).

    X  (N, d)  features            v_i in the paper
    A  (N, N)  A_ij = max(x_i·x_j, 0)^γ for the k nearest neighbours j of i, else 0
    W  (N, N)  D^-1/2 (A + Aᵀ) D^-1/2, zero diagonal, D the row sums of A + Aᵀ
"""

import numpy as np
import scipy.sparse

from utils.arrays import as_numpy, unit_length
from utils.graph.neighbors import search_neighbors
from utils.graph.on_device import affinity_on_device
from utils.torch_faiss import torch


def knn(features, k: int, search: str = "exact") -> tuple[np.ndarray, np.ndarray]:
    """The k nearest neighbours by inner product, each image's own row left out.

    features: (N, d) -> similarities (N, k) float32, descending, and neighbors (N, k) int64; search:
    "exact", "approx", or "auto", which is exact up to 100,000 images.  The image is left out by
    identity, so that its exact duplicates stay.  Raises ValueError unless 1 <= k < N and the
    features are a finite matrix."""
    x = as_numpy(features, np.float32)  # (N, d)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError("features must be a finite (N, d) matrix")
    if not 1 <= k < len(x):
        raise ValueError(f"k must be between 1 and N-1 = {len(x) - 1}, not {k}")
    similarities, neighbors = search_neighbors(x, k + 1, search)  # (N, k+1)
    own = neighbors == np.arange(len(x))[:, None]
    if own[:, 0].all():  # the usual case, without a duplicate
        return np.ascontiguousarray(similarities[:, 1:]), np.ascontiguousarray(neighbors[:, 1:])
    # Where duplicates have pushed the image out of its own list, the last entry goes instead.
    dropped = np.where(own.any(axis=1), own.argmax(axis=1), k)
    kept = np.arange(k + 1) != dropped[:, None]
    return similarities[kept].reshape(-1, k), neighbors[kept].reshape(-1, k)


def affinity(
    features, k: int = 50, gamma: float = 3, search: str = "exact"
) -> scipy.sparse.csr_matrix:
    """The symmetric normalised affinity W of the module docstring.

    features: (N, d), made unit length here -> CSR (N, N) float32; search: as in `knn`.  An isolated
    row stays zero.  k is cut to N-1, where the graph is complete.  Features on a GPU stay there:
    the search is exact and W a torch CSR tensor."""
    if isinstance(features, torch.Tensor) and features.is_cuda:
        return affinity_on_device(features, k, gamma)
    x = unit_length(as_numpy(features, np.float32))
    n = len(x)
    k = min(k, n - 1)
    similarities, neighbors = knn(x, k, search)
    with np.errstate(over="ignore"):
        strengths = np.maximum(similarities, 0) ** gamma  # (N, k)
    strengths[np.isinf(strengths)] = 1  # a duplicate, whose similarity was rounded above one
    # Row sums of A + Aᵀ; normalising A before the sum touches fewer entries than after it.
    degrees = strengths.sum(axis=1, dtype=np.float64)
    degrees += np.bincount(neighbors.ravel(), weights=strengths.ravel(), minlength=n)
    scale = np.zeros(n, dtype=np.float32)
    np.divide(1, np.sqrt(degrees), out=scale, where=degrees > 0)
    strengths *= scale[:, None]
    strengths *= scale[neighbors]
    starts = np.arange(0, n * k + 1, k)
    a = scipy.sparse.csr_matrix((strengths.ravel(), neighbors.ravel(), starts), shape=(n, n))
    w = (a + a.T).tocsr()
    w.eliminate_zeros()
    return w
