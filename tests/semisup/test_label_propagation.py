"""Label propagation: outputs of the released code, a dense reference, and invariants."""

import io
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from data import batches as batches_module
from data.batches import BatchOptions
from data.pool import Pool, targets_from_labels
from data.state import State, from_dict, to_dict
from semisup import lp
from semisup.label_propagation import (
    PSEUDO_LABEL_MODES,
    Propagation,
    certainty,
    class_balance,
    propagate,
    targets_from_propagation,
)
from semisup.lp import LpOptions, epoch_batches
from semisup.propagation_solvers import diffusion
from tests.utils.test_graph import clustered
from utils.errors import UserError
from utils.graph import affinity
from utils.graph.graph_options import GraphOptions, GraphViewOptions
from utils.options.option import OptionValues


def rng(seed=0):
    return np.random.default_rng(seed)


def pool_of(labels):
    return Pool(labels, np.flatnonzero(labels >= 0))


def batches_of(targets, pool, batch_size=32, labeled_batch_size=10, steps=0, seed=0):
    batch = BatchOptions(batch_size=batch_size, steps_per_epoch=steps)
    lp_options = LpOptions(labeled_batch_size=labeled_batch_size)
    return epoch_batches(targets, pool, rng(seed), batch=batch, lp=lp_options)


@pytest.mark.parametrize("name", ["easy_10class", "hard_10class", "hundred_class"])
def test_golden(golden, name):
    file = golden(name)
    labels, classes = file["labels"], file["logits"].shape[1]
    propagation = propagate(file["features"], labels, classes)
    unlabeled = labels < 0
    assert (propagation.labels == file["lp_pseudo_labels"])[unlabeled].mean() >= 0.999
    np.testing.assert_allclose(propagation.weights, file["lp_weights"], atol=0.01)
    targets = targets_from_propagation(
        propagation, pool_of(labels), rng(), mode="full", class_weighted=True
    )
    np.testing.assert_allclose(targets.class_weights, file["lp_class_weights"], atol=1e-4)


@pytest.mark.parametrize("gamma, alpha", [(3, 0.99), (1, 0.99), (3, 0.8)])
def test_propagation_equals_a_dense_solve(gamma, alpha):
    x, labels = rng().normal(size=(200, 5)), np.full(200, -1)
    labels[:12] = np.arange(12) % 3  # class 3 has no label
    propagation = propagate(x, labels, 4, k=10, gamma=gamma, alpha=alpha)
    W = affinity(x, k=10, gamma=gamma).toarray().astype(np.float64)
    Y = np.zeros((200, 4))
    Y[np.arange(12), labels[:12]] = 1 / 4
    Z = np.maximum(np.linalg.solve(np.eye(200) - alpha * W, Y), 0)
    Z /= Z.sum(axis=1, keepdims=True)
    weights = 1 - scipy.special.entr(Z).sum(axis=1) / np.log(4)
    weights /= weights.max()
    np.testing.assert_allclose(propagation.scores, Z, atol=1e-4)
    np.testing.assert_allclose(propagation.weights[12:], weights[12:], atol=1e-4)
    np.testing.assert_array_equal(propagation.labels[12:], Z.argmax(axis=1)[12:])
    assert (propagation.scores[:, 3] == 0).all()
    assert (propagation.labels.dtype, propagation.weights.dtype) == (np.int64, np.float32)
    assert propagation.scores.dtype == np.float32


def test_one_class():
    propagation = propagate(clustered(40), np.array([0] + [-1] * 39), 1, k=5)
    assert (propagation.labels == 0).all() and (propagation.weights == 1).all()


GRAPH = GraphOptions(lp_k=7, lp_gamma=2, lp_alpha=0.9, knn="exact")
LP = LpOptions(
    lp_percent=0.3,
    tau=0.1,
    is_pW=False,
    is_cW=True,
    lp_mode="uniform",
    loss_type="kl",
    weighted_unlabeled_batch=True,
)
GRAPH_ARGUMENTS = {"k": 7, "gamma": 2, "alpha": 0.9, "search": "exact"}
TARGET_ARGUMENTS = {
    "percent": 0.3,
    "tau": 0.1,
    "weighted": False,
    "class_weighted": True,
    "mode": "uniform",
    "loss_type": "kl",
    "by_weight": True,
}
DEFAULT_GRAPH_ARGUMENTS = {"k": 50, "gamma": 3, "alpha": 0.99, "search": "auto"}
DEFAULT_TARGET_ARGUMENTS = {"mode": "prob", "percent": 0.5}


@pytest.mark.parametrize(
    "graph, lp_options, graph_arguments, target_arguments",
    [
        (GRAPH, LP, GRAPH_ARGUMENTS, TARGET_ARGUMENTS),
        (GraphOptions(), LpOptions(), DEFAULT_GRAPH_ARGUMENTS, DEFAULT_TARGET_ARGUMENTS),
    ],
    ids=["options", "defaults"],
)
def test_update_passes_on_all_options(graph, lp_options, graph_arguments, target_arguments):
    """An update is a propagation and then its targets."""
    x, known = clustered(), np.full(300, -1)
    known[:30] = np.arange(30) % 6
    pool, groups = pool_of(known), {"views": GraphViewOptions(), "graph": graph, "lp": lp_options}
    updated = lp.update_targets(pool=pool, rng=rng(), features=x, num_classes=6, cycle=0, **groups)
    propagation = propagate(x, known, 6, **graph_arguments)
    expected = targets_from_propagation(propagation, pool, rng(), **target_arguments)
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(getattr(updated, name), value)


def test_when_a_propagation_is_due():
    every_third = LpOptions(lp_step=3)
    assert [epoch for epoch in range(7) if lp.update_due(0, epoch, lp=every_third)] == [0, 3, 6]
    assert all(lp.update_due(1, epoch, lp=LpOptions()) for epoch in range(3))


def test_classes_have_equal_weight_whatever_their_number_of_labels():
    """24, 4 and 2 labels: without 1/n_c more than half of the images get another label."""
    x, labels = rng().normal(size=(200, 5)), np.full(200, -1)
    labels[:30] = [0] * 24 + [1] * 4 + [2] * 2
    propagation = propagate(x, labels, 3, k=10)
    system = np.eye(200) - 0.99 * affinity(x, k=10).toarray().astype(np.float64)
    known = np.eye(3)[labels] * (labels >= 0)[:, None]
    Z = np.linalg.solve(system, known / [24, 4, 2])
    np.testing.assert_allclose(propagation.scores, Z / Z.sum(axis=1, keepdims=True), atol=1e-4)
    np.testing.assert_array_equal(propagation.labels[30:], Z.argmax(axis=1)[30:])
    unweighted = np.linalg.solve(system, known)
    assert (unweighted.argmax(axis=1) != propagation.labels)[30:].mean() > 0.5


def test_labeled_images_keep_their_label_and_weight():
    x, labels = clustered(150), np.full(150, -1)
    labels[:30] = rng().integers(6, size=30)  # deliberately unrelated to the clusters
    propagation = propagate(x, labels, 6, k=8)
    np.testing.assert_array_equal(propagation.labels[:30], labels[:30])
    assert (propagation.weights[:30] == 1).all()
    assert (propagation.weights >= 0).all() and (propagation.weights <= 1).all()
    for mode in PSEUDO_LABEL_MODES:
        targets = targets_from_propagation(
            propagation, pool_of(labels), rng(), mode=mode, percent=0.3
        )
        np.testing.assert_array_equal(targets.labels[:30], labels[:30])
        assert (targets.weights[:30] == 1).all()


def test_negative_scores_are_ignored(monkeypatch):
    """The exact solution has no negative entry; no label may come from rounding errors."""
    Z = np.array([[2, -4], [-1, -3], [1, 3], [-5, 1], [2, 2]], dtype=np.float32)
    system = SimpleNamespace(solve_rows=lambda Y: (Z, np.zeros(5, dtype=np.int64)))
    monkeypatch.setattr(diffusion, "prepare_diffusion", lambda *_: system)
    propagation = propagate(clustered(5), np.full(5, -1), 2, k=2)
    assert propagation.scores.tolist() == [[1, 0], [0, 0], [0.25, 0.75], [0, 1], [0.5, 0.5]]
    assert propagation.labels.tolist() == [0, -1, 1, 1, 0]
    assert (
        propagation.weights[[0, 1, 3, 4]].tolist() == [1, 0, 1, 0]
        and 0 < propagation.weights[2] < 1
    )


def two_components():
    """Two components; the second, images 40 to 59, has no label."""
    x = np.zeros((60, 6))
    x[:40, :3], x[40:, 3:] = np.abs(rng().normal(size=(40, 3))), np.abs(rng().normal(size=(20, 3)))
    labels = np.full(60, -1)
    labels[:4] = [0, 1, 0, 1]
    return x, labels


@pytest.mark.parametrize("mode", PSEUDO_LABEL_MODES)
@pytest.mark.parametrize("loss_type", ["ce", "kl"])
def test_images_that_no_label_reaches_are_never_used(mode, loss_type):
    x, labels = two_components()
    propagation = propagate(x, labels, 2, k=5)
    assert (propagation.weights[40:] == 0).all() and (propagation.labels[40:] == -1).all()
    assert (propagation.weights[:40] > 0).all()
    for seed in range(20):
        options = {"mode": mode, "percent": 1.0, "loss_type": loss_type}
        targets = targets_from_propagation(propagation, pool_of(labels), rng(seed), **options)
        assert (targets.labels[40:] == -1).all() and (targets.weights[40:] == 0).all()
        batches = batches_of(targets, pool_of(labels), 8, 3, seed=seed)
        assert np.concatenate(batches).max() < 40


def propagation_with(weights, labels=None):
    n = len(weights)
    labels = np.arange(n) % 3 if labels is None else labels
    return Propagation(labels, np.asarray(weights, np.float32), np.full((n, 3), 1 / 3, np.float32))


def test_long_chain_receives_no_label_from_another_component():
    """One class at the end of a chain, others in another component.  Far along the chain, its own
    scores are below rounding errors, and the other classes must not appear in their place."""
    chain = np.exp(-((np.arange(600)[:, None] * 0.25 - np.arange(150)) ** 2))
    for seed in range(12):
        draw = rng(seed)
        x = np.zeros((900, 156), dtype=np.float32)
        x[:600, :150], x[600:, 150:] = chain, np.abs(draw.normal(size=(300, 6)))
        labels = np.full(900, -1)
        labels[0], labels[600:660] = 0, draw.integers(30, size=60)
        order = draw.permutation(900)
        propagation = propagate(x[order], labels[order], 30, k=6, alpha=0.9)
        chain_labels = propagation.labels[np.argsort(order)][:600]
        assert (chain_labels[:20] == 0).all() and set(chain_labels) <= {0, -1}
        assert (propagation.weights[propagation.labels < 0] == 0).all()


@pytest.mark.parametrize("percent", [0.1, 0.5, 0.77, 1.0])
def test_each_mode_uses_the_right_number(percent):
    known = np.full(100, -1)
    known[:10] = 0
    propagation = propagation_with(rng().random(100) + 0.01)
    counts = {mode: round(90 * percent) for mode in PSEUDO_LABEL_MODES} | {"full": 90}
    for mode, count in counts.items():
        targets = targets_from_propagation(
            propagation, pool_of(known), rng(), mode=mode, percent=percent
        )
        assert ((targets.labels >= 0) & (known < 0)).sum() == count


def test_percentage_refers_to_all_unlabeled_images():
    """Including those that no label reaches, although they cannot be used."""
    known = np.array([0] * 10 + [-1] * 90)
    propagation = propagation_with(np.where(np.arange(100) < 60, 0.5, 0))
    for mode in ("certain", "prob", "uniform"):
        for percent, count in ((0.5, 45), (0.8, 50)):
            targets = targets_from_propagation(
                propagation, pool_of(known), rng(), mode=mode, percent=percent
            )
            assert (targets.labels[10:] >= 0).sum() == count


def test_mode_certain_uses_the_largest_weights_and_tau_sets_a_minimum():
    known = np.array([0] + [-1] * 9)
    weights = np.array([1, 0.1, 0.9, 0.5, 0.9, 0.2, 0.8, 0.3, 0.4, 0.0])
    certain = targets_from_propagation(
        propagation_with(weights), pool_of(known), rng(), mode="certain", percent=0.33
    )
    assert np.flatnonzero(certain.labels >= 0).tolist() == [0, 2, 4, 6]
    cut = targets_from_propagation(
        propagation_with(weights), pool_of(known), rng(), mode="full", tau=0.5
    )
    assert np.flatnonzero(cut.labels >= 0).tolist() == [0, 2, 3, 4, 6]


@pytest.mark.parametrize("mode", ["prob", "uniform"])
def test_draws_follow_the_weights(mode):
    """Chi-square test of 4,000 single draws against the weights, or against equal ones."""
    weights = np.array([0, 1, 2, 3, 4, 0, 5, 6]) / 6
    known, propagation = np.full(8, -1), propagation_with(weights)
    counts, draw = np.zeros(8), rng(3)
    for _ in range(4000):
        targets = targets_from_propagation(
            propagation, pool_of(known), draw, mode=mode, percent=1 / 8
        )
        counts[targets.labels >= 0] += 1
    usable = weights > 0
    assert counts[~usable].sum() == 0 and counts.sum() == 4000
    odds = weights[usable] / weights.sum() if mode == "prob" else np.full(6, 1 / 6)
    assert scipy.stats.chisquare(counts[usable], 4000 * odds).pvalue > 0.001


def test_settings_of_the_targets():
    known = np.array([2, -1, -1, -1])
    propagation = Propagation(
        np.array([2, 0, 1, 0]),
        np.array([1, 0.5, 0.25, 0.125], np.float32),
        np.array(
            [[0.5, 0.25, 0.25], [0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.4, 0.3, 0.3]], np.float32
        ),
    )
    targets = targets_from_propagation(propagation, pool_of(known), rng(), mode="full")
    assert targets.weights.tolist() == [1, 0.5, 0.25, 0.125] and targets.soft_labels is None
    assert targets.class_weights.tolist() == [1, 1, 1]
    half = targets_from_propagation(propagation, pool_of(known), rng())
    assert (half.labels[1:] >= 0).sum() == 2  # round(3 / 2), since percent is 0.5 by default
    unweighted = targets_from_propagation(
        propagation, pool_of(known), rng(), mode="full", weighted=False
    )
    assert unweighted.weights.tolist() == [1, 1, 1, 1]
    soft = targets_from_propagation(propagation, pool_of(known), rng(), mode="full", loss_type="kl")
    np.testing.assert_array_equal(soft.soft_labels[0], [0, 0, 1])
    np.testing.assert_array_equal(soft.soft_labels[1:], propagation.scores[1:])
    assert propagation.scores[0].tolist() == [0.5, 0.25, 0.25]  # not modified
    balanced = targets_from_propagation(
        propagation, pool_of(known), rng(), mode="full", class_weighted=True
    )
    np.testing.assert_allclose(balanced.class_weights, [4 / 3 / 2, 4 / 3, 4 / 3])
    with pytest.raises(ValueError, match="unknown mode"):
        targets_from_propagation(propagation, pool_of(known), rng(), mode="best")


@pytest.mark.parametrize("classes", [1, 2, 3, 10, 49, 100])
def test_certainty_is_between_zero_and_one(classes):
    """Exactly, whatever the rounding of the logarithms; with a single class it is one."""
    uniform = certainty(np.full((3, classes), 1 / classes))
    np.testing.assert_allclose(uniform, float(classes == 1), atol=1e-12)
    random = certainty(rng().dirichlet(np.full(classes, 1e6), size=100).astype(np.float32))
    assert (uniform >= 0).all() and (random >= 0).all() and (random <= 1).all()
    assert certainty(np.eye(classes)).tolist() == [1] * classes


def test_class_balance_with_an_empty_class():
    weights = class_balance(np.array([0, 0, 0, 1, -1]), 3)
    np.testing.assert_allclose(weights, [4 / 9, 4 / 3, 1])
    assert weights.dtype == np.float32


def test_hidden_labels_do_not_matter():
    """Two oracles that agree on the revealed labels give the same targets."""
    x = clustered(100)
    oracle = rng(1).integers(5, size=100)
    other_oracle = np.where(np.arange(100) < 20, oracle, (oracle + 1) % 5)
    targets = []
    for hidden in (oracle, other_oracle):
        pool = Pool.make_unlabeled(100).reveal_labels(np.arange(20), hidden[:20])
        propagation = propagate(x, pool.labels, 5, k=8)
        targets.append(targets_from_propagation(propagation, pool, rng(), class_weighted=True))
    for name, value in vars(targets[0]).items():
        np.testing.assert_array_equal(value, getattr(targets[1], name))


def test_labels_must_be_classes():
    with pytest.raises(ValueError, match="label 4 is not one of 4"):
        propagate(clustered(20), np.array([4] + [-1] * 19), 4, k=3)
    with pytest.raises(ValueError, match="unknown search"):
        propagate(clustered(20), np.array([3] + [-1] * 19), 4, k=3, search="fast")


@pytest.mark.parametrize("by_weight", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("steps", [0, 7])
def test_batches_of_labeled_and_pseudo_labeled_images(by_weight, weighted, steps):
    """Drawn by weight or not, whether or not the weights also enter the loss."""
    known = np.full(100, -1)
    known[[5, 50, 95]] = [0, 1, 2]
    weights = np.where(np.arange(100) % 2, 1.0, 0.25)
    pool, options = pool_of(known), {"mode": "full", "by_weight": by_weight, "weighted": weighted}
    targets = targets_from_propagation(propagation_with(weights), pool, rng(), **options)
    assert (set(targets.weights) == {0.25, 1}) == weighted
    batches = batches_of(targets, pool, 30, 10, steps=steps)
    assert len(batches) == (steps or 5)  # 97 pseudo-labeled images, 20 per batch
    for batch in batches:
        assert (known[batch[:10]] >= 0).all() and (known[batch[10:]] < 0).all()
        assert len(batch) <= 30
        assert np.ptp(np.bincount(batch[:10], minlength=100)[[5, 50, 95]]) <= 2
    pseudo = np.concatenate([batch[10:] for batch in batches])
    if not by_weight and not steps:
        assert sorted(pseudo.tolist()) == np.flatnonzero(known < 0).tolist()
    if by_weight:
        many = batches_of(targets, pool, 30, 10, steps=500)
        pseudo = np.concatenate([batch[10:] for batch in many])
        assert (weights[pseudo] == 1).mean() == pytest.approx(47 / (47 + 50 * 0.25), abs=0.02)


@pytest.mark.parametrize("by_weight", [False, True])
def test_few_pseudo_labels_make_smaller_batches(by_weight):
    """Five pseudo-labels do not fill the 20 places of a batch, drawn with replacement or not."""
    known = np.array([0, 1, 2] + [-1] * 5)
    options = {"mode": "full", "by_weight": by_weight}
    targets = targets_from_propagation(
        propagation_with(np.ones(8)), pool_of(known), rng(), **options
    )
    batches = batches_of(targets, pool_of(known), 30, 10, steps=3)
    assert [len(batch) for batch in batches] == [15] * 3


def test_default_batches_are_of_32_images():
    """By default, an epoch is one pass over the pseudo-labeled images."""
    pool = pool_of(np.array([0] * 11 + [-1] * 89))
    targets = targets_from_propagation(propagation_with(np.ones(100)), pool, rng(), mode="full")
    lp_options = LpOptions(labeled_batch_size=10)
    batches = epoch_batches(targets, pool, rng(), batch=BatchOptions(), lp=lp_options)
    assert [len(batch) for batch in batches] == [28, 28, 28, 28, 27]


@pytest.mark.parametrize("limit, fits", [(1840, True), (1839, False)])
def test_memory_of_an_epoch_is_checked_in_advance(monkeypatch, limit, fits):
    """97 images, 20 per batch beside 10 labeled: 5 batches of 30 indices of 8 bytes, and 128 bytes
    for each array."""
    monkeypatch.setattr(batches_module, "MAX_BATCH_LIST_BYTES", limit)
    options = OptionValues({"batch_size": 30, "steps_per_epoch": 0, "dataset": "toy"})
    group = LpOptions(labeled_batch_size=10)
    with (
        nullcontext()
        if fits
        else pytest.raises(UserError, match=r"--labeled-batch-size 10.*memory")
    ):
        group.check_data(options, SimpleNamespace(images=range(97)))


def test_batches_without_pseudo_labels_are_of_labeled_images():
    known = np.full(10, -1)
    known[:4] = 0
    targets = targets_from_labels(pool_of(known), 3)
    for steps, count in ((0, 1), (3, 3)):
        batches = batches_of(targets, pool_of(known), 128, 50, steps=steps)
        assert [sorted(batch.tolist()) for batch in batches] == [[0, 1, 2, 3]] * count


def test_state_that_waits_for_labels_survives_a_checkpoint():
    state = from_dict(to_dict(State.initial(np.array([2, 0]), 4)))
    assert state.targets is None and state.queried.tolist() == [2, 0] and state.carry_over == {}


def test_state_survives_a_checkpoint():
    known = np.array([1, -1, -1, -1])
    for options in ({"loss_type": "ce"}, {"loss_type": "kl"}, {"by_weight": True}):
        propagation = propagation_with([1, 0.5, 0.2, 0])
        targets = targets_from_propagation(propagation, pool_of(known), rng(), **options)
        carry_over = {"predicted": np.array([1, -1, 0, 2])}
        state = State(pool_of(known), cycle=3, epoch=2, targets=targets, carry_over=carry_over)
        buffer = io.BytesIO()
        torch.save(to_dict(state), buffer)
        buffer.seek(0)
        again = from_dict(torch.load(buffer, weights_only=True))
        np.testing.assert_array_equal(again.pool.labels, known)
        np.testing.assert_array_equal(again.carry_over["predicted"], carry_over["predicted"])
        assert (again.cycle, again.epoch, again.queried, again.evaluated) == (3, 2, None, False)
        for name, value in vars(targets).items():
            np.testing.assert_array_equal(getattr(again.targets, name), value)
