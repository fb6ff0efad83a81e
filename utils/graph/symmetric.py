"""Exact neighbours on one thread from half of the products: x_i·x_j serves row i and row j.

Images are sorted by k-means cells and cut into blocks, so that most neighbours are in the own
block: what a neighbour's product must exceed is bounded from there.  A tile of products, of two
blocks, stays in the cache and is looked at from either side: the largest of every GROUP products
says whether any of them can be a neighbour's, and few can.  What passes is kept until a block has
much; then its best k raise the bound.

    tile (B, B)  products of two blocks      bound (n, B)  of n blocks: products above it are kept
"""

import numpy as np
import torch

from utils.torch_faiss import faiss

BLOCK = 1024  # rows of a block, about; a tile has 4 MiB
GROUP = 16  # products whose largest is looked at first
FEW = 4  # the same for the first bound: the k-th of such maxima is no more than the k-th product
KEPT = 4  # times k: what an image keeps before the best k are taken, on average
CELL = 512  # images of a k-means cell, on average
LEAST = 8  # blocks where it is no slower than faiss's flat index


def pays(x: torch.Tensor, k: int) -> bool:
    """Is it faster than products of whole rows?

    With one thread alone: it is thousands of small steps, after each of which threads wait for one
    another.  With two, on cores that had other work too, it took ten times as long as the rows."""
    here = x.is_cpu and x.dtype == torch.float32 and torch.get_num_threads() == 1
    return here and len(x) >= LEAST * BLOCK and k <= BLOCK // FEW


def symmetric_neighbors(x: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k rows of largest inner product with each row: (N, d) float32 -> (N, k), descending, and
    (N, k) int64.  The products are those of whole rows to the last bit, where the library rounds
    them alike."""
    blocks = _Blocks(x, k)
    count = len(blocks.rows)
    for apart in range(count // 2 + 1):  # the own block first
        for one in range(count):
            other = (one + apart) % count
            if 2 * apart < count or one < other:  # the last round would come to each pair twice
                blocks.compare(one, other)
    similarities = x.new_empty(len(x), k)
    indices = torch.empty(len(x), k, dtype=torch.int64, device=x.device)
    for one, (rows, real) in enumerate(zip(blocks.rows, blocks.real, strict=True)):
        columns, values = blocks.settle(one)
        similarities[rows[:real]] = values
        indices[rows[:real]] = blocks.rows.flatten()[columns.long()]
    return similarities, indices


class _Blocks:
    """n blocks of B rows, of which the last few of each are padding, and what they have kept.

    rows (n, B)  images      real (n,)  rows that are images      kept  a block: rows (m,) int16 of
    it, columns (m,) int32, places in `rows`, and products (m,)"""

    def __init__(self, x: torch.Tensor, k: int):
        self.k, count = k, len(x) // BLOCK
        parts = _by_cells(x).tensor_split(count)
        self.size = -(-len(parts[0]) // GROUP) * GROUP
        self.real = [len(part) for part in parts]
        self.rows = torch.zeros(count, self.size, dtype=torch.int64, device=x.device)
        self.bound = x.new_full((count, self.size), torch.inf)  # of padding: keeps nothing
        for one, part in enumerate(parts):
            self.rows[one, : len(part)] = part
        self.x = x[self.rows]  # (n, B, d)
        self.tile = x.new_empty(self.size, self.size)
        self.kept = [[] for _ in parts]

    def compare(self, one: int, other: int) -> None:
        tile = self._compute(one, other)
        self._keep(tile, tile.unflatten(1, (GROUP, -1)).amax(dim=1), one, other)
        if one != other:  # of the transpose amax would be forty times as slow
            self._keep(tile.T, tile.unflatten(0, (GROUP, -1)).amax(dim=0).T, other, one)

    def _compute(self, one: int, other: int) -> torch.Tensor:
        """The tile of two blocks (B, B), -inf in padding; the first bound where they are one."""
        tile = torch.mm(self.x[one], self.x[other].T, out=self.tile)
        tile[:, self.real[other] :] = -torch.inf
        if one == other:
            maxima = tile[: self.real[one]].unflatten(1, (FEW, -1)).amax(dim=1)
            least = maxima.topk(self.k, dim=1, sorted=False).values.amin(dim=1)
            below = torch.nextafter(least, torch.full_like(least, -torch.inf))  # it passes itself
            self.bound[one, : self.real[one]] = below
        else:
            tile[self.real[one] :] = -torch.inf
        return tile

    def _keep(self, tile, maxima, one: int, other: int) -> None:
        """What may be among the k best of a block: tile (B, B), its rows by another's; maxima
        (B, B / GROUP), of products of a row that are equally far apart."""
        bound = self.bound[one]
        row, group = (maxima > bound[:, None]).nonzero(as_tuple=True)
        groups = tile.unflatten(1, (GROUP, -1))
        products = groups[row, :, group]  # (groups that pass, GROUP)
        passed, place = (products > bound[row, None]).nonzero(as_tuple=True)
        columns = place * groups.shape[2] + group[passed] + other * self.size
        self.kept[one].append((row[passed].short(), columns.int(), products[passed, place]))
        if sum(len(some) for some, *_ in self.kept[one]) > KEPT * self.k * self.size:
            columns, values = self.settle(one)
            rows = torch.arange(len(values), dtype=torch.int16, device=values.device)
            rows = rows.repeat_interleave(self.k)
            self.kept[one] = [(rows, columns.flatten(), values.flatten())]
            self.bound[one, : len(values)] = values[:, -1]

    def settle(self, one: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The best k of what a block has kept, r real rows: columns (r, k) int32, products."""
        rows, columns, values = (torch.cat(part) for part in zip(*self.kept[one], strict=True))
        order = torch.from_numpy(np.argsort(rows.numpy(), kind="stable"))  # of int16: by radix
        columns, values = columns[order], values[order]
        lengths = rows.bincount(minlength=self.size)[: self.real[one]]
        starts = lengths.cumsum(dim=0) - lengths
        best = columns.new_zeros(len(lengths), self.k), values.new_zeros(len(lengths), self.k)
        for some in lengths.argsort().split(BLOCK // 8):  # of rows that have kept about as much
            places = torch.arange(int(lengths[some].max()), device=values.device)
            beyond = places >= lengths[some, None]
            places = (starts[some, None] + places).clamp_(max=len(values) - 1)
            best[1][some], found = values[places].masked_fill_(beyond, -torch.inf).topk(self.k)
            best[0][some] = columns[places.gather(1, found)]
        return best


def _by_cells(x: torch.Tensor) -> torch.Tensor:
    """Images (N,) sorted by k-means cells, cells by their place on their longest axis."""
    kmeans = faiss.Kmeans(
        x.shape[1],
        max(len(x) // CELL, 1),
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
