"""Cells of similar rows by hierarchical k-means (Nistér & Stewénius, "Scalable recognition with a
vocabulary tree", CVPR 2006), and rows that occur more often than a search needs.

With two levels of √(N / CELL_ROWS) branches, N^1.5 products make as many cells as k-means on all
cells makes with N².
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch

CELL_ROWS = 128  # average size of a cell; with 64, the cells are better and take twice as long
MAX_CELL_ROWS = 4 * CELL_ROWS  # of a cell that is not split again
TRAINING_ROWS = 256  # per centroid
ITERATIONS = 4
ASSIGNMENT_ROWS = 4096  # rows per product with the centroids

Apply = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]  # see map_single_threaded


class Cells(NamedTuple):
    """order (N,) int64: the rows sorted by cell; starts (C + 1,): of each cell in `order`;
    centroids (C, d)."""

    order: torch.Tensor
    starts: torch.Tensor
    centroids: torch.Tensor


def make_cells(x: torch.Tensor, apply: Apply) -> Cells:
    """Cells of at most MAX_CELL_ROWS rows of x (N, d), none of them empty.

    Rows of a cell that k-means cannot divide, because they are almost equal, are divided by index.
    apply: of utils.graph.symmetric_neighbors.map_single_threaded."""
    branches = math.ceil(math.sqrt(len(x) / CELL_ROWS))

    def split(rows: torch.Tensor) -> list[torch.Tensor]:
        if len(rows) <= MAX_CELL_ROWS:
            return [rows]
        count = max(min(branches, len(rows) // CELL_ROWS), 2)
        assigned = _assign_by_kmeans(x, rows, count)
        sizes = assigned.bincount(minlength=count)
        rows = rows[assigned.argsort(stable=True)]
        if sizes.max() > len(rows) / 2:
            return list(rows.tensor_split(count))
        return [part for part in rows.split(sizes.tolist()) if len(part)]

    cells = [torch.arange(len(x))]
    while max(map(len, cells)) > MAX_CELL_ROWS:
        cells = [part for parts in apply(split, cells) for part in parts]
    sizes = torch.tensor([0, *map(len, cells)])
    centroids = torch.stack(apply(lambda rows: x[rows].mean(dim=0), cells))
    return Cells(torch.cat(cells), sizes.cumsum(0), centroids)


def _assign_by_kmeans(x: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
    """Assign the rows (M,) of x (N, d) to one of `count` clusters, (M,), some of which may be
    empty."""
    generator = torch.Generator().manual_seed(len(rows))
    shuffled = rows[torch.randperm(len(rows), generator=generator)]
    sample = x[shuffled[: count * TRAINING_ROWS]]
    centroids = sample[:count]
    for _ in range(ITERATIONS):
        assigned = _nearest_centroids(sample, centroids)
        sizes = assigned.bincount(minlength=count)[:, None]
        sums = torch.zeros_like(centroids).index_add_(0, assigned, sample)
        centroids = torch.where(sizes > 0, sums / sizes.clamp(min=1), centroids)
    parts = rows.split(ASSIGNMENT_ROWS)
    return torch.cat([_nearest_centroids(x[part], centroids) for part in parts])


def _nearest_centroids(x: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    half_squares = centroids.square().sum(dim=1) / 2
    parts = x.split(ASSIGNMENT_ROWS)
    return torch.cat([(part @ centroids.T - half_squares).argmax(dim=1) for part in parts])


def surplus_copies(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of which x (N, d) float32 has k equal ones before: their indices (M,), ascending, and
    for each the index of the first equal row (M,)."""
    factors = np.random.default_rng(0).integers(-(2**62), 2**62, size=x.shape[1]) | 1
    parts = np.array_split(x, max(len(x) // ASSIGNMENT_ROWS, 1))
    # A hash of the bits, because the last bit of a floating-point sum depends on its place.
    hashes = np.concatenate([(part.view(np.int32) * factors).sum(axis=1) for part in parts])
    order = np.argsort(hashes, kind="stable")
    is_first = np.append(True, np.diff(hashes[order]) != 0)
    starts = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]  # of the equal ones in `order`
    places = np.flatnonzero(np.arange(len(x)) - starts >= k)
    surplus, first = order[places], order[starts[places]]
    ascending = np.argsort(surplus)
    return surplus[ascending], first[ascending]
