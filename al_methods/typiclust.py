"""TypiClust: the most typical image of each of the largest clusters without a label.

Source: Hacohen, Dekel & Weinshall, "Active learning on a budget: opposite strategies suit high and
low budgets", ICML 2022, section 3: k-means of the features (unit length) into as many clusters as
there will be labels, at most MOST; typicality, equation 4, is the inverse of the mean distance to
the K = 20 nearest neighbours, here those in the cluster.  Clusters come in order of the labels and
picks that they hold, fewest first, then of their size, the largest first; those of fewer than
SMALLEST images come after all others.  A cluster comes again when all have had their turn.
"""

import numpy as np
import torch
import torch.nn.functional as F

from al_methods.spec import Method
from utils import coverage
from utils.arrays import as_numpy
from utils.kmeans import cluster

NEIGHBORS = 20  # K in the paper
MOST = 500  # clusters
SMALLEST = 5  # images of a cluster that is worth a pick
TOUCHING = 1e-4  # squared distance, which is rounded to 1e-6: duplicates are nearer


def pick(
    *, pretrained_features: torch.Tensor, labels: np.ndarray, budget: int, rng=None
) -> np.ndarray:
    """pretrained_features: (N, d); labels: (N,) int64, -1 where unknown, all of them perhaps; rng:
    seeds k-means -> (budget,) int64, in order."""
    x = F.normalize(pretrained_features)
    count = min(int((labels >= 0).sum()) + budget, MOST, len(x))
    seed = 0 if rng is None else int(rng.integers(2**31 - 1))
    assigned = cluster(as_numpy(x, np.float32), count, seed)
    sizes = np.bincount(assigned, minlength=count)
    held = np.bincount(assigned[labels >= 0], minlength=count)
    free = sizes - held
    ranked, picks = {}, []
    while len(picks) < budget:
        open_ = np.flatnonzero(free > 0)
        turns = np.lexsort((-sizes[open_], held[open_], sizes[open_] < SMALLEST))
        chosen = open_[turns[0]]
        if chosen not in ranked:
            members = np.flatnonzero(assigned == chosen)
            order = by_typicality(x, members)
            ranked[chosen] = iter(order[labels[order] < 0].tolist())
        picks.append(next(ranked[chosen]))
        held[chosen] += 1
        free[chosen] -= 1
    return np.array(picks, dtype=np.int64)


def by_typicality(x: torch.Tensor, members: np.ndarray) -> np.ndarray:
    """The members of a cluster, ascending indices (m,), the most typical first; duplicates are as
    typical as the first of them, whatever their distances were rounded to."""
    own = x[torch.as_tensor(members, device=x.device)]
    if len(own) == 1:
        return members
    k, at = min(NEIGHBORS, len(own) - 1), torch.arange(len(own), device=x.device)
    between, parts = coverage.squared_distances(own), []
    for rows in at.split(max(coverage.BLOCK // len(own), 1)):
        apart = between(rows, at)
        apart[at[: len(rows)], rows] = torch.inf
        parts.append(apart.topk(k, largest=False).values)
    squares = torch.cat(parts)  # (m, k), ascending
    means = as_numpy(squares.sqrt().mean(dim=1))
    close = np.flatnonzero(as_numpy(squares[:, 0] < TOUCHING))
    if len(close):
        twins = {"return_index": True, "return_inverse": True}
        _, first, twin = np.unique(as_numpy(own)[close], axis=0, **twins)
        means[close] = means[close[first[twin.ravel()]]]
    return members[np.argsort(means, kind="stable")]


ROW = Method(pick, needs=("pretrained_features",), first=True)
