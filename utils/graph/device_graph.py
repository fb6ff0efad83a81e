"""The graph where the features are: the same W as utils.graph.affinity_graph, as a torch CSR tensor.

Written for GPUs and never run on one; a test runs it on the CPU."""

from collections.abc import Sequence

from utils.diffusion import make_torch_csr
from utils.graph.nearest_neighbors import exact_neighbors
from utils.torch_faiss import torch

EPSILON = 1e-6  # where all neighbours are duplicates, as near as float32 can tell


def as_graph_views(features) -> Sequence:
    """Several views of the images, or the one."""
    return features if isinstance(features, tuple | list) else (features,)


def view_scales(sums, weights=None) -> list[float]:
    """What the entries of each view are multiplied by: its weight, over the sum of its entries."""
    weights = [1] * len(sums) if weights is None else weights
    if not sum(weights) > 0:  # no view is better than another
        weights = [1] * len(sums)
    return [w / max(float(s), EPSILON) for s, w in zip(sums, weights, strict=True)]


def affinity_on_device(
    features, k: int, gamma: float, kernel: str = "cosine", weights=None
) -> torch.Tensor:
    """features: (N, d) on any device, or a sequence of such views, of these weights -> W (N, N),
    torch CSR float32 on that device."""
    views = as_graph_views(features)
    edges = [edges_on_device(x, k, gamma, kernel) for x in views]
    n, device = len(views[0]), views[0].device
    both = torch.cat([torch.cat([at, at.flip(0)], dim=1) for at, _ in edges], dim=1)
    factors = [1.0]
    if len(views) > 1:
        factors = view_scales([a.sum(dtype=torch.float64) for _, a in edges], weights)
    values = [(a * factor).repeat(2) for (_, a), factor in zip(edges, factors, strict=True)]
    w = torch.sparse_coo_tensor(both, torch.cat(values), (n, n), check_invariants=False).coalesce()
    there = w.values() > 0  # an edge of no strength would join parts that do not touch
    (i, j), values = w.indices()[:, there], w.values()[there]
    degrees = torch.zeros(n, dtype=torch.float64, device=device).index_add_(0, i, values.double())
    scale = torch.where(degrees > 0, degrees, torch.inf).rsqrt()
    counts = torch.zeros(n + 1, dtype=torch.int64, device=device).index_add_(
        0, i + 1, torch.ones_like(i)
    )
    starts = counts.cumsum(0).int()
    return make_torch_csr(starts, j.int(), (values * scale[i] * scale[j]).float(), (n, n))


def edges_on_device(features, k: int, gamma: float, kernel: str):
    """A of one view: row and column (2, N k) of its entries, and the entries (N k,)."""
    x = torch.nn.functional.normalize(features.float())
    n = len(x)
    k = min(k, n - 1)
    similarities, neighbors = exact_neighbors(x, k + 1)
    rows = torch.arange(n, device=x.device)
    own = neighbors == rows[:, None]
    last = torch.full_like(rows, k)
    dropped = torch.where(own.any(dim=1), own.int().argmax(dim=1), last)
    kept = torch.arange(k + 1, device=x.device) != dropped[:, None]
    similarities, neighbors = similarities[kept].view(n, k), neighbors[kept].view(n, k)
    edges = torch.stack([rows.repeat_interleave(k), neighbors.flatten()])
    if kernel == "gaussian":
        apart = (2 - 2 * similarities).clamp(min=0)  # squared
        reach = apart[:, -1].sqrt().clamp(min=EPSILON)  # σ
        strengths = (-apart / (reach[:, None] * reach[neighbors])).exp()
        none = ~x.any(dim=1)  # rows of zeros have no direction
        return edges, strengths.masked_fill_(none[:, None] | none[neighbors], 0).flatten()
    strengths = similarities.clamp(min=0).flatten() ** gamma
    strengths[strengths.isinf()] = 1  # a duplicate, whose similarity was rounded above one
    return edges, strengths
