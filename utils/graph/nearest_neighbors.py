"""Nearest-neighbour search: exact, or approximate where exact takes too long.

Exact search multiplies every image by every other, N² d; faiss's inverted file (Sivic & Zisserman,
ICCV 2003; Douze et al., "The Faiss library", 2024) compares it with those of near cells only.
"""

import logging
import math

import numpy as np

from utils.graph import symmetric_neighbors
from utils.torch_faiss import faiss, gpu_resources, torch

log = logging.getLogger("al.graph")

SEARCH_MODES = ("auto", "exact", "approx")
MAX_EXACT_IMAGES = 100_000  # images, for "auto"
MAX_PROBES = 32  # cells that an image is compared with
SEARCH_BATCH_SIZE = 65_536  # images searched at a time
MAX_PRODUCTS = 2**25  # inner products held at a time, 128 MiB
MAX_BLOCK_ROWS = (
    1024  # images multiplied at a time: fewer are slow, the products of more leave the cache
)
MAX_GROUP_SIZE = 8  # products, at most, whose largest is looked at first
SIMD_LANES = 16  # floats that a processor loads at a time
RECALL_SAMPLE_SIZE = 200  # images whose exact neighbours measure the recall


def search_neighbors(x: np.ndarray, k: int, search: str) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of largest inner product with each row, itself among them where it is one.

    x: (N, d) float32 -> similarities (N, k), descending, and indices (N, k) int64.  search: one of
    SEARCHES (ValueError otherwise); an approximate one logs its recall."""
    if search not in SEARCH_MODES:
        raise ValueError(f"unknown search {search!r}: one of {', '.join(SEARCH_MODES)}")
    if search == "exact" or (search == "auto" and len(x) <= MAX_EXACT_IMAGES):
        similarities, indices = exact_neighbors(torch.from_numpy(x), k)
        return similarities.numpy(), indices.numpy()
    index = build_ivf_index(x)
    similarities = np.empty((len(x), k), dtype=np.float32)
    indices = np.empty((len(x), k), dtype=np.int64)
    # Cell by cell, so that one image's cells are in the cache for the next: twice as fast.
    _, cells = index.quantizer.search(x, 1)
    order = np.argsort(cells[:, 0], kind="stable")
    for start in range(0, len(x), SEARCH_BATCH_SIZE):
        some = order[start : start + SEARCH_BATCH_SIZE]
        similarities[some], indices[some] = index.search(x[some], k)
    log.info("approximate neighbours: recall %.4f at %d", estimate_recall(x, indices), k)
    missing = indices < 0  # the probed cells held fewer than k
    similarities[missing] = 0
    indices[missing] = np.nonzero(missing)[0]
    return similarities, indices


def build_ivf_index(x: np.ndarray):
    """A faiss index that holds x: N^⅔ / 3 cells, so that cells grow too, but slower than N."""
    cells = max(int(len(x) ** (2 / 3) / 3), 1)
    index = faiss.index_factory(x.shape[1], f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.max_points_per_centroid = 8, 40
    index.cp.min_points_per_centroid = 1
    index.train(x)
    index.add(x)
    index.nprobe = min(MAX_PROBES, cells)
    return index


def estimate_recall(x: np.ndarray, indices: np.ndarray) -> float:
    """The part of the exact neighbours that was found, on SAMPLE images spread over all."""
    chosen = np.linspace(0, len(x) - 1, min(RECALL_SAMPLE_SIZE, len(x))).astype(np.int64)
    _, exact = faiss.knn(x[chosen], x, indices.shape[1], metric=faiss.METRIC_INNER_PRODUCT)
    found = [np.isin(a, b).mean() for a, b in zip(exact, indices[chosen], strict=True)]
    return float(np.mean(found))


def exact_neighbors(x: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, d), on any device -> (N, k) and (N, k) int64, by faiss where it has that GPU.

    On one or two CPU threads by half of the products where that pays, else by products of whole
    rows.  faiss's way has never been run on a GPU."""
    if x.is_cuda and faiss.get_num_gpus():
        device = x.device.index or 0
        resources, metric = gpu_resources(device), faiss.METRIC_INNER_PRODUCT
        with torch.cuda.device(device):  # faiss waits for torch's work on the current one alone
            return faiss.knn_gpu(resources, x, x, k, metric=metric, device=device)
    x = x.detach()
    if symmetric_neighbors.is_faster(x, k):
        return symmetric_neighbors.search_symmetric(x, k)
    similarities = x.new_empty(len(x), k)
    indices = torch.empty(len(x), k, dtype=torch.int64, device=x.device)
    # Groups of √(N / k) would leave topk the least: their maxima are as many as what k groups hold.
    size = max(min(math.isqrt(len(x) // k), MAX_GROUP_SIZE), 1)
    width = -(-len(x) // (size * SIMD_LANES)) * SIMD_LANES
    rows = min(max(MAX_PRODUCTS // len(x), 1), MAX_BLOCK_ROWS, len(x))
    products = x.new_full((rows, size * width), -torch.inf)
    for start in range(0, len(x), rows):
        part = slice(start, min(start + rows, len(x)))
        found = products[: part.stop - part.start]
        torch.mm(x[part], x.T, out=found[:, : len(x)])
        similarities[part], indices[part] = topk_in_groups(found, k, size)
    return similarities, indices


def topk_in_groups(values: torch.Tensor, k: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest of each row (m, n), descending, and where they are.  size: of the groups of
    columns that they are sought in, n / size apart.

    The k groups of largest maxima hold them; topk takes far longer for a value than a maximum."""
    groups = values.unflatten(1, (size, -1))  # (m, size, n / size)
    _, group = groups.amax(dim=1).topk(k, dim=1, sorted=False)
    few = groups.gather(2, group[:, None].expand(-1, size, -1))  # (m, size, k)
    best, place = few.flatten(1).topk(k, dim=1)
    return best, place // k * groups.shape[2] + group.gather(1, place % k)
