"""The nearest-neighbour graph that label propagation and jLP share.

Source: Iscen et al., "Label propagation for deep semi-supervised learning", CVPR 2019, section 4
(after Zhou et al., NIPS 2003).

    X  (N, d)  features            v_i in the paper
    A  (N, N)  A_ij = max(x_i·x_j, 0)^γ for the k nearest neighbours j of i, else 0
               or, "gaussian", exp(−‖x_i − x_j‖² / (σ_i σ_j)), σ_i the distance of the k-th one
               (Zelnik-Manor & Perona, "Self-tuning spectral clustering", NIPS 2004)
    W  (N, N)  D^-1/2 (A + Aᵀ) D^-1/2, zero diagonal, D the row sums of A + Aᵀ

Several views (sets of features) of the same images give one graph: each A is divided by the sum of
its entries and multiplied by the view's weight, and the sum of these is the A of the graph.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from operator import add
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike
from torch.utils.weak import WeakTensorKeyDictionary

from utils.arrays import as_numpy, as_read_only, l2_normalize
from utils.diffusion import Graph
from utils.graph.device_graph import EPSILON, affinity_on_device, as_graph_views, view_scales
from utils.graph.nearest_neighbors import search_neighbors
from utils.torch_faiss import torch

KERNELS = ("cosine", "gaussian")
MIN_AUTO_K, MAX_AUTO_K, IMAGES_PER_NEIGHBOR = 5, 50, 1000  # of k = "auto"
_GRAPH_CACHE = WeakTensorKeyDictionary()  # tensor -> its graphs, as long as the tensor lives

Features: TypeAlias = ArrayLike | torch.Tensor  # (N, d)
Edges: TypeAlias = tuple[np.ndarray, np.ndarray]  # entries of A (N, k), their columns (N, k)


def knn(features: Features, k: int, search: str = "exact") -> tuple[np.ndarray, np.ndarray]:
    """The k nearest neighbours of each image by inner product, without the image itself.

    features: (N, d).
    search: "exact", "approx", or "auto", which is exact up to 100,000 images.
    -> similarities (N, k) float32, descending, and neighbors (N, k) int64.

    The image is left out by its index, so its exact duplicates remain.  Raises ValueError unless
    1 <= k < N and the features are a finite matrix."""
    x = as_numpy(features, np.float32)  # (N, d)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError("features must be a finite (N, d) matrix")
    if not 1 <= k < len(x):
        raise ValueError(f"k must be between 1 and N-1 = {len(x) - 1}, not {k}")
    similarities, neighbors = search_neighbors(x, k + 1, search)  # (N, k+1)
    is_self = neighbors == np.arange(len(x))[:, None]
    if is_self[:, 0].all():  # the usual case, without duplicates
        return np.ascontiguousarray(similarities[:, 1:]), np.ascontiguousarray(neighbors[:, 1:])
    # If duplicates have displaced the image from its own list, drop the last entry instead.
    dropped = np.where(is_self.any(axis=1), is_self.argmax(axis=1), k)
    kept = np.arange(k + 1) != dropped[:, None]
    return similarities[kept].reshape(-1, k), neighbors[kept].reshape(-1, k)


def affinity(
    features: Features | Sequence[Features],
    k: int | str = 50,
    gamma: float = 3,
    search: str = "exact",
    kernel: str = "cosine",
    weights: Sequence[float] | None = None,
) -> Graph:
    """The symmetric normalised affinity W of the module docstring.

    features: (N, d), scaled to unit length here, or a list or tuple of such views.
    k: reduced to N-1 for fewer images, where the graph is complete; "auto": `auto_k` of N.
    search: as in `knn`.
    kernel: one of KERNELS.
    weights: of the views; default all 1.
    -> (N, N) scipy CSR float32; an image without neighbours has a zero row.  Features on a GPU stay
    there: the search is exact, and W is a torch CSR tensor."""
    views = as_graph_views(features)
    n = len(views[0])
    num_neighbors = min(auto_k(n) if k == "auto" else int(k), n - 1)
    if isinstance(views[0], torch.Tensor) and views[0].is_cuda:
        return affinity_on_device(views, num_neighbors, gamma, kernel, weights)
    settings = (num_neighbors, gamma, search, kernel)

    def make_graph() -> scipy.sparse.csr_matrix:
        return normalize_affinity([affinity_edges(views[0], *settings)], n, num_neighbors)

    if len(views) == 1:
        return _get_or_make(views[0], "W", *settings, make=make_graph)
    edges = [
        _get_or_make(x, "A", *settings, make=partial(affinity_edges, x, *settings)) for x in views
    ]
    scales = view_scales([entries.sum(dtype=np.float64) for entries, _ in edges], weights)
    scaled = [(a * scale, columns) for (a, columns), scale in zip(edges, scales, strict=True)]
    return normalize_affinity(scaled, n, num_neighbors)


def normalize_affinity(edges: Sequence[Edges], n: int, k: int) -> scipy.sparse.csr_matrix:
    """W of the sum of the views.  edges: of each view, as from `affinity_edges`."""
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
    w.degrees = degrees
    return w


def degrees_of(W: Graph) -> np.ndarray | torch.Tensor:
    """The diagonal of D of the graph that `affinity` returned: (N,) float64, on its device."""
    degrees: np.ndarray | torch.Tensor = vars(W)["degrees"]
    return degrees


def _get_or_make(features: Features, *key: object, make: Callable[[], Any]) -> Any:
    """The result of `make`, computed once for a tensor that is passed repeatedly, such as
    pre-trained features during a run.  A stored result is read-only."""
    if not isinstance(features, torch.Tensor):
        return make()
    version = None if features.is_inference() else features._version
    results, key = _GRAPH_CACHE.setdefault(features, {}), (version, *key)
    if key not in results:
        result = make()
        if isinstance(result, tuple):
            result = tuple(map(as_read_only, result))
        else:
            result.data.flags.writeable = False
        results[key] = result
    return results[key]


def affinity_edges(features: Features, k: int, gamma: float, search: str, kernel: str) -> Edges:
    """A of one view: its entries (N, k) and their columns, the neighbours (N, k)."""
    x = l2_normalize(as_numpy(features, np.float32))
    similarities, neighbors = knn(x, k, search)
    if kernel == "gaussian":
        # A zero row has no direction.  An image that is its own neighbour stands for a missing one.
        is_zero = np.logical_not(x.any(axis=1))
        own_rows = np.arange(len(x))[:, None]
        no_edge = is_zero[:, None] | is_zero[neighbors] | (neighbors == own_rows)
        squares = np.maximum(2 - 2 * similarities, 0)  # squared distances
        sigma = np.maximum(np.sqrt(squares[:, -1]), EPSILON)
        strengths = np.exp(-squares / (sigma[:, None] * sigma[neighbors]))
        return np.where(no_edge, np.float32(0), strengths), neighbors
    with np.errstate(over="ignore"):
        strengths = np.maximum(similarities, 0) ** gamma  # (N, k)
    strengths[np.isinf(strengths)] = 1  # duplicates whose similarity was rounded above one
    return strengths, neighbors


def auto_k(images: int) -> int:
    """k = "auto": the paper's 50 at its 50,000 images, and fewer for smaller data sets, in which a
    class has fewer images."""
    return min(max(round(images / IMAGES_PER_NEIGHBOR), MIN_AUTO_K), MAX_AUTO_K)
