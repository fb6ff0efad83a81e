"""Given class masses, against a linear program that says which are possible."""

import numpy as np
import pytest
import scipy.optimize

from semisup.class_masses import BALANCE_TOLERANCE, balance_classes


def random_scores(seed, wide):
    """(N, C) float32 with zeros; with `wide`, entries from 1e-5 to 1 in each row."""
    rng = np.random.default_rng([seed, 11])
    images, classes = rng.integers(10, 60), rng.integers(2, 7)
    scores = 10 ** (-5 * rng.random((images, classes))) if wide else rng.random((images, classes))
    scores *= rng.random((images, classes)) < 0.4
    scores[np.arange(images), rng.integers(classes, size=images)] += 0.1
    return scores.astype(np.float32)


def largest_common_share(scores, masses):
    """The largest t for which rows with sums of one, entries of at least t where the scores are
    positive, and zero elsewhere, have these column means; None where not even t = 0 is possible.

    With t > 0 a rescaling of the columns has these means (Rothblum & Schneider, Linear Algebra
    Appl. 114/115, 1989)."""
    row, column = scores.nonzero()
    entries, images = len(row), len(scores)
    equal = np.zeros((images + scores.shape[1], entries + 1))
    equal[row, np.arange(entries)] = 1
    equal[images + column, np.arange(entries)] = 1 / images
    above = np.hstack([-np.eye(entries), np.ones((entries, 1))])
    solution = scipy.optimize.linprog(
        -np.eye(entries + 1)[-1],
        A_ub=above,
        b_ub=np.zeros(entries),
        A_eq=equal,
        b_eq=np.concatenate([np.ones(images), masses]),
    )
    return solution.x[-1] if solution.status == 0 else None


def masses_of(rows):
    rows = rows.astype(np.float64)
    return (rows / rows.sum(axis=1, keepdims=True)).mean(axis=0)


@pytest.mark.parametrize("wide", [False, True])
def test_every_possible_balance_is_found(wide):
    """Masses that a rescaling by random factors from 1e-6 to 1e6 has."""
    for seed in range(100):
        scores = random_scores(seed, wide)
        scores = scores[:, scores.any(axis=0)]
        factors = np.exp(np.random.default_rng([seed, 12]).normal(size=scores.shape[1]) * 5)
        masses = masses_of(scores * factors)
        balanced = balance_classes(scores, masses)
        assert balanced is not None, seed
        np.testing.assert_allclose(masses_of(balanced), masses, rtol=1.1 * BALANCE_TOLERANCE)
        assert balanced.dtype == np.float32 and not balanced[scores == 0].any()


def test_a_balance_is_refused_only_if_it_is_impossible():
    possible = impossible = 0
    for seed in range(150):
        scores = random_scores(seed, wide=False)
        scores = scores[:, scores.any(axis=0)]
        masses = np.random.default_rng([seed, 13]).dirichlet(np.ones(scores.shape[1]))
        share = largest_common_share(scores, masses)
        balanced = balance_classes(scores, masses)
        if share is None:
            impossible += 1
            assert balanced is None, seed
        elif share > 1e-4:  # not at the border of what is possible
            possible += 1
            assert balanced is not None, seed
            np.testing.assert_allclose(masses_of(balanced), masses, rtol=1.1 * BALANCE_TOLERANCE)
    assert possible > 30 and impossible > 30


def test_columns_are_rescaled():
    """Rows of the result are a row of the scores times one scale per class, far below 1e-6: each
    class shares images with the next one only, and barely."""
    scores = np.zeros((50, 5), dtype=np.float32)
    for c in range(5):
        scores[10 * c : 10 * c + 10, c] = 1
        scores[10 * c : 10 * c + 10, (c + 1) % 5] = 1e-5 if c < 4 else 0
    masses = np.array([0.15, 0.15, 0.15, 0.15, 0.4])
    balanced = balance_classes(scores, masses)
    np.testing.assert_allclose(masses_of(balanced), masses, rtol=1.1 * BALANCE_TOLERANCE)
    odds = [balanced[10 * c, c + 1] / balanced[10 * c, c] / 1e-5 for c in range(4)]
    assert np.prod(odds) > 1e15  # the product of the ratios of neighbouring scales
    steps = balanced / np.where(scores > 0, scores, 1)
    for c in range(5):  # the ratio of two scales is the same for all images
        block = steps[10 * c : 10 * c + 10]
        np.testing.assert_allclose(block, np.broadcast_to(block[0], block.shape), rtol=1e-5)
