"""How labels spread over the graph: one solver per file, one entry each in SOLVERS.

The function of a solver takes (W, labels, num_classes, *, alpha, prior) and returns Z:

    W       (N, N) from utils.graph.affinity      labels  (N,) int64, -1 where unknown
    alpha   α, the weight of the graph            prior   (C,) share of each class, or None
    Z       (N, C) float32, non-negative; a row is zero where no label reaches; scales of rows do
            not matter
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from semisup.propagation_solvers import diffusion, poisson, poisson_mbo


@dataclass(frozen=True)
class Solver:
    """An entry of SOLVERS.

    solve: the function of the module's docstring.
    keeps_prior: whether the solver gives the classes the sizes of the prior."""

    solve: Callable[..., np.ndarray]
    keeps_prior: bool = False


SOLVERS: dict[str, Solver] = {
    "diffusion": Solver(diffusion.solve),
    "poisson": Solver(poisson.solve, keeps_prior=True),
    "poisson_mbo": Solver(poisson_mbo.solve, keeps_prior=True),
}
