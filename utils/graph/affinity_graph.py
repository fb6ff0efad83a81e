"""The nearest-neighbour graph that label propagation and jLP share.

Source: Iscen et al., "Label propagation for deep semi-supervised learning", CVPR 2019, section 4
(after Zhou et al., NIPS 2003).

    X  (N, d)  features            v_i in the paper
    A  (N, N)  A_ij = max(x_i·x_j, 0)^γ for the k nearest neighbours j of i, else 0
               or, "gaussian", exp(−‖x_i − x_j‖² / (σ_i σ_j)), σ_i the distance of the k-th one
               (Zelnik-Manor & Perona, "Self-tuning spectral clustering", NIPS 2004)
    W  (N, N)  D^-1/2 (A + Aᵀ) D^-1/2, zero diagonal, D the row sums of A + Aᵀ

Several views of the same images give one graph: each A is divided by the sum of its entries and
multiplied by the view's weight, and their sum is the A of the images.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add

import numpy as np
import scipy.sparse
from torch.utils.weak import WeakTensorKeyDictionary

from utils.arrays import as_numpy, as_read_only, l2_normalize
from utils.graph.device_graph import EPSILON, affinity_on_device, as_graph_views, view_scales
from utils.graph.nearest_neighbors import search_neighbors
from utils.torch_faiss import torch

KERNELS = ("cosine", "gaussian")
_GRAPH_CACHE = WeakTensorKeyDictionary()  # graphs by tensor, as long as that lives
MIN_AUTO_K, MAX_AUTO_K, IMAGES_PER_NEIGHBOR = 5, 50, 1000  # of k = "auto"


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
    features, k: int | str = 50, gamma: float = 3, search: str = "exact", kernel: str = "cosine",
    weights: Sequence[float] | None = None,
) -> scipy.sparse.csr_matrix:  # fmt: skip
    """The symmetric normalised affinity W of the module docstring.

    features: (N, d), made unit length here, or a sequence of such views -> CSR (N, N) float32;
    search: as in `knn`; kernel: of KERNELS; weights: of the views, all one unless given.  An
    isolated row stays zero.  k is cut to N-1, where the graph is complete; "auto" is `neighbors_of`
    N.  Features on a GPU stay there: the search is exact and W a torch CSR tensor."""
    views = as_graph_views(features)
    n = len(views[0])
    k = min(auto_k(n) if k == "auto" else k, n - 1)
    if isinstance(views[0], torch.Tensor) and views[0].is_cuda:
        return affinity_on_device(views, k, gamma, kernel, weights)
    how = (k, gamma, search, kernel)
    if len(views) == 1:
        return _get_or_make(
            views[0],
            "W",
            *how,
            make=lambda: normalize_affinity([affinity_edges(views[0], *how)], n, k),
        )
    edges = [_get_or_make(x, "A", *how, make=lambda x=x: affinity_edges(x, *how)) for x in views]
    factors = view_scales([a.sum(dtype=np.float64) for a, _ in edges], weights)
    return normalize_affinity(
        [(a * f, at) for (a, at), f in zip(edges, factors, strict=True)], n, k
    )


def normalize_affinity(edges: list, n: int, k: int) -> scipy.sparse.csr_matrix:
    """W of the sum of views, each the entries of its A and where they are, as of `edges_of`."""
    # Row sums of A + Aᵀ; normalising A before the sum touches fewer entries than after it.
    degrees = np.zeros(n)
    for strengths, neighbors in edges:
        degrees += strengths.sum(axis=1, dtype=np.float64)
        degrees += np.bincount(neighbors.ravel(), weights=strengths.ravel(), minlength=n)
    scale = np.zeros(n, dtype=np.float32)
    np.divide(1, np.sqrt(degrees), out=scale, where=degrees > 0)
    starts, parts = np.arange(0, n * k + 1, k), []
    for strengths, neighbors in edges:
        scaled = strengths * scale[:, None]
        scaled *= scale[neighbors]
        part = (scaled.ravel(), neighbors.ravel(), starts)
        parts.append(scipy.sparse.csr_matrix(part, shape=(n, n)))
    a = reduce(add, parts)
    w = (a + a.T).tocsr()
    w.eliminate_zeros()
    return w


def _get_or_make(features, *key, make: Callable):
    """What `make` makes of features, once for a tensor that is given again and again, as those are
    that last for a whole run; and then nobody can write to it."""
    if not isinstance(features, torch.Tensor):
        return make()
    version = None if features.is_inference() else features._version
    kept, key = _GRAPH_CACHE.setdefault(features, {}), (version, *key)
    if key not in kept:
        found = make()
        if isinstance(found, tuple):
            found = tuple(map(as_read_only, found))
        else:
            found.data.flags.writeable = False
        kept[key] = found
    return kept[key]


def affinity_edges(features, k: int, gamma: float, search: str, kernel: str):
    """A of one view: its entries (N, k) and where they are, the neighbours (N, k)."""
    x = l2_normalize(as_numpy(features, np.float32))
    similarities, neighbors = knn(x, k, search)
    if kernel == "gaussian":
        # Rows of zeros have no direction, and who is its own neighbour stands for one not found.
        none = ~x.any(axis=1)
        none = none[:, None] | none[neighbors] | (neighbors == np.arange(len(x))[:, None])
        apart = np.maximum(2 - 2 * similarities, 0)  # squared
        reach = np.maximum(np.sqrt(apart[:, -1]), EPSILON)  # σ
        strengths = np.exp(-apart / (reach[:, None] * reach[neighbors]))
        return np.where(none, np.float32(0), strengths), neighbors
    with np.errstate(over="ignore"):
        strengths = np.maximum(similarities, 0) ** gamma  # (N, k)
    strengths[np.isinf(strengths)] = 1  # a duplicate, whose similarity was rounded above one
    return strengths, neighbors


def auto_k(images: int) -> int:
    """k = "auto": the paper's 50 at its 50,000 images, fewer where a class has few."""
    return min(max(round(images / IMAGES_PER_NEIGHBOR), MIN_AUTO_K), MAX_AUTO_K)
