"""The graph where the features are: the same W as utils.graph.build, as a torch CSR tensor.

Written for GPUs and never run on one; a test runs it on the CPU."""

from utils.diffusion import torch_csr
from utils.graph.neighbors import exact_neighbors
from utils.torch_faiss import torch


def affinity_on_device(features: torch.Tensor, k: int, gamma: float) -> torch.Tensor:
    """features: (N, d) on any device -> W (N, N), torch CSR float32 on that device."""
    x = torch.nn.functional.normalize(features.float())
    n = len(x)
    k = min(k, n - 1)
    similarities, neighbors = exact_neighbors(x, k + 1)
    rows = torch.arange(n, device=x.device)
    own = neighbors == rows[:, None]
    last = torch.full_like(rows, k)
    dropped = torch.where(own.any(dim=1), own.int().argmax(dim=1), last)
    kept = torch.arange(k + 1, device=x.device) != dropped[:, None]
    strengths = similarities[kept].clamp(min=0) ** gamma
    strengths[strengths.isinf()] = 1  # a duplicate, whose similarity was rounded above one
    edges = torch.stack([rows.repeat_interleave(k), neighbors[kept]])
    both = torch.cat([edges, edges.flip(0)], dim=1)
    w = torch.sparse_coo_tensor(
        both, strengths.repeat(2), (n, n), check_invariants=False
    ).coalesce()
    there = w.values() > 0  # an edge of no strength would join parts that do not touch
    (i, j), values = w.indices()[:, there], w.values()[there]
    degrees = torch.zeros(n, dtype=torch.float64, device=x.device).index_add_(0, i, values.double())
    scale = torch.where(degrees > 0, degrees, torch.inf).rsqrt()
    counts = torch.zeros(n + 1, dtype=torch.int64, device=x.device).index_add_(
        0, i + 1, torch.ones_like(i)
    )
    starts = counts.cumsum(0).int()
    return torch_csr(starts, j.int(), (values * scale[i] * scale[j]).float(), (n, n))
