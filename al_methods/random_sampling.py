"""Uniform random sampling, the baseline of every active-learning comparison."""

import numpy as np


def pick(*, labels: np.ndarray, budget: int, rng: np.random.Generator) -> np.ndarray:
    """labels: (N,) int64, -1 where unknown -> (budget,) int64, uniform without replacement."""
    return rng.choice(np.flatnonzero(labels < 0), size=budget, replace=False)
