"""Exact neighbours on a few threads from half of the products: x_i·x_j serves row i and row j.

Images are sorted by k-means cells and cut into blocks, so that most neighbours are in the own
block: what a neighbour's product must exceed is bounded from there.  A tile of products, of two
blocks, stays in the cache and is looked at from either side: the largest of every GROUP products
says whether any of them can be a neighbour's, and few can.  What passes is kept until a block has
much; then its best k raise the bound.

Each thread has tiles of its own, one after the other, of blocks that no other thread is at: the
library's threads would wait for one another after each of thousands of small steps.

    tile (B, B)  products of two blocks      bound (n, B)  of n blocks: products above it are kept
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

from utils.torch_faiss import faiss

BLOCK_ROWS = 1024  # rows of a block, about; a tile has 4 MiB
GROUP_SIZE = 16  # products whose largest is looked at first
FIRST_BOUND_GROUP_SIZE = (
    4  # the same for the first bound: the k-th of such maxima is no more than the k-th product
)
BUFFER_FACTOR = 4  # times k: what an image keeps before the best k are taken, on average
IMAGES_PER_CELL = 512  # images of a k-means cell, on average
MIN_BLOCKS = 8  # blocks where it is no slower than faiss's flat index
MAX_THREADS = 2  # up to which it was measured


def is_faster(x: torch.Tensor, k: int) -> bool:
    """Is it faster than products of whole rows?"""
    here = x.is_cpu and x.dtype == torch.float32 and torch.get_num_threads() <= MAX_THREADS
    return here and len(x) >= MIN_BLOCKS * BLOCK_ROWS and k <= BLOCK_ROWS // FIRST_BOUND_GROUP_SIZE


def search_symmetric(x: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k rows of largest inner product with each row: (N, d) float32 -> (N, k), descending, and
    (N, k) int64.  The products are those of whole rows to the last bit, where the library rounds
    them alike."""
    blocks = _BlockSearch(x, k)
    count = len(blocks.block_images)
    similarities = x.new_empty(len(x), k)
    indices = torch.empty(len(x), k, dtype=torch.int64, device=x.device)

    def write(one: int) -> None:
        columns, values = blocks.best_neighbors(one)
        rows = blocks.block_images[one, : blocks.num_real_rows[one]]
        similarities[rows], indices[rows] = values, blocks.block_images.flatten()[columns.long()]

    with map_single_threaded() as each:
        for pairs in round_robin_pairs(count):
            each(lambda pair: blocks.compare_blocks(*pair), pairs)
        each(write, range(count))
    return similarities, indices


def round_robin_pairs(count: int) -> Iterator[list[tuple[int, int]]]:
    """Each of `count` blocks with itself, then each pair once, in lists in which no block comes
    twice: what a block keeps does not depend on who is faster.

    The pairs are a round robin's, i and j with i + j the same modulo an odd number; where `count`
    is even the last block meets whoever would meet itself."""
    yield [(one, one) for one in range(count)]
    odd = count - 1 + count % 2
    for total in range(odd):
        others = [(one, (total - one) % odd) for one in range(odd)]
        met = [(one, odd if one == other else other) for one, other in others if one <= other]
        yield [pair for pair in met if pair[1] < count]


@contextmanager
def map_single_threaded() -> Iterator[Callable[[Callable, Iterable], None]]:
    """A function that calls another on each of some values, on as many threads as torch has, in
    each of which torch has one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that begin now have as many, too
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield lambda function, values: list(pool.map(function, values))
    finally:
        torch.set_num_threads(threads)


class _BlockSearch:
    """n blocks of B rows, of which the last few of each are padding, and what they have kept.

    rows (n, B)  images      real (n,)  rows that are images      kept  a block: rows (m,) int16 of
    it, columns (m,) int32, places in `rows`, and products (m,)"""

    def __init__(self, x: torch.Tensor, k: int):
        self.k, count = k, len(x) // BLOCK_ROWS
        parts = _order_by_cells(x).tensor_split(count)
        self.block_rows = -(-len(parts[0]) // GROUP_SIZE) * GROUP_SIZE
        self.num_real_rows = [len(part) for part in parts]
        self.block_images = torch.zeros(count, self.block_rows, dtype=torch.int64, device=x.device)
        self.bounds = x.new_full((count, self.block_rows), torch.inf)  # of padding: keeps nothing
        for one, part in enumerate(parts):
            self.block_images[one, : len(part)] = part
        self.block_features = x[self.block_images]  # (n, B, d)
        self.free_tiles = []  # that nobody is at
        self.buffers = [[] for _ in parts]

    def compare_blocks(self, one: int, other: int) -> None:
        """What one may keep of the other, and the other of it, or a block of itself."""
        try:
            tile = self.free_tiles.pop()
        except IndexError:
            tile = self.block_features.new_empty(self.block_rows, self.block_rows)
        self._compute_tile(one, other, tile)
        self._keep_candidates(tile, tile.unflatten(1, (GROUP_SIZE, -1)).amax(dim=1), one, other)
        if one != other:  # of the transpose amax would be forty times as slow
            self._keep_candidates(
                tile.T, tile.unflatten(0, (GROUP_SIZE, -1)).amax(dim=0).T, other, one
            )
        self.free_tiles.append(tile)

    def _compute_tile(self, one: int, other: int, tile: torch.Tensor) -> None:
        """The tile of two blocks (B, B), -inf in padding; the first bound where they are one."""
        torch.mm(self.block_features[one], self.block_features[other].T, out=tile)
        tile[:, self.num_real_rows[other] :] = -torch.inf
        if one == other:
            maxima = (
                tile[: self.num_real_rows[one]]
                .unflatten(1, (FIRST_BOUND_GROUP_SIZE, -1))
                .amax(dim=1)
            )
            least = maxima.topk(self.k, dim=1, sorted=False).values.amin(dim=1)
            below = torch.nextafter(least, torch.full_like(least, -torch.inf))  # it passes itself
            self.bounds[one, : self.num_real_rows[one]] = below
        else:
            tile[self.num_real_rows[one] :] = -torch.inf

    def _keep_candidates(self, tile, maxima, one: int, other: int) -> None:
        """What may be among the k best of a block: tile (B, B), its rows by another's; maxima
        (B, B / GROUP), of products of a row that are equally far apart."""
        bound = self.bounds[one]
        row, group = (maxima > bound[:, None]).nonzero(as_tuple=True)
        groups = tile.unflatten(1, (GROUP_SIZE, -1))
        products = groups[row, :, group]  # (groups that pass, GROUP)
        passed, place = (products > bound[row, None]).nonzero(as_tuple=True)
        columns = place * groups.shape[2] + group[passed] + other * self.block_rows
        self.buffers[one].append((row[passed].short(), columns.int(), products[passed, place]))
        if (
            sum(len(some) for some, *_ in self.buffers[one])
            > BUFFER_FACTOR * self.k * self.block_rows
        ):
            columns, values = self.best_neighbors(one)
            rows = torch.arange(len(values), dtype=torch.int16, device=values.device)
            rows = rows.repeat_interleave(self.k)
            self.buffers[one] = [(rows, columns.flatten(), values.flatten())]
            self.bounds[one, : len(values)] = values[:, -1]

    def best_neighbors(self, one: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The best k of what a block has kept, r real rows: columns (r, k) int32, products."""
        rows, columns, values = (torch.cat(part) for part in zip(*self.buffers[one], strict=True))
        order = torch.from_numpy(np.argsort(rows.numpy(), kind="stable"))  # of int16: by radix
        columns, values = columns[order], values[order]
        lengths = rows.bincount(minlength=self.block_rows)[: self.num_real_rows[one]]
        starts = lengths.cumsum(dim=0) - lengths
        best = columns.new_zeros(len(lengths), self.k), values.new_zeros(len(lengths), self.k)
        for some in lengths.argsort().split(
            BLOCK_ROWS // 8
        ):  # of rows that have kept about as much
            places = torch.arange(int(lengths[some].max()), device=values.device)
            beyond = places >= lengths[some, None]
            places = (starts[some, None] + places).clamp_(max=len(values) - 1)
            best[1][some], found = values[places].masked_fill_(beyond, -torch.inf).topk(self.k)
            best[0][some] = columns[places.gather(1, found)]
        return best


def _order_by_cells(x: torch.Tensor) -> torch.Tensor:
    """Images (N,) sorted by k-means cells, cells by their place on their longest axis."""
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
    centred = kmeans.centroids - kmeans.centroids.mean(axis=0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    ranks = np.argsort(np.argsort(centred @ axis, kind="stable"))
    return torch.from_numpy(np.argsort(ranks[cells[:, 0]], kind="stable"))
