"""Approximate neighbours: each row is compared with the rows of nearby k-means cells.

All rows of a cell share one product with the rows of its nearest cells, so that nearly all of the
time goes into products of matrices.  A row far from the centroid of its cell has neighbours in
other cells: it is also compared with each cell c for which

    s_k − x·c + ‖c‖² / 2 <= margin,      s_k  (N,)    the row's k-th product found so far
                                         c    (C, d)  the centroids

where the left side, for rows of unit length, is half of the difference between the squared distance
to c and that to the row's k-th neighbour.

How many cells are searched, and the margin, follow from the exact neighbours of a sample of rows.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from utils.graph.cells import Apply, Cells, make_cells
from utils.graph.search_plan import MARGIN_CELLS, Sample, SearchPlan, make_plan

SAMPLE_ROWS = 512  # whose exact neighbours are searched
SAMPLE_NEIGHBORS = 16  # of each, as a multiple of k
MAX_SAMPLE_PRODUCTS = 2**24  # of the sample in memory at once, per thread
ROUNDING = 1e-6  # relative; rows whose products differ by less are equally near
MAX_GROUP_SIZE = 8  # products of which only the largest is compared first
CELLS_PER_TASK = 16
CELLS_PER_ROUND = 1024  # after which the pairs within the margin are compared
MERGED_ROWS = 1024  # whose lists are merged at once

Pairs = tuple[torch.Tensor, torch.Tensor]


def search_cells(
    x: torch.Tensor, k: int, apply: Apply, target: float
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The k rows with about the largest inner product with each row.

    x: (N, d) float32 on the CPU.
    apply: of utils.graph.symmetric_neighbors.map_single_threaded.
    target: recall to reach, within the limits of utils.graph.search_plan.
    -> products (N, k), descending, and indices (N, k) int64; None if all products, each computed
    once for both of its rows, take no longer.  Where a row was compared with fewer than k, the
    product is -inf and the index arbitrary.

    The result does not depend on the number of threads: each product is computed by one of them."""
    cells = make_cells(x, apply)
    search = _CellSearch(x[cells.order], cells, k, apply)
    plan = search.make_plan(target)
    if 2 * plan.cost >= len(x):
        return None
    products, places = search.search(plan)
    del search  # and its copy of x
    indices = torch.empty(len(x), k, dtype=torch.int64)
    for rows, part in zip(cells.order.split(MERGED_ROWS), places.split(MERGED_ROWS), strict=True):
        indices[rows] = cells.order[part]
    del places
    return torch.empty_like(products).index_copy_(0, cells.order, products), indices


class _CellSearch:
    """The rows x (N, d) sorted by cell; rows and places refer to this order."""

    def __init__(self, x: torch.Tensor, cells: Cells, k: int, apply: Apply):
        self.x, self.k, self.apply = x, k, apply
        self.starts, self.centroids = cells.starts, cells.centroids
        self.half_squares = cells.centroids.square().sum(dim=1) / 2  # (C,)
        bounds = cells.starts.tolist()
        self.slices = list(map(slice, bounds, bounds[1:]))  # of each cell
        self.places = torch.arange(len(x), dtype=torch.int32)

    def nearest_cells(self, cells: torch.Tensor, count: int) -> torch.Tensor:
        """The `count` cells nearest to each of the cells (M,), itself first: (M, count) int64."""
        nearness = self.centroids[cells] @ self.centroids.T - self.half_squares
        nearness.scatter_(1, cells[:, None], torch.inf)
        return nearness.topk(count, dim=1).indices

    def make_plan(self, target: float) -> SearchPlan:
        """The plan that finds the target among the exact neighbours of a sample."""
        n, count = len(self.x), len(self.slices)
        sample = torch.linspace(0, n - 1, min(SAMPLE_ROWS, n), dtype=torch.float64).long()
        order = self.nearest_cells(self._cells_of(sample), count)
        offsets = self.half_squares - self.x[sample] @ self.centroids.T
        parts = sample.split(max(MAX_SAMPLE_PRODUCTS // n, 1))
        hits, products, cells = _concatenate(self.apply(self._exact_neighbors, parts))
        ranks = torch.empty_like(order).scatter_(1, order, torch.arange(count).expand_as(order))
        return make_plan(
            Sample(
                hits.gather(1, order),
                offsets.gather(1, order),
                self.starts.diff()[order],
                products,
                ranks.gather(1, cells),
                self.k,
            ),
            target,
        )

    def _cells_of(self, places: torch.Tensor) -> torch.Tensor:
        return torch.searchsorted(self.starts, places, right=True) - 1

    def _exact_neighbors(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Of each of the rows (m,): how many of the rows that are at least as near as the k-th are
        in each cell (m, C); the products and the cells (m, M) of the M nearest rows."""
        n, count = len(self.x), len(self.slices)
        products = self._product_memory(len(rows), n)
        torch.mm(self.x[rows], self.x.T, out=products[:, :n])
        nearest, places = largest_products(products, min(SAMPLE_NEIGHBORS * self.k, n))
        least = nearest[:, self.k - 1] - ROUNDING * self.x[rows].square().sum(dim=1)
        row, place = _where(products >= least[:, None])
        hits = (row * count + self._cells_of(place)).bincount(minlength=len(rows) * count)
        return hits.view(-1, count), nearest, self._cells_of(places)

    def _product_memory(self, rows: int, columns: int) -> torch.Tensor:
        """Memory for products, with more columns of -inf as `largest_products` needs them."""
        width = max(columns + -columns % MAX_GROUP_SIZE, self.k)
        memory = self.x.new_empty(rows, width)
        memory[:, columns:] = -torch.inf
        return memory

    def search(self, plan: SearchPlan) -> tuple[torch.Tensor, torch.Tensor]:
        """-> products (N, k), descending, and places (N, k) int32."""
        products = self.x.new_empty(len(self.x), self.k)
        places = torch.empty(len(self.x), self.k, dtype=torch.int32)
        width = min(plan.cells * MARGIN_CELLS, len(self.slices))

        def compare_cells(cells: torch.Tensor) -> tuple[torch.Tensor, ...]:
            near = self.nearest_cells(cells, width if plan.margin > -torch.inf else plan.cells)
            pairs = []
            for cell, others in zip(cells.tolist(), near, strict=True):
                own = self.slices[cell]
                products[own], places[own] = self._compare_all(own, others[: plan.cells].tolist())
                others = others[plan.cells :]
                scores = products[own, -1:] + self.half_squares[others]
                scores -= self.x[own] @ self.centroids[others].T
                row, other = _where(scores <= plan.margin)
                pairs.append(((row + own.start).int(), others[other].int()))
            return _concatenate(pairs)

        for part in torch.arange(len(self.slices)).split(CELLS_PER_ROUND):
            tasks = part.split(CELLS_PER_TASK)
            rows, cells = _concatenate(self.apply(compare_cells, tasks))
            if len(rows):
                self._merge(products, places, *self._compare_pairs(rows, cells, products[:, -1]))
        return products, places

    def _compare_all(self, own: slice, cells: Sequence[int]) -> Pairs:
        """The best k, products and places, of the rows of a cell among the rows of `cells`."""
        slices = [self.slices[cell] for cell in cells]
        candidates = torch.cat([self.x[part] for part in slices])
        columns = torch.cat([self.places[part] for part in slices])
        products = self._product_memory(own.stop - own.start, len(candidates))
        torch.mm(self.x[own], candidates.T, out=products[:, : len(candidates)])
        best, column = largest_products(products, self.k)
        return best, columns[column.clamp(max=len(columns) - 1)]

    def _compare_pairs(
        self, rows: torch.Tensor, cells: torch.Tensor, least: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The rows of each cell whose product with a row exceeds least[row].

        rows, cells: (M,) int32, to be compared.
        -> rows (P,) int32, sorted, places (P,) int32, and products (P,)."""
        order = cells.argsort(stable=True)
        sizes = cells.bincount(minlength=len(self.slices)).tolist()

        def compare(task: tuple[slice, torch.Tensor]) -> tuple[torch.Tensor, ...]:
            own, at = task
            row_of = rows[at]
            products = self.x[row_of] @ self.x[own].T
            row, column = _where(products > least[row_of, None])
            return row_of[row], (column + own.start).int(), products[row, column]

        tasks = zip(self.slices, order.split(sizes), strict=True)
        found = _concatenate(self.apply(compare, (task for task in tasks if len(task[1]))))
        by_row = found[0].argsort(stable=True)
        return found[0][by_row], found[1][by_row], found[2][by_row]

    def _merge(
        self,
        products: torch.Tensor,
        places: torch.Tensor,
        rows: torch.Tensor,
        new_places: torch.Tensor,
        new_products: torch.Tensor,
    ) -> None:
        """Replace the lists (N, k) of products and places by the best k of these and of the new
        ones (P,), which are sorted by row."""

        distinct, counts = rows.unique_consecutive(return_counts=True)
        starts = counts.cumsum(0) - counts

        def merge(batch: torch.Tensor) -> None:
            offsets = torch.arange(int(counts[batch].max()))
            new = (starts[batch, None] + offsets).clamp_(max=len(rows) - 1)
            beyond = offsets >= counts[batch, None]
            old = distinct[batch]
            padded = new_products[new].masked_fill_(beyond, -torch.inf)
            best, at = torch.cat([products[old], padded], dim=1).topk(self.k)
            places[old] = torch.cat([places[old], new_places[new]], dim=1).gather(1, at)
            products[old] = best

        # Together those rows that have about as many new ones.
        self.apply(merge, counts.argsort(stable=True).split(MERGED_ROWS))


def largest_products(products: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest of each row (m, n), descending, and their columns; n >= k.

    The k-th largest maximum of a group is at most the k-th product, and few products exceed it.
    numpy finds these in half of the time of torch's topk."""
    size = min(MAX_GROUP_SIZE, products.shape[1] // k)
    while products.shape[1] % size:
        size -= 1
    maxima = products.unflatten(1, (size, -1)).amax(dim=1).numpy()
    least = np.partition(maxima, maxima.shape[1] - k, axis=1)[:, -k, None]
    at = torch.from_numpy(np.flatnonzero(products.numpy() >= least))
    row = at // products.shape[1]
    counts = row.bincount(minlength=len(products))
    best, place = _pad(products.flatten()[at], counts, -torch.inf).topk(k)
    return best, _pad(at - row * products.shape[1], counts, 0).gather(1, place)


def _where(mask: torch.Tensor) -> Pairs:
    """Rows and columns of what is true, as torch.nonzero, in a quarter of the time."""
    at = torch.from_numpy(np.flatnonzero(mask.numpy()))
    row = at // mask.shape[1]
    return row, at - row * mask.shape[1]


def _pad(values: torch.Tensor, counts: torch.Tensor, fill: float) -> torch.Tensor:
    """Rows of the next counts[i] values (M,) each, filled up at the end: (m, largest count)."""
    is_value = torch.arange(int(counts.max())) < counts[:, None]
    return values.new_full(is_value.shape, fill).masked_scatter_(is_value, values)


def _concatenate(parts: Iterable[tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, ...]:
    return tuple(map(torch.cat, zip(*parts, strict=True)))
