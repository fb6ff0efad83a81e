"""Uniform random sampling, the baseline of every active-learning comparison."""

import numpy as np


def pick(*, labels: np.ndarray, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Images to label next, uniform without replacement: (budget,) int64.

    labels: (N,) int64, -1 where unknown."""
    return rng.choice(np.flatnonzero(labels < 0), size=budget, replace=False)
