"""jLP, acquisition by joint label propagation.

Source: Siméoni et al., "Rethinking deep active learning: using unlabeled data at model training",
ICPR 2020, section 3 (jLP).  On label propagation's graph, solve (I − αW) f = y with y = 1 on
the labeled images; the image that the labels reach least, argmin f, is picked and joins y.

The system is linear: f after a pick is f plus the solution for the pick's own column of the
inverse, which has no negative entry, so f only grows.  Columns are therefore solved in blocks, for
the images that f is lowest at; picks are taken as long as the lowest is among them.  They are the
picks of one solve after another.

Where no label reaches an unlabeled image (α of 0, no edge between them) all are wanted alike, and
the picks are the lowest indices.
"""

import logging

import numpy as np
import torch

from utils.arrays import as_numpy
from utils.diffusion import MAX_BLOCK_COLUMNS, DiffusionSolver
from utils.graph import affinity
from utils.graph.graph_options import GraphOptions, affinity_settings
from utils.ranking import top_candidates

log = logging.getLogger("al.jlp")

MAX_CACHED_COLUMNS = 4 * MAX_BLOCK_COLUMNS  # columns kept for later picks


def pick(
    *,
    features: torch.Tensor,
    labels: np.ndarray,
    budget: int,
    graph: GraphOptions,
    rng=None,
) -> np.ndarray:
    """features: (N, d); labels: (N,) int64, -1 where unknown -> (budget,) int64, in order."""
    system = DiffusionSolver(affinity(features, **affinity_settings(graph)), graph.lp_alpha)
    unlabeled = labels < 0
    f = as_numpy(system.solve((~unlabeled).astype(np.float32)), np.float64)  # (N,)
    if not f[unlabeled].any():
        log.info("jlp: no label reaches an unlabeled image; the picks are the lowest indices")
    columns, picks = {}, []
    while len(picks) < budget:
        candidates = np.flatnonzero(unlabeled)
        chosen = int(top_candidates(-f, 1, candidates)[0])
        if chosen not in columns:
            columns = _solve_columns(system, f, candidates, columns, budget - len(picks))
        f += columns.pop(chosen)
        unlabeled[chosen] = False
        picks.append(chosen)
    return np.array(picks, dtype=np.int64)


def _solve_columns(system, f, candidates, columns: dict, wanted: int) -> dict:
    """Columns of the inverse for the images of lowest f, those in `columns` among them.

    -> image: (N,) float32.  Columns that f has left behind are dropped first."""
    lowest = top_candidates(-f, min(MAX_CACHED_COLUMNS, len(candidates)), candidates)
    columns = {image: columns[image] for image in lowest.tolist() if image in columns}
    new = [image for image in lowest.tolist() if image not in columns][
        : min(MAX_BLOCK_COLUMNS, wanted)
    ]
    sides = np.zeros((len(f), len(new)), dtype=np.float32)
    sides[new, np.arange(len(new))] = 1
    solutions = np.maximum(as_numpy(system.solve(sides).T), 0)
    return columns | dict(zip(new, solutions, strict=True))
