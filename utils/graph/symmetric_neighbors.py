"""Exact neighbours on a few threads from half of the products: x_i·x_j serves row i and row j.

Images are sorted by k-means cells and cut into blocks, so that most neighbours of an image are in
its own block.  The products within the block give a lower bound for the products of an image with
its neighbours.  The products of two blocks, a tile, fit into the cache and serve both blocks: the
largest of every GROUP_SIZE products shows whether any of them can exceed the bound, and few can.
Candidates that exceed it are collected; when a block has many, its best k raise the bound.

Each thread works on its own tiles, of blocks that no other thread uses at that time.  The threads
of a matrix library would wait for each other after each of thousands of small steps.

    tile (B, B)  products of two blocks      bounds (n, B)  lower bounds of the rows of n blocks
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from utils.torch_faiss import faiss

BLOCK_ROWS = 1024  # approximate rows per block; a tile has 4 MiB
GROUP_SIZE = 16  # products of which only the largest is compared first
# Products per maximum for the first bound: the k-th largest maximum is at most the k-th product.
FIRST_BOUND_GROUP_SIZE = 4
BUFFER_FACTOR = 4  # candidates per row, as a multiple of k, before the best k are selected
IMAGES_PER_CELL = 512  # average size of a k-means cell
MIN_BLOCKS = 8  # with fewer, faiss's flat index is faster
MAX_THREADS = 2  # not measured with more


def is_faster(x: torch.Tensor, k: int) -> bool:
    """Whether `search_symmetric` is faster than products of whole rows."""
    suits = x.is_cpu and x.dtype == torch.float32 and torch.get_num_threads() <= MAX_THREADS
    return suits and len(x) >= MIN_BLOCKS * BLOCK_ROWS and k <= BLOCK_ROWS // FIRST_BOUND_GROUP_SIZE


def search_symmetric(x: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k rows with the largest inner product with each row: (N, d) float32 -> (N, k),
    descending, and (N, k) int64.

    The products equal those of whole rows to the last bit if the matrix library rounds both
    alike."""
    blocks = _BlockSearch(x, k)
    count = len(blocks.block_images)
    similarities = x.new_empty(len(x), k)
    indices = torch.empty(len(x), k, dtype=torch.int64, device=x.device)

    def write(block: int) -> None:
        columns, values = blocks.best_neighbors(block)
        rows = blocks.block_images[block, : blocks.num_real_rows[block]]
        similarities[rows], indices[rows] = values, blocks.block_images.flatten()[columns.long()]

    with map_single_threaded() as apply:
        for pairs in round_robin_pairs(count):
            apply(lambda pair: blocks.compare_blocks(*pair), pairs)
        apply(write, range(count))
    return similarities, indices


def round_robin_pairs(count: int) -> Iterator[list[tuple[int, int]]]:
    """Each of `count` blocks with itself, then each pair of blocks once.

    In each list no block occurs twice, so that the result for a block does not depend on which
    thread is faster.  The pairs are those of a round-robin tournament: in one list i + j is the
    same modulo an odd number; if `count` is even, the block that would meet itself meets the last
    one."""
    yield [(one, one) for one in range(count)]
    odd = count - 1 + count % 2
    for total in range(odd):
        others = [(one, (total - one) % odd) for one in range(odd)]
        pairs = [(one, odd if one == other else other) for one, other in others if one <= other]
        yield [pair for pair in pairs if pair[1] < count]


@contextmanager
def map_single_threaded() -> Iterator[Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]]:
    """A function apply(function, values) -> the results of `function` on each value.

    It uses as many threads as torch does outside of this block; within each, torch uses one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that start now inherit it
    try:
        with ThreadPoolExecutor(threads) as executor:

            def apply(function: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
                return list(executor.map(function, values))

            yield apply
    finally:
        torch.set_num_threads(threads)


class _BlockSearch:
    """n blocks of B rows, of which the last few may be padding, and their candidates.

    block_images (n, B)  indices of the images      num_real_rows (n,)  rows that are not padding
    buffers              per block, tuples of m candidates: rows (m,) int16 within the block,
                         columns (m,) int32 into block_images.flatten(), and products (m,)"""

    def __init__(self, x: torch.Tensor, k: int):
        self.k, count = k, len(x) // BLOCK_ROWS
        parts = _order_by_cells(x).tensor_split(count)
        self.block_rows = -(-len(parts[0]) // GROUP_SIZE) * GROUP_SIZE
        self.num_real_rows = [len(part) for part in parts]
        self.block_images = torch.zeros(count, self.block_rows, dtype=torch.int64, device=x.device)
        self.bounds = x.new_full((count, self.block_rows), torch.inf)  # padding has no candidates
        for block, part in enumerate(parts):
            self.block_images[block, : len(part)] = part
        self.block_features = x[self.block_images]  # (n, B, d)
        self.free_tiles: list[torch.Tensor] = []  # memory that no thread uses
        self.buffers: list[list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]] = [
            [] for _ in parts
        ]

    def compare_blocks(self, one: int, other: int) -> None:
        """Collect the candidates of two blocks among each other's rows, or of one block with
        itself."""
        try:
            tile = self.free_tiles.pop()
        except IndexError:
            tile = self.block_features.new_empty(self.block_rows, self.block_rows)
        self._compute_tile(one, other, tile)
        self._keep_candidates(tile, tile.unflatten(1, (GROUP_SIZE, -1)).amax(dim=1), one, other)
        if one != other:  # amax over the transpose would be forty times as slow
            column_maxima = tile.unflatten(0, (GROUP_SIZE, -1)).amax(dim=0)
            self._keep_candidates(tile.T, column_maxima.T, other, one)
        self.free_tiles.append(tile)

    def _compute_tile(self, one: int, other: int, tile: torch.Tensor) -> None:
        """Write the products of two blocks (B, B) to the tile, -inf for padding.  For a block with
        itself, also set its first bounds."""
        num_rows = self.num_real_rows[one]
        torch.mm(self.block_features[one], self.block_features[other].T, out=tile)
        tile[:, self.num_real_rows[other] :] = -torch.inf
        if one == other:
            maxima = tile[:num_rows].unflatten(1, (FIRST_BOUND_GROUP_SIZE, -1)).amax(dim=1)
            least = maxima.topk(self.k, dim=1, sorted=False).values.amin(dim=1)
            # Just below, so that the k-th product itself exceeds the bound.
            self.bounds[one, :num_rows] = torch.nextafter(least, torch.full_like(least, -torch.inf))
        else:
            tile[num_rows:] = -torch.inf

    def _keep_candidates(
        self, tile: torch.Tensor, maxima: torch.Tensor, one: int, other: int
    ) -> None:
        """Collect the candidates of block `one` among the rows of block `other`.

        tile: (B, B) products, rows of `one` by rows of `other`.
        maxima: (B, B / GROUP_SIZE), each of GROUP_SIZE products of a row, equally spaced."""
        bound = self.bounds[one]
        row, group = (maxima > bound[:, None]).nonzero(as_tuple=True)
        groups = tile.unflatten(1, (GROUP_SIZE, -1))
        products = groups[row, :, group]  # (groups that pass, GROUP)
        passed, place = (products > bound[row, None]).nonzero(as_tuple=True)
        columns = place * groups.shape[2] + group[passed] + other * self.block_rows
        self.buffers[one].append((row[passed].short(), columns.int(), products[passed, place]))
        num_candidates = sum(len(rows) for rows, *_ in self.buffers[one])
        if num_candidates > BUFFER_FACTOR * self.k * self.block_rows:
            columns, values = self.best_neighbors(one)
            rows = torch.arange(len(values), dtype=torch.int16, device=values.device)
            rows = rows.repeat_interleave(self.k)
            self.buffers[one] = [(rows, columns.flatten(), values.flatten())]
            self.bounds[one, : len(values)] = values[:, -1]

    def best_neighbors(self, block: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The best k candidates of each of the r real rows of a block: columns (r, k) int32 and
        products (r, k), descending."""
        rows, columns, values = (torch.cat(part) for part in zip(*self.buffers[block], strict=True))
        order = torch.from_numpy(np.argsort(rows.numpy(), kind="stable"))  # int16: radix sort
        columns, values = columns[order], values[order]
        lengths = rows.bincount(minlength=self.block_rows)[: self.num_real_rows[block]]
        starts = lengths.cumsum(dim=0) - lengths
        best_columns = columns.new_zeros(len(lengths), self.k)
        best_values = values.new_zeros(len(lengths), self.k)
        # Together those rows that have about as many candidates.
        for batch in lengths.argsort().split(BLOCK_ROWS // 8):
            places = torch.arange(int(lengths[batch].max()), device=values.device)
            beyond = places >= lengths[batch, None]
            places = (starts[batch, None] + places).clamp_(max=len(values) - 1)
            best = values[places].masked_fill_(beyond, -torch.inf).topk(self.k)
            best_values[batch] = best.values
            best_columns[batch] = columns[places.gather(1, best.indices)]
        return best_columns, best_values


def _order_by_cells(x: torch.Tensor) -> torch.Tensor:
    """Image indices (N,), sorted by k-means cell, and the cells along the principal axis of their
    centroids."""
    kmeans = faiss.Kmeans(
        x.shape[1],
        max(len(x) // IMAGES_PER_CELL, 1),
        niter=4,
        seed=0,
        min_points_per_centroid=1,
        max_points_per_centroid=64,
    )
    features = x.contiguous().numpy()
    kmeans.train(features)
    _, cells = kmeans.index.search(features, 1)
    centroids: Any = kmeans.centroids  # an array after the training
    centred = centroids - centroids.mean(axis=0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    ranks = np.argsort(np.argsort(centred @ axis, kind="stable"))
    return torch.from_numpy(np.argsort(ranks[cells[:, 0]], kind="stable"))
