"""The nearest-neighbour graph that label propagation and jLP share.

Source: Iscen et al., "Label propagation for deep semi-supervised learning", CVPR 2019, section 3.2,
equations 7 and 8 (after Zhou et al., NIPS 2003).

    X  (N, d)  features            v_i in the paper
    A  (N, N)  A_ij = max(x_i·x_j, 0)^γ for the k nearest neighbours j of i, else 0
    W  (N, N)  D^-1/2 (A + Aᵀ) D^-1/2, zero diagonal, D the row sums of A + Aᵀ
"""

import numpy as np
import scipy.sparse

from utils.arrays import as_numpy, unit_length
from utils.torch_faiss import faiss


def knn(features, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact k nearest neighbours by inner product, each image's own row left out.

    features: (N, d) -> similarities (N, k) float32, descending, and neighbors (N, k) int64.
    The image is left out by identity, so that its exact duplicates stay.  Raises ValueError unless
    1 <= k < N and the features are a finite matrix."""
    x = as_numpy(features, np.float32)  # (N, d)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError("features must be a finite (N, d) matrix")
    if not 1 <= k < len(x):
        raise ValueError(f"k must be between 1 and N-1 = {len(x) - 1}, not {k}")
    index = faiss.IndexFlatIP(x.shape[1])
    index.add(x)
    similarities, neighbors = index.search(x, k + 1)  # (N, k+1)
    own = neighbors == np.arange(len(x))[:, None]
    # Where duplicates have pushed the image out of its own list, the last entry goes instead.
    dropped = np.where(own.any(axis=1), own.argmax(axis=1), k)
    kept = np.arange(k + 1) != dropped[:, None]
    return similarities[kept].reshape(-1, k), neighbors[kept].reshape(-1, k)


def affinity(features, k: int = 50, gamma: float = 3) -> scipy.sparse.csr_matrix:
    """The symmetric normalised affinity W of the module docstring.

    features: (N, d), made unit length here -> CSR (N, N) float32.  An isolated row stays zero.
    k is cut to N-1, where the graph is complete."""
    x = unit_length(as_numpy(features, np.float32))
    n = len(x)
    k = min(k, n - 1)
    similarities, neighbors = knn(x, k)
    strengths = np.maximum(similarities, 0) ** gamma
    starts = np.arange(0, n * k + 1, k)
    a = scipy.sparse.csr_matrix((strengths.ravel(), neighbors.ravel(), starts), shape=(n, n))
    w = (a + a.T).tocsr()
    w.eliminate_zeros()
    degrees = np.asarray(w.sum(axis=1, dtype=np.float64)).ravel()  # (N,)
    scale = np.zeros(n)
    np.divide(1.0, np.sqrt(degrees), out=scale, where=degrees > 0)
    rows = np.repeat(np.arange(n), np.diff(w.indptr))
    w.data = (w.data * scale[rows] * scale[w.indices]).astype(np.float32)
    return w
