"""Acquisition: which images to label next.  One method a file, one row each in METHODS."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from al_methods import coreset, entropy, jlp, random_sampling
from utils.arrays import as_numpy


class Method(NamedTuple):
    """A row of the registry: what the method needs and which graph options it reads."""

    pick: Callable
    needs: tuple[str, ...] = ()  # of "features" and "probs"
    options: tuple[str, ...] = ()  # keyword arguments that --lp-k, -gamma, -alpha and --knn set


METHODS = {
    "random": Method(random_sampling.pick),
    "uncertainty_entropy": Method(entropy.pick, needs=("probs",)),
    "coreset": Method(coreset.pick, needs=("features",)),
    "jlp": Method(jlp.pick, needs=("features",), options=("k", "gamma", "alpha", "search")),
}


def select(method, *, features=None, probs=None, labels, budget, rng, **options) -> np.ndarray:
    """The `budget` images to label next, distinct and unlabeled, in order of choice.

    features: (N, d) and probs: (N, C) over the whole training set, only where the method needs
    them; labels: (N,) int64, -1 where unknown; rng: numpy Generator -> (budget,) int64 indices
    into the training set.  Raises ValueError for an unknown method, a missing or non-finite input
    and a budget outside 1 .. number of unlabeled images."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: one of {', '.join(METHODS)}")
    row = METHODS[method]
    labels = as_numpy(labels, np.int64)
    unlabeled = int((labels < 0).sum())
    if not 1 <= budget <= unlabeled:
        raise ValueError(f"budget must be between 1 and {unlabeled} unlabeled images, not {budget}")
    given = {"features": features, "probs": probs}
    inputs = {}
    for name in row.needs:
        if given[name] is None:
            raise ValueError(f"{method} needs {name}")
        inputs[name] = torch.as_tensor(given[name], dtype=torch.float32)  # on its device
        if len(inputs[name]) != len(labels) or not inputs[name].isfinite().all():
            raise ValueError(f"{name} must be finite, one row for each of {len(labels)} labels")
    unread = set(options) - set(row.options)
    if unread:
        raise ValueError(f"{method} does not read {', '.join(sorted(unread))}")
    return row.pick(labels=labels, budget=int(budget), rng=rng, **inputs, **options)
