"""The estimate of the images of classes without labels: closed form, coverage by simulation."""

import numpy as np
import pytest

from data.state import SET_ASIDE
from data.unseen_classes import (
    MIN_RANDOM_LABELS,
    Z,
    estimate_unseen_share,
    good_turing_interval,
)


def estimate(answers, is_random=True):
    answers = np.asarray(answers)
    return estimate_unseen_share(answers, np.broadcast_to(is_random, answers.shape))


def test_share_is_that_of_classes_that_occur_once():
    found = estimate([3, 3, 1, 0, 0, 0, 2, SET_ASIDE, SET_ASIDE, -1, 4, 4])
    assert (found.num_labels, found.num_once) == (11, 4)  # 1, 2 and both of no class
    assert found.share == 4 / 11 and found.is_random
    assert (found.low, found.high) == good_turing_interval(once=4, twice=2, size=11)
    assert estimate([-1, -1]) is None and estimate([]) is None


@pytest.mark.parametrize("once, twice, size", [(0, 0, 20), (3, 1, 20), (20, 0, 20), (7, 12, 60)])
def test_interval_is_where_the_inequality_holds(once, twice, size):
    """Against a fine grid of shares."""
    shares = np.linspace(0, 1, 1_000_001)
    variances = shares * (1 - shares) / size + 2 * (twice + 1) / size**2
    inside = shares[(once / size - shares) ** 2 <= Z**2 * variances]
    ends = good_turing_interval(once, twice, size)
    np.testing.assert_allclose(ends, (inside.min(), inside.max()), atol=2e-6)


def test_random_labels_are_counted_and_the_others_make_classes_known():
    """The share of the last random label that is of a new class, left out one at a time."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        answers = rng.integers(0, 12, 40)
        is_random = rng.random(40) < 0.6
        numbers = np.arange(40)
        new = [
            answers[i] not in answers[numbers != i] for i in np.flatnonzero(is_random)
        ]  # slow reference
        found = estimate(answers, is_random)
        assert found.share == np.mean(new) and found.num_labels == is_random.sum()


def test_with_few_random_labels_all_are_counted():
    is_random = np.arange(30) < MIN_RANDOM_LABELS
    assert estimate(np.arange(30), is_random).is_random
    is_random[0] = False
    found = estimate(np.arange(30), is_random)
    assert not found.is_random and found.num_labels == 30


ZIPF = 1 / np.arange(1, 101)
POOLS = {
    "ten classes": np.full(10, 0.1),
    "one of them of 1 %": np.r_[0.01, np.full(9, 0.11)],
    "three of them hidden": np.r_[np.full(7, 0.1), 0.3],
    "a rare one of two": np.array([0.98, 0.02]),
    "five of very different size": np.array([0.6, 0.2, 0.1, 0.07, 0.03]),
    "a hundred": np.full(100, 0.01),
    "a hundred, as words": ZIPF / ZIPF.sum(),
}


@pytest.mark.parametrize("size", [10, 20, 50, 100, 300])
@pytest.mark.parametrize("pool", POOLS)
def test_coverage_of_random_labels(pool, size):
    """At least 93 of 100 intervals have the true share, and the estimate is right on average: up to
    the last label, f_1 / n is without bias."""
    shares, rng, runs = POOLS[pool], np.random.default_rng(7), 1000
    hidden = len(shares) - 1 if "hidden" in pool else None
    errors, covered = [], 0
    for counts in rng.multinomial(size, shares, size=runs):
        classes = np.arange(len(shares))
        if hidden is not None:
            classes[hidden] = SET_ASIDE
        found = estimate(np.repeat(classes, counts))
        is_unseen = counts == 0
        if hidden is not None:
            is_unseen[hidden] = True
        true = shares[is_unseen].sum()
        errors.append(found.share - true)
        covered += found.low - 1e-12 <= true <= found.high + 1e-12
    assert covered >= 0.93 * runs
    # E f_1 / n is the expected share after n - 1 labels, at most this much above that after n.
    bias = float((shares**2 * (1 - shares) ** (size - 1)).sum())
    noise = 4 * np.std(errors) / np.sqrt(runs)
    assert -noise <= np.mean(errors) <= bias + noise
