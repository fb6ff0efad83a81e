"""The methods that ask where the network is unsure, each against its slow twin."""

import numpy as np
import pytest

from al_methods import select
from tests.test_acquisition import situation


def ranked(scores, labels, budget):
    """The unlabeled images of smallest score, ties to the lower index, one after the other."""
    return sorted(np.flatnonzero(labels < 0).tolist(), key=lambda i: (scores[i], i))[:budget]


@pytest.mark.parametrize("seed", range(3))
def test_least_confidence_and_margin(seed):
    given = situation(classes=7, seed=seed)
    given["probs"] = given["probs"].round(1)  # with ties
    probs = [sorted(map(float, row), reverse=True) for row in given["probs"]]
    for method, scores in (
        ("least_confidence", [p[0] for p in probs]),
        ("margin", [p[0] - p[1] for p in probs]),
    ):
        picks = select(method, **given, budget=60, rng=None)
        assert picks.tolist() == ranked(scores, given["labels"], 60)


def test_least_confidence_and_margin_are_not_the_same():
    probs = np.array([[0.5, 0.5, 0], [0.4, 0.3, 0.3], [0.9, 0.1, 0]], dtype=np.float32)
    given = {"probs": probs, "labels": np.full(3, -1), "budget": 3, "rng": None}
    assert select("least_confidence", **given).tolist() == [1, 0, 2]
    assert select("margin", **given).tolist() == [0, 1, 2]
