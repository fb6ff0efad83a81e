"""The graph of utils.graph.affinity_graph computed on the features' device, as a torch CSR tensor.

The tests run it on the CPU, `make gpu` on a GPU.
"""

import warnings
from collections.abc import Sequence
from typing import Any

from utils.diffusion import make_torch_csr
from utils.graph.nearest_neighbors import exact_neighbors
from utils.torch_faiss import torch

EPSILON = 1e-6  # smallest width and sum of entries, for images that are all duplicates


def as_graph_views(features: Any) -> Sequence[Any]:
    """A list or tuple of views as it is, anything else as the only view."""
    return features if isinstance(features, tuple | list) else (features,)


def view_scales(
    sums: Sequence[float | torch.Tensor], weights: Sequence[float] | None = None
) -> list[float]:
    """The factor of each view's entries: its weight divided by the sum of its entries.

    weights: default all 1, also if all are 0."""
    weights = [1] * len(sums) if weights is None else weights
    if not sum(weights) > 0:
        weights = [1] * len(sums)
    return [w / max(float(s), EPSILON) for s, w in zip(sums, weights, strict=True)]


def affinity_on_device(
    features: torch.Tensor | Sequence[torch.Tensor],
    k: int,
    gamma: float,
    kernel: str = "cosine",
    weights: Sequence[float] | None = None,
) -> torch.Tensor:
    """As utils.graph.affinity: features (N, d) on any device, or a list or tuple of such views ->
    W (N, N), torch CSR float32 on that device."""
    views = as_graph_views(features)
    edges = [edges_on_device(x, k, gamma, kernel) for x in views]
    n, device = len(views[0]), views[0].device
    both = torch.cat([torch.cat([at, at.flip(0)], dim=1) for at, _ in edges], dim=1)  # A + Aᵀ
    scales = [1.0]
    if len(views) > 1:
        scales = view_scales([a.sum(dtype=torch.float64) for _, a in edges], weights)
    entries = torch.cat(
        [(a * scale).repeat(2) for (_, a), scale in zip(edges, scales, strict=True)]
    )
    with warnings.catch_warnings():  # of a decision that this argument makes
        warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled")
        w = torch.sparse_coo_tensor(both, entries, (n, n), check_invariants=False).coalesce()
    positive = w.values() > 0  # an edge of weight 0 would join separate components
    (i, j), values = w.indices()[:, positive], w.values()[positive]
    degrees = torch.zeros(n, dtype=torch.float64, device=device).index_add_(0, i, values.double())
    scale = torch.where(degrees > 0, degrees, torch.inf).rsqrt()
    counts = torch.zeros(n + 1, dtype=torch.int64, device=device).index_add_(
        0, i + 1, torch.ones_like(i)
    )
    starts = counts.cumsum(0).int()
    W = make_torch_csr(starts, j.int(), (values * scale[i] * scale[j]).float(), (n, n))
    vars(W)["degrees"] = degrees
    return W


def edges_on_device(
    features: torch.Tensor, k: int, gamma: float, kernel: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """A of one view: row and column (2, N k) of its entries, and the entries (N k,)."""
    x = torch.nn.functional.normalize(features.float())
    n = len(x)
    k = min(k, n - 1)
    similarities, neighbors = exact_neighbors(x, k + 1)
    rows = torch.arange(n, device=x.device)
    is_self = neighbors == rows[:, None]
    last = torch.full_like(rows, k)
    dropped = torch.where(is_self.any(dim=1), is_self.int().argmax(dim=1), last)
    kept = torch.arange(k + 1, device=x.device) != dropped[:, None]
    similarities, neighbors = similarities[kept].view(n, k), neighbors[kept].view(n, k)
    edges = torch.stack([rows.repeat_interleave(k), neighbors.flatten()])
    if kernel == "gaussian":
        squares = (2 - 2 * similarities).clamp(min=0)  # squared distances
        sigma = squares[:, -1].sqrt().clamp(min=EPSILON)
        strengths = (-squares / (sigma[:, None] * sigma[neighbors])).exp()
        is_zero = ~x.any(dim=1)  # a zero row has no direction
        no_edge = is_zero[:, None] | is_zero[neighbors]
        return edges, strengths.masked_fill_(no_edge, 0).flatten()
    strengths = similarities.clamp(min=0).flatten() ** gamma
    strengths[strengths.isinf()] = 1  # duplicates whose similarity was rounded above one
    return edges, strengths
