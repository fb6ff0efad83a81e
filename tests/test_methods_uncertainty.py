"""The methods that ask where the network is unsure, each against its slow twin."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from al_methods import badge, select
from tests.conftest import ROOT
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


def embeddings(probs, features):
    """The gradients of BADGE, formed: -> (N, C·d)."""
    errors = probs.astype(np.float64)
    errors[np.arange(len(errors)), errors.argmax(axis=1)] -= 1
    return np.array([np.outer(a, x).ravel() for a, x in zip(errors, features, strict=True)])


def k_means_plus_plus(g, labels, budget, rng):
    """Over formed embeddings, the largest first; distances as differences."""
    left = np.flatnonzero(labels < 0).tolist()
    picks = [max(left, key=lambda i: (g[i] @ g[i], -i))]
    while len(picks) < budget:
        left.remove(picks[-1])
        weights = np.array([min(((g[i] - g[c]) ** 2).sum() for c in picks) for i in left])
        draw, i = rng.random() * weights.sum(), 0
        while draw >= weights[i]:
            draw -= weights[i]
            i += 1
        picks.append(left[i])
    return picks


@pytest.mark.parametrize("seed", range(5))
def test_badge_is_k_means_plus_plus_over_formed_gradients(seed):
    given = situation(n=80, seed=seed)
    given["features"] *= np.random.default_rng(seed).uniform(0.5, 2, size=(80, 1))
    g = embeddings(given["probs"], given["features"])
    expected = k_means_plus_plus(g, given["labels"], 40, np.random.default_rng(seed))
    picks = select("badge", **given, budget=40, rng=np.random.default_rng(seed))
    assert picks.tolist() == expected


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_distances_of_badge(scale):
    """Factorised and formed; of a duplicate exactly zero, however it was rounded."""
    given = situation(n=60)
    x = scale * np.tile(given["features"], (2, 1)).astype(np.float64)
    p = np.tile(given["probs"], (2, 1))
    g = embeddings(p, x)
    errors = torch.from_numpy(p).double()
    errors[torch.arange(120), errors.argmax(dim=1)] -= 1
    lengths = torch.from_numpy((g**2).sum(axis=1))
    for center in range(0, 120, 7):
        found = badge._distances(errors, torch.from_numpy(x), lengths, center).numpy()
        np.testing.assert_allclose(found, ((g - g[center]) ** 2).sum(axis=1), rtol=1e-6)
        assert found[center] == found[center - 60] == 0


def test_badge_draws_in_proportion_to_squared_distance():
    """Two classes, p of one half: the squared distance of an embedding is half the feature's."""
    x = np.array([[9.0], [8], [6], [7], [0]], dtype=np.float32)
    given = {"features": x, "probs": np.full((5, 2), 0.5, dtype=np.float32)}
    rng, counts = np.random.default_rng(0), np.zeros(5)
    for _ in range(2000):
        first, second = select("badge", **given, labels=np.full(5, -1), budget=2, rng=rng)
        assert first == 0
        counts[second] += 1
    np.testing.assert_allclose(counts / 2000, np.array([0, 1, 9, 4, 81]) / 95, atol=0.03)


def test_badge_takes_no_duplicate_while_there_is_another_place():
    """Ten places four times, then the lowest indices; likewise where the network is certain."""
    given = situation(n=10, labeled=0)
    given = {name: np.tile(value, (4, 1)[: value.ndim]) for name, value in given.items()}
    picks = select("badge", **given, budget=40, rng=np.random.default_rng(0)).tolist()
    assert sorted(i % 10 for i in picks[:10]) == list(range(10))
    assert picks[10:] == sorted(picks[10:])
    given["probs"] = np.eye(4, dtype=np.float32)[given["probs"].argmax(axis=1)]
    picks = select("badge", **given, budget=40, rng=np.random.default_rng(0))
    assert picks.tolist() == list(range(40))


def test_the_memory_of_badge():
    """20,000 images of 100 classes and 512 features, whose embeddings would be 4 GB in float32."""
    script = """
import resource, numpy as np, torch
from al_methods import select
rng = np.random.default_rng(0)
probs = torch.rand(20000, 100).softmax(dim=1)
given = {"features": torch.rand(20000, 512), "probs": probs, "labels": np.full(20000, -1)}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
select("badge", **given, budget=5, rng=rng)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 500  # MiB
