"""Nearest-neighbour search: exact, or approximate where exact takes too long.

Exact search computes all inner products, in N² d operations.  Approximate search sorts images into
k-means cells and compares each only with those of nearby cells, as an inverted file does (Sivic &
Zisserman, ICCV 2003; Douze et al., "The Faiss library", 2024), but cell by cell instead of image
by image (utils.graph.cell_neighbors).
"""

import logging
import math

import numpy as np

from utils.graph import symmetric_neighbors
from utils.graph.cell_neighbors import ROUNDING, search_cells
from utils.graph.cells import surplus_copies
from utils.torch_faiss import faiss, torch

log = logging.getLogger("al.graph")

SEARCH_MODES = ("auto", "exact", "approx")
MAX_EXACT_IMAGES = 100_000  # of an exact search by "auto"
TARGET_RECALL = 0.985  # of an approximate search, unless it takes too long
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
    similarities, indices = approximate_neighbors(x, k, TARGET_RECALL)
    log.info("approximate neighbours: recall %.4f at %d", estimate_recall(x, indices), k)
    return similarities, indices


def approximate_neighbors(x: np.ndarray, k: int, target: float) -> tuple[np.ndarray, np.ndarray]:
    """As `search_neighbors`, with about the recall `target`, or less where that takes too long.

    Of equal rows, only k can be neighbours of others: more would leave no place for other rows
    among the cells that are searched.  The rest have the neighbours of the first one."""
    surplus, first = surplus_copies(x, k)
    kept = np.delete(np.arange(len(x)), surplus)  # (M,)
    features = torch.from_numpy(x[kept] if len(surplus) else x)
    with symmetric_neighbors.map_single_threaded() as apply:
        found = search_cells(features, k, apply, target)
    products, places = (each.numpy() for each in found or exact_neighbors(features, k))
    rows, columns = np.nonzero(np.isneginf(products))  # of missing neighbours
    products[rows, columns], places[rows, columns] = 0, rows
    if not len(surplus):
        return products, places
    similarities = np.empty((len(x), k), dtype=np.float32)
    indices = np.empty((len(x), k), dtype=np.int64)
    similarities[kept], indices[kept] = products, kept[places]
    similarities[surplus], indices[surplus] = similarities[first], indices[first]
    return similarities, indices


def estimate_recall(x: np.ndarray, indices: np.ndarray) -> float:
    """Share of the k nearest among `indices` (N, k), on RECALL_SAMPLE_SIZE images.

    An image that is as near as the k-th counts, so that it does not matter which of several equal
    ones was found."""
    k = indices.shape[1]
    sample = np.linspace(0, len(x) - 1, min(RECALL_SAMPLE_SIZE, len(x))).astype(np.int64)
    exact, _ = faiss.knn(x[sample], x, k, metric=faiss.METRIC_INNER_PRODUCT)
    recalls = []
    for row, kth, found in zip(sample, exact[:, -1], indices[sample], strict=True):
        products = x[np.unique(found)] @ x[row]
        recalls.append((products >= kth - ROUNDING * x[row] @ x[row]).sum() / k)
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
