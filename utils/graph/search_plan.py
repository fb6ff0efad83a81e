"""How many cells a search for approximate neighbours compares, from a sample's exact neighbours."""

from bisect import bisect_left
from typing import NamedTuple

import torch

MIN_CELLS = 8  # that all rows of a cell are compared with
MARGIN_CELLS = 16  # nearest cells that the margin decides on, as a multiple of these
MARGIN_COST = 2  # time of a product that the margin decides on; 1: of another
DECISION_COST = 2  # time of a decision
NUM_MARGINS = 256  # between which is chosen
MAX_COST = 65_536  # products per row; where the target needs more, it is not reached


class Sample(NamedTuple):
    """S rows by the C cells, those nearest to the row's own cell first.

    hits (S, C): how many of the k nearest rows, or of those as near, are in the cell
    offsets (S, C): ‖c‖² / 2 − x·c of the row x and the centroid c
    sizes (S, C): rows of the cell
    products (S, M), ranks (S, M): of the M > k nearest rows, the product, descending, and the place
        of the cell among those of the row"""

    hits: torch.Tensor
    offsets: torch.Tensor
    sizes: torch.Tensor
    products: torch.Tensor
    ranks: torch.Tensor
    k: int


class SearchPlan(NamedTuple):
    """cells: nearest cells that all rows of a cell are compared with; margin: see
    utils.graph.cell_neighbors; recall: on the sample; cost: per row, in products."""

    cells: int
    margin: float
    recall: float
    cost: float


def make_plan(sample: Sample, target: float) -> SearchPlan:
    """The plan of the least cost whose recall reaches the target, or, if no plan within MAX_COST
    does, the one of the highest recall."""
    count = sample.hits.shape[1]
    plans: list[SearchPlan] = []
    cells = min(MIN_CELLS, count)
    while True:
        plans.append(_choose_margin(sample, cells, target))
        if cells == count or plans[-1].cost > MAX_COST or _costs_more(plans[-2:], target):
            break
        cells = min(-(-cells * 3 // 2), count)
    allowed = [plan for plan in plans if plan.cost <= MAX_COST] or plans[:1]
    return min(allowed, key=lambda plan: (max(target - plan.recall, 0), plan.cost))


def _costs_more(plans: list[SearchPlan], target: float) -> bool:
    """Whether plans of more cells than the last of these only cost more."""
    reach = all(plan.recall >= target for plan in plans)
    return reach and (plans[-1].margin == -torch.inf or plans[-1].cost > plans[0].cost)


def _choose_margin(sample: Sample, cells: int, target: float) -> SearchPlan:
    """The plan of these cells and the smallest margin that reaches the target, or else of the
    largest one within MAX_COST, or of none."""
    scores = margin_scores(sample, cells)
    useful = scores[:, cells:][sample.hits[:, cells : cells * MARGIN_CELLS] > 0].sort().values
    chosen = torch.linspace(0, len(useful) - 1, min(NUM_MARGINS, len(useful))).long()
    margins = [-torch.inf, *useful[chosen].tolist()]

    def evaluate_margin(place: int) -> SearchPlan:
        return evaluate(sample, cells, scores, margins[place])

    places = range(len(margins))
    # Both grow with the margin.
    first = bisect_left(places, True, key=lambda place: evaluate_margin(place).recall >= target)
    within = bisect_left(places, True, key=lambda place: evaluate_margin(place).cost > MAX_COST)
    return evaluate_margin(max(min(first, within - 1, len(margins) - 1), 0))


def margin_scores(sample: Sample, cells: int) -> torch.Tensor:
    """The smallest margin with which each row is compared with each of its nearest
    MARGIN_CELLS cells: (S, MARGIN_CELLS cells).

    If the row's k-th largest product with the rows of the nearest cells is not among the M largest
    of all, the M-th of these stands for it."""
    is_compared = sample.ranks < cells
    is_kth = is_compared & (is_compared.cumsum(dim=1) == sample.k)
    is_kth[:, -1] |= ~is_kth.any(dim=1)
    return sample.products[is_kth][:, None] + sample.offsets[:, : cells * MARGIN_CELLS]


def evaluate(sample: Sample, cells: int, scores: torch.Tensor, margin: float) -> SearchPlan:
    """The plan of these cells and margin, with its recall and cost.  scores: `margin_scores`."""
    width = scores.shape[1]
    is_compared = scores <= margin
    decided = is_compared[:, cells:] * sample.sizes[:, cells:width]
    is_compared[:, :cells] = True
    found = (sample.hits[:, :width] * is_compared).sum(dim=1).clamp(max=sample.k)
    recall = float(found.double().mean()) / sample.k
    cost = float(sample.sizes[:, :cells].sum(dim=1).double().mean())
    if margin > -torch.inf:
        cost += MARGIN_COST * float(decided.sum(dim=1).double().mean()) + DECISION_COST * width
    return SearchPlan(cells, margin, recall, cost)
