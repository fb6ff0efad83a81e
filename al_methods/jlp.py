"""jLP, acquisition by joint label propagation.

Source: Siméoni et al., "Rethinking deep active learning: using unlabeled data at model training",
ICPR 2020, section 3 (jLP).  On the graph of label propagation, solve (I − αW) f = y with y = 1 on
the labeled images; the image that the labels reach least, argmin f, is picked and joins y.

The system is linear: f after a pick is f plus the solution for the pick's own column of the
inverse.  This has no negative entry, so f only grows.  Columns are therefore solved in blocks, for
the images with the lowest f, and picks are taken for as long as the lowest image is among them.
These are the picks of one solve after another.

Where no label reaches any unlabeled image (α = 0, or no edge between them), f is zero on all of
them and images are picked at random.
"""

import logging

import numpy as np
import torch

from utils.arrays import as_numpy
from utils.diffusion import MAX_BLOCK_COLUMNS, DiffusionSolver
from utils.graph import affinity
from utils.graph.graph_options import GraphOptions, affinity_settings
from utils.ranking import tie_order, top_candidates

log = logging.getLogger("al.jlp")

MAX_CACHED_COLUMNS = 4 * MAX_BLOCK_COLUMNS  # columns kept for later picks


def pick(
    *,
    features: torch.Tensor,
    labels: np.ndarray,
    budget: int,
    graph: GraphOptions,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Images to label next, in order: (budget,) int64.

    features: (N, d); labels: (N,) int64, -1 where unknown; rng: orders equal f."""
    system = DiffusionSolver(affinity(features, **affinity_settings(graph)), graph.lp_alpha)
    unlabeled = labels < 0
    sides = (~unlabeled).astype(np.float32)[:, None]
    values, exponents = system.solve_rows(sides)
    f = np.ldexp(as_numpy(values, np.float64)[:, 0], exponents)  # (N,)
    if not f[unlabeled].any():
        log.info("jlp: no label reaches an unlabeled image; picking at random")
    places = tie_order(rng, len(labels))
    columns: dict[int, np.ndarray] = {}
    picks: list[int] = []
    while len(picks) < budget:
        candidates = np.flatnonzero(unlabeled)
        chosen = int(top_candidates(-f, 1, candidates, places)[0])
        if chosen not in columns:
            lowest = top_candidates(
                -f, min(MAX_CACHED_COLUMNS, len(candidates)), candidates, places
            ).tolist()
            columns = _solve_columns(system, f, lowest, columns, budget - len(picks))
        f += columns.pop(chosen)
        unlabeled[chosen] = False
        picks.append(chosen)
    return np.array(picks, dtype=np.int64)


def _solve_columns(
    system: DiffusionSolver,
    f: np.ndarray,
    lowest: list[int],
    columns: dict[int, np.ndarray],
    max_new: int,
) -> dict[int, np.ndarray]:
    """Columns of the inverse, image -> (N,), for the images with the lowest f, exact relative to f.

    lowest: these images, in order.

    columns: those solved before; the ones of images whose f is no longer among the lowest are
    dropped.  max_new: how many columns to solve at most."""
    columns = {image: columns[image] for image in lowest if image in columns}
    missing = [image for image in lowest if image not in columns]
    new = missing[: min(MAX_BLOCK_COLUMNS, max_new)]
    sides = np.zeros((len(f), len(new)), dtype=np.float32)
    sides[new, np.arange(len(new))] = 1
    solutions = as_numpy(system.solve(sides))
    for i, image in enumerate(new):
        values, exponents = system.refine(solutions[:, [i]], sides[:, [i]], f)
        columns[image] = np.maximum(np.ldexp(values[:, 0], exponents), 0)
    return columns
