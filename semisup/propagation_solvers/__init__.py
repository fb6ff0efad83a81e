"""How labels spread over the graph: one solver per file, one entry each in SOLVERS.

A solver is a function (W, labels, num_classes, *, alpha, prior) -> Z:

    W       (N, N) from utils.graph.affinity      labels  (N,) int64, -1 where unknown
    alpha   α, the weight of the graph            prior   (C,) share of each class, sums to one
    Z       (N, C) float32, non-negative; a row is zero where no label reaches; scales of rows do
            not matter
"""

from collections.abc import Callable

import numpy as np

from semisup.propagation_solvers import diffusion, poisson, poisson_mbo

Solver = Callable[..., np.ndarray]

SOLVERS: dict[str, Solver] = {
    "diffusion": diffusion.solve,
    "poisson": poisson.solve,
    "poisson_mbo": poisson_mbo.solve,
}
