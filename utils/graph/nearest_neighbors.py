"""Nearest-neighbour search: exact, or approximate where exact takes too long.

Exact search computes all inner products, in N² d operations.  faiss's inverted file (Sivic &
Zisserman, ICCV 2003; Douze et al., "The Faiss library", 2024) sorts images into k-means cells and
compares each only with those of nearby cells.
"""

import logging
import math
from typing import Any

import numpy as np

from utils.graph import symmetric_neighbors
from utils.torch_faiss import faiss, torch

log = logging.getLogger("al.graph")

SEARCH_MODES = ("auto", "exact", "approx")
MAX_EXACT_IMAGES = 100_000  # of an exact search by "auto"
MAX_PROBES = 32  # cells that are searched for an image's neighbours
SEARCH_BATCH_SIZE = 65_536  # images per call of faiss
# Inner products in memory at once, 128 MiB on a CPU and 1 GiB on a GPU, and images per product.  On
# a CPU more do not fit into the cache; a GPU takes 0.6 of the time with more.
MAX_PRODUCTS = {"cpu": 2**25, "cuda": 2**28}
MAX_BLOCK_ROWS = {"cpu": 1024, "cuda": 8192}
MAX_GROUP_SIZE = 8  # products of which only the largest is compared first
SIMD_LANES = 16  # float32 numbers per processor instruction
RECALL_SAMPLE_SIZE = 200  # images whose exact neighbours are searched to estimate the recall


def search_neighbors(x: np.ndarray, k: int, search: str) -> tuple[np.ndarray, np.ndarray]:
    """The k rows with the largest inner product with each row, which may include the row itself.

    x: (N, d) float32.
    search: one of SEARCH_MODES (ValueError otherwise); an approximate search logs its recall.
    -> similarities (N, k), descending, and indices (N, k) int64.  An approximate search that finds
    fewer than k fills up with the row's own index and similarity 0."""
    if search not in SEARCH_MODES:
        raise ValueError(f"unknown search {search!r}: one of {', '.join(SEARCH_MODES)}")
    if search == "exact" or (search == "auto" and len(x) <= MAX_EXACT_IMAGES):
        exact = exact_neighbors(torch.from_numpy(x), k)
        return exact[0].numpy(), exact[1].numpy()
    index = build_ivf_index(x)
    similarities = np.empty((len(x), k), dtype=np.float32)
    indices = np.empty((len(x), k), dtype=np.int64)
    # In the order of cells, so that they are in the cache for the next image: twice as fast.
    _, cells = index.quantizer.search(x, 1)
    order = np.argsort(cells[:, 0], kind="stable")
    for start in range(0, len(x), SEARCH_BATCH_SIZE):
        batch = order[start : start + SEARCH_BATCH_SIZE]
        similarities[batch], indices[batch] = index.search(x[batch], k)
    log.info("approximate neighbours: recall %.4f at %d", estimate_recall(x, indices), k)
    missing = indices < 0  # the searched cells contain fewer than k images
    similarities[missing] = 0
    indices[missing] = np.nonzero(missing)[0]
    return similarities, indices


def build_ivf_index(x: np.ndarray) -> Any:
    """A faiss.IndexIVFFlat of x (N, d) with N^⅔ / 3 cells: both the number of cells and the images
    per cell grow with N."""
    cells = max(int(len(x) ** (2 / 3) / 3), 1)
    factory = f"IVF{cells},Flat"
    index: Any = faiss.index_factory(x.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.max_points_per_centroid = 8, 40
    index.cp.min_points_per_centroid = 1
    index.train(x)
    index.add(x)
    index.nprobe = min(MAX_PROBES, cells)
    return index


def estimate_recall(x: np.ndarray, indices: np.ndarray) -> float:
    """Share of the exact neighbours among `indices` (N, k), on RECALL_SAMPLE_SIZE images."""
    sample = np.linspace(0, len(x) - 1, min(RECALL_SAMPLE_SIZE, len(x))).astype(np.int64)
    _, exact = faiss.knn(x[sample], x, indices.shape[1], metric=faiss.METRIC_INNER_PRODUCT)
    recalls = [np.isin(a, b).mean() for a, b in zip(exact, indices[sample], strict=True)]
    return float(np.mean(recalls))


def exact_neighbors(x: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As `search_neighbors`, exact: (N, d) on any device -> (N, k) and (N, k) int64.

    On one or two CPU threads by utils.graph.symmetric_neighbors if that is faster, else by products
    of whole rows."""
    x = x.detach()
    if symmetric_neighbors.is_faster(x, k):
        return symmetric_neighbors.search_symmetric(x, k)
    similarities = x.new_empty(len(x), k)
    indices = torch.empty(len(x), k, dtype=torch.int64, device=x.device)
    # topk has the least to do with groups of √(N / k): then there are as many maxima as products
    # in k groups.
    size = max(min(math.isqrt(len(x) // k), MAX_GROUP_SIZE), 1)
    width = -(-len(x) // (size * SIMD_LANES)) * SIMD_LANES
    device = "cuda" if x.is_cuda else "cpu"
    rows = min(max(MAX_PRODUCTS[device] // len(x), 1), MAX_BLOCK_ROWS[device], len(x))
    products = x.new_full((rows, size * width), -torch.inf)
    for start in range(0, len(x), rows):
        part = slice(start, min(start + rows, len(x)))
        part_products = products[: part.stop - part.start]
        torch.mm(x[part], x.T, out=part_products[:, : len(x)])
        similarities[part], indices[part] = topk_in_groups(part_products, k, size)
    return similarities, indices


def topk_in_groups(values: torch.Tensor, k: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest values of each row (m, n), descending, and their columns.

    The k groups with the largest maxima contain them, and topk takes far longer per value than a
    maximum.
    size: columns per group, which are n / size apart."""
    groups = values.unflatten(1, (size, -1))  # (m, size, n / size)
    _, group = groups.amax(dim=1).topk(k, dim=1, sorted=False)
    candidates = groups.gather(2, group[:, None].expand(-1, size, -1))  # (m, size, k)
    best, place = candidates.flatten(1).topk(k, dim=1)
    return best, place // k * groups.shape[2] + group.gather(1, place % k)
