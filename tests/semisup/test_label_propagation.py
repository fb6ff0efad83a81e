"""Label propagation: the released code's outputs, a dense twin, and what must always hold."""

import io
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from data import batches as batches_module
from data.pool import Pool, targets_from_labels
from data.state import State, from_dict, to_dict
from semisup import label_propagation, lp
from semisup.label_propagation import (
    PSEUDO_LABEL_MODES,
    Propagation,
    certainty,
    class_balance,
    propagate,
    targets_from_propagation,
)
from semisup.lp import epoch_batches
from tests.utils.test_graph import clustered
from utils.errors import UserError
from utils.graph import affinity


def rng(seed=0):
    return np.random.default_rng(seed)


def pool_of(labels):
    return Pool(labels, np.flatnonzero(labels >= 0))


@pytest.mark.parametrize("name", ["easy_10class", "hard_10class", "hundred_class"])
def test_golden(golden, name):
    file = golden(name)
    labels, classes = file["labels"], file["logits"].shape[1]
    found = propagate(file["features"], labels, classes)
    unlabeled = labels < 0
    assert (found.labels == file["lp_pseudo_labels"])[unlabeled].mean() >= 0.999
    np.testing.assert_allclose(found.weights, file["lp_weights"], atol=0.01)
    targets = targets_from_propagation(
        found, pool_of(labels), rng(), mode="full", class_weighted=True
    )
    np.testing.assert_allclose(targets.class_weights, file["lp_class_weights"], atol=1e-4)


@pytest.mark.parametrize("gamma, alpha", [(3, 0.99), (1, 0.99), (3, 0.8)])
def test_dense_twin(gamma, alpha):
    x, labels = rng().normal(size=(200, 5)), np.full(200, -1)
    labels[:12] = np.arange(12) % 3  # class 3 has no label
    found = propagate(x, labels, 4, k=10, gamma=gamma, alpha=alpha)
    W = affinity(x, k=10, gamma=gamma).toarray().astype(np.float64)
    Y = np.zeros((200, 4))
    Y[np.arange(12), labels[:12]] = 1 / 4
    Z = np.maximum(np.linalg.solve(np.eye(200) - alpha * W, Y), 0)
    Z /= Z.sum(axis=1, keepdims=True)
    weights = 1 - scipy.special.entr(Z).sum(axis=1) / np.log(4)
    weights /= weights.max()
    np.testing.assert_allclose(found.scores, Z, atol=1e-4)
    np.testing.assert_allclose(found.weights[12:], weights[12:], atol=1e-4)
    np.testing.assert_array_equal(found.labels[12:], Z.argmax(axis=1)[12:])
    assert (found.scores[:, 3] == 0).all()
    assert (found.labels.dtype, found.weights.dtype) == (np.int64, np.float32)
    assert found.scores.dtype == np.float32


def test_one_class():
    found = propagate(clustered(40), np.array([0] + [-1] * 39), 1, k=5)
    assert (found.labels == 0).all() and (found.weights == 1).all()


def test_a_renewal_is_a_propagation_and_its_targets():
    """All the options reach what reads them; none given, they are the defaults."""
    x, known = clustered(), np.full(300, -1)
    known[:30] = np.arange(30) % 6
    pool, given = pool_of(known), {"features": x, "num_classes": 6, "cycle": 0}
    graph = {"k": 7, "gamma": 2, "alpha": 0.9, "search": "exact"}
    targets = {"percent": 0.3, "tau": 0.1, "weighted": False, "class_weighted": True}
    some = graph | targets | {"mode": "uniform", "loss_type": "kl", "by_weight": True}
    defaults = {"k": 50, "gamma": 3, "alpha": 0.99, "search": "auto", "mode": "prob"}
    for options, said in ((some, some), ({}, defaults | {"percent": 0.5})):
        found = lp.update_targets(pool=pool, rng=rng(), **given, **options)
        rest = {name: value for name, value in said.items() if name not in graph}
        wanted = propagate(x, known, 6, **{name: said[name] for name in graph})
        wanted = targets_from_propagation(wanted, pool, rng(), **rest)
        for name, value in vars(wanted).items():
            np.testing.assert_array_equal(getattr(found, name), value)


def test_when_a_propagation_is_due():
    assert [epoch for epoch in range(7) if lp.update_due(0, epoch, step=3)] == [0, 3, 6]
    assert all(lp.update_due(1, epoch) for epoch in range(3))


def test_unbalanced_labels_weigh_as_much_a_class():
    """24, 4 and 2 labels: without 1/n_c more than half of the images get another label."""
    x, labels = rng().normal(size=(200, 5)), np.full(200, -1)
    labels[:30] = [0] * 24 + [1] * 4 + [2] * 2
    found = propagate(x, labels, 3, k=10)
    system = np.eye(200) - 0.99 * affinity(x, k=10).toarray().astype(np.float64)
    known = np.eye(3)[labels] * (labels >= 0)[:, None]
    Z = np.linalg.solve(system, known / [24, 4, 2])
    np.testing.assert_allclose(found.scores, Z / Z.sum(axis=1, keepdims=True), atol=1e-4)
    np.testing.assert_array_equal(found.labels[30:], Z.argmax(axis=1)[30:])
    unweighted = np.linalg.solve(system, known)
    assert (unweighted.argmax(axis=1) != found.labels)[30:].mean() > 0.5


def test_labeled_images_keep_their_label_and_weight():
    x, labels = clustered(150), np.full(150, -1)
    labels[:30] = rng().integers(6, size=30)  # at odds with the clusters, on purpose
    found = propagate(x, labels, 6, k=8)
    np.testing.assert_array_equal(found.labels[:30], labels[:30])
    assert (
        (found.weights[:30] == 1).all()
        and (found.weights >= 0).all()
        and (found.weights <= 1).all()
    )
    for mode in PSEUDO_LABEL_MODES:
        targets = targets_from_propagation(found, pool_of(labels), rng(), mode=mode, percent=0.3)
        np.testing.assert_array_equal(targets.labels[:30], labels[:30])
        assert (targets.weights[:30] == 1).all()


def test_negative_scores_are_none(monkeypatch):
    """The solution has no negative entry but for rounding, which no label may come from."""
    Z = np.array([[2, -4], [-1, -3], [1, 3], [-5, 1], [2, 2]], dtype=np.float32)
    monkeypatch.setattr(label_propagation, "diffuse", lambda *_: Z)
    found = propagate(clustered(5), np.full(5, -1), 2, k=2)
    assert found.scores.tolist() == [[1, 0], [0, 0], [0.25, 0.75], [0, 1], [0.5, 0.5]]
    assert found.labels.tolist() == [0, -1, 1, 1, 0]
    assert found.weights[[0, 1, 3, 4]].tolist() == [1, 0, 1, 0] and 0 < found.weights[2] < 1


def unreachable():
    """Two components; the second, images 40 to 59, has no label."""
    x = np.zeros((60, 6))
    x[:40, :3], x[40:, 3:] = np.abs(rng().normal(size=(40, 3))), np.abs(rng().normal(size=(20, 3)))
    labels = np.full(60, -1)
    labels[:4] = [0, 1, 0, 1]
    return x, labels


@pytest.mark.parametrize("mode", PSEUDO_LABEL_MODES)
@pytest.mark.parametrize("loss_type", ["ce", "kl"])
def test_what_no_label_reaches_is_never_drawn(mode, loss_type):
    x, labels = unreachable()
    found = propagate(x, labels, 2, k=5)
    assert (found.weights[40:] == 0).all() and (found.labels[40:] == -1).all()
    assert (found.weights[:40] > 0).all()
    for seed in range(20):
        options = {"mode": mode, "percent": 1.0, "loss_type": loss_type}
        targets = targets_from_propagation(found, pool_of(labels), rng(seed), **options)
        assert (targets.labels[40:] == -1).all() and (targets.weights[40:] == 0).all()
        sizes = {"batch_size": 8, "labeled_batch_size": 3}
        assert (
            np.concatenate(epoch_batches(targets, pool_of(labels), rng(seed), **sizes)).max() < 40
        )


def found_with(weights, labels=None):
    n = len(weights)
    labels = np.arange(n) % 3 if labels is None else labels
    return Propagation(labels, np.asarray(weights, np.float32), np.full((n, 3), 1 / 3, np.float32))


def test_a_long_chain_takes_no_label_from_elsewhere():
    """One class at the end of a chain, others in another component: as the chain's own scores fall
    below rounding, no trace of the others may take their place."""
    chain = np.exp(-((np.arange(600)[:, None] * 0.25 - np.arange(150)) ** 2))
    for seed in range(12):
        draw = rng(seed)
        x = np.zeros((900, 156), dtype=np.float32)
        x[:600, :150], x[600:, 150:] = chain, np.abs(draw.normal(size=(300, 6)))
        labels = np.full(900, -1)
        labels[0], labels[600:660] = 0, draw.integers(30, size=60)
        mixed = draw.permutation(900)
        found = propagate(x[mixed], labels[mixed], 30, k=6, alpha=0.9)
        along = found.labels[np.argsort(mixed)][:600]
        assert (along[:20] == 0).all() and set(along) <= {0, -1}
        assert (found.weights[found.labels < 0] == 0).all()


@pytest.mark.parametrize("percent", [0.1, 0.5, 0.77, 1.0])
def test_each_mode_uses_the_right_number(percent):
    known = np.full(100, -1)
    known[:10] = 0
    found = found_with(rng().random(100) + 0.01)
    wanted = {mode: round(90 * percent) for mode in PSEUDO_LABEL_MODES} | {"full": 90}
    for mode, count in wanted.items():
        targets = targets_from_propagation(found, pool_of(known), rng(), mode=mode, percent=percent)
        assert ((targets.labels >= 0) & (known < 0)).sum() == count


def test_a_percentage_is_of_all_unlabeled_images():
    """Also of those that no label reaches, though they cannot be used."""
    known = np.array([0] * 10 + [-1] * 90)
    found = found_with(np.where(np.arange(100) < 60, 0.5, 0))
    for mode in ("certain", "prob", "uniform"):
        for percent, count in ((0.5, 45), (0.8, 50)):
            targets = targets_from_propagation(
                found, pool_of(known), rng(), mode=mode, percent=percent
            )
            assert (targets.labels[10:] >= 0).sum() == count


def test_certain_uses_the_largest_weights_and_tau_cuts():
    known = np.array([0] + [-1] * 9)
    weights = np.array([1, 0.1, 0.9, 0.5, 0.9, 0.2, 0.8, 0.3, 0.4, 0.0])
    certain = targets_from_propagation(
        found_with(weights), pool_of(known), rng(), mode="certain", percent=0.33
    )
    assert np.flatnonzero(certain.labels >= 0).tolist() == [0, 2, 4, 6]
    cut = targets_from_propagation(found_with(weights), pool_of(known), rng(), mode="full", tau=0.5)
    assert np.flatnonzero(cut.labels >= 0).tolist() == [0, 2, 3, 4, 6]


@pytest.mark.parametrize("mode", ["prob", "uniform"])
def test_draws_follow_the_weights(mode):
    """Chi-square of 20,000 single draws against the weights (or against none)."""
    weights = np.array([0, 1, 2, 3, 4, 0, 5, 6]) / 6
    known, found = np.full(8, -1), found_with(weights)
    counts, draw = np.zeros(8), rng(3)
    for _ in range(20000):
        targets = targets_from_propagation(found, pool_of(known), draw, mode=mode, percent=1 / 8)
        counts[targets.labels >= 0] += 1
    usable = weights > 0
    assert counts[~usable].sum() == 0 and counts.sum() == 20000
    odds = weights[usable] / weights.sum() if mode == "prob" else np.full(6, 1 / 6)
    assert scipy.stats.chisquare(counts[usable], 20000 * odds).pvalue > 0.001


def test_options_of_the_targets():
    known = np.array([2, -1, -1, -1])
    found = Propagation(
        np.array([2, 0, 1, 0]),
        np.array([1, 0.5, 0.25, 0.125], np.float32),
        np.array(
            [[0.5, 0.25, 0.25], [0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.4, 0.3, 0.3]], np.float32
        ),
    )
    targets = targets_from_propagation(found, pool_of(known), rng(), mode="full")
    assert targets.weights.tolist() == [1, 0.5, 0.25, 0.125] and targets.soft_labels is None
    assert targets.class_weights.tolist() == [1, 1, 1]
    half = targets_from_propagation(found, pool_of(known), rng())
    assert (half.labels[1:] >= 0).sum() == 2  # round(3 / 2), as it is by default
    plain_ = targets_from_propagation(found, pool_of(known), rng(), mode="full", weighted=False)
    assert plain_.weights.tolist() == [1, 1, 1, 1]
    soft = targets_from_propagation(found, pool_of(known), rng(), mode="full", loss_type="kl")
    np.testing.assert_array_equal(soft.soft_labels[0], [0, 0, 1])
    np.testing.assert_array_equal(soft.soft_labels[1:], found.scores[1:])
    assert found.scores[0].tolist() == [0.5, 0.25, 0.25]  # what was found stays as it was
    balanced = targets_from_propagation(
        found, pool_of(known), rng(), mode="full", class_weighted=True
    )
    np.testing.assert_allclose(balanced.class_weights, [4 / 3 / 2, 4 / 3, 4 / 3])
    with pytest.raises(ValueError, match="unknown mode"):
        targets_from_propagation(found, pool_of(known), rng(), mode="best")


@pytest.mark.parametrize("classes", [1, 2, 3, 10, 49, 100])
def test_certainty_is_between_zero_and_one(classes):
    """Exactly, whatever the logarithms are rounded to; all of it where there is one class."""
    uniform = certainty(np.full((3, classes), 1 / classes))
    np.testing.assert_allclose(uniform, float(classes == 1), atol=1e-12)
    drawn = certainty(rng().dirichlet(np.full(classes, 1e6), size=100).astype(np.float32))
    assert (uniform >= 0).all() and (drawn >= 0).all() and (drawn <= 1).all()
    assert certainty(np.eye(classes)).tolist() == [1] * classes


def test_class_balance_without_a_class():
    weights = class_balance(np.array([0, 0, 0, 1, -1]), 3)
    np.testing.assert_allclose(weights, [4 / 9, 4 / 3, 1])
    assert weights.dtype == np.float32


def test_nothing_but_the_known_labels_enters():
    """Two oracles that agree on what is revealed give the same targets."""
    x = clustered(100)
    one = rng(1).integers(5, size=100)
    other = np.where(np.arange(100) < 20, one, (one + 1) % 5)
    answers = []
    for oracle in (one, other):
        pool = Pool.make_unlabeled(100).reveal_labels(np.arange(20), oracle[:20])
        found = propagate(x, pool.labels, 5, k=8)
        answers.append(targets_from_propagation(found, pool, rng(), class_weighted=True))
    for name, value in vars(answers[0]).items():
        np.testing.assert_array_equal(value, getattr(answers[1], name))


def test_labels_must_be_classes():
    with pytest.raises(ValueError, match="label 4 is not one of 4"):
        propagate(clustered(20), np.array([4] + [-1] * 19), 4, k=3)
    with pytest.raises(ValueError, match="unknown search"):
        propagate(clustered(20), np.array([3] + [-1] * 19), 4, k=3, search="fast")


@pytest.mark.parametrize("by_weight", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("steps", [0, 7])
def test_two_streams(by_weight, weighted, steps):
    """Drawn by weight or not, whether or not the weights enter the loss too."""
    known = np.full(100, -1)
    known[[5, 50, 95]] = [0, 1, 2]
    weights = np.where(np.arange(100) % 2, 1.0, 0.25)
    pool, options = pool_of(known), {"mode": "full", "by_weight": by_weight, "weighted": weighted}
    targets = targets_from_propagation(found_with(weights), pool, rng(), **options)
    assert (set(targets.weights) == {0.25, 1}) == weighted
    sizes = {"batch_size": 30, "labeled_batch_size": 10}
    batches = epoch_batches(targets, pool, rng(), steps=steps, **sizes)
    assert len(batches) == (steps or 5)  # 97 pseudo-labeled images, 20 a batch
    for batch in batches:
        assert (known[batch[:10]] >= 0).all() and (known[batch[10:]] < 0).all()
        assert len(batch) <= 30
        assert np.ptp(np.bincount(batch[:10], minlength=100)[[5, 50, 95]]) <= 2  # of 10 by 3
    drawn = np.concatenate([batch[10:] for batch in batches])
    if not by_weight and not steps:
        assert sorted(drawn.tolist()) == np.flatnonzero(known < 0).tolist()
    if by_weight:
        many = epoch_batches(targets, pool, rng(), steps=500, **sizes)
        drawn = np.concatenate([batch[10:] for batch in many])
        assert (weights[drawn] == 1).mean() == pytest.approx(47 / (47 + 50 * 0.25), abs=0.02)


@pytest.mark.parametrize("by_weight", [False, True])
def test_few_pseudo_labels_come_once_a_batch(by_weight):
    """Five of them do not fill the 20 places of a batch, drawn with replacement or not."""
    known = np.array([0, 1, 2] + [-1] * 5)
    options = {"mode": "full", "by_weight": by_weight}
    targets = targets_from_propagation(found_with(np.ones(8)), pool_of(known), rng(), **options)
    sizes = {"batch_size": 30, "labeled_batch_size": 10, "steps": 3}
    batches = epoch_batches(targets, pool_of(known), rng(), **sizes)
    assert [len(batch) for batch in batches] == [15] * 3


def test_a_pass_in_batches_of_32():
    """As `batch_size` and `steps` are where they are not given."""
    pool = pool_of(np.array([0] * 11 + [-1] * 89))
    targets = targets_from_propagation(found_with(np.ones(100)), pool, rng(), mode="full")
    batches = epoch_batches(targets, pool, rng(), labeled_batch_size=10)
    assert [len(batch) for batch in batches] == [28, 28, 28, 28, 27]


@pytest.mark.parametrize("listed, fits", [(1840, True), (1839, False)])
def test_what_an_epoch_takes_is_known_before_it(monkeypatch, listed, fits):
    """97 images, 20 a batch beside 10 labeled: 5 batches of 30 indices of 8 bytes, and 128 more."""
    monkeypatch.setattr(batches_module, "MAX_BATCH_LIST_BYTES", listed)
    sizes = {"batch_size": 30, "labeled_batch_size": 10, "steps_per_epoch": 0}
    args = SimpleNamespace(**sizes, knn="auto", dataset="toy")
    with nullcontext() if fits else pytest.raises(UserError, match="ask for fewer steps"):
        lp.ALGORITHM.fits(args, SimpleNamespace(images=range(97)))


def test_no_pseudo_labels_leaves_the_labeled_stream():
    known = np.full(10, -1)
    known[:4] = 0
    targets, sizes = targets_from_labels(pool_of(known), 3), {"labeled_batch_size": 50}
    for steps, count in ((0, 1), (3, 3)):
        sizes |= {"batch_size": 128, "steps": steps}
        batches = epoch_batches(targets, pool_of(known), rng(), **sizes)
        assert [sorted(batch.tolist()) for batch in batches] == [[0, 1, 2, 3]] * count


def test_a_state_that_waits_survives_a_checkpoint():
    state = from_dict(to_dict(State.initial(np.array([2, 0]), 4)))
    assert state.targets is None and state.queried.tolist() == [2, 0] and state.carry_over == {}


def test_the_state_survives_a_checkpoint():
    known = np.array([1, -1, -1, -1])
    for options in ({"loss_type": "ce"}, {"loss_type": "kl"}, {"by_weight": True}):
        found = found_with([1, 0.5, 0.2, 0])
        targets = targets_from_propagation(found, pool_of(known), rng(), **options)
        carried = {"predicted": np.array([1, -1, 0, 2])}
        state = State(pool_of(known), cycle=3, epoch=2, targets=targets, carry_over=carried)
        buffer = io.BytesIO()
        torch.save(to_dict(state), buffer)
        buffer.seek(0)
        again = from_dict(torch.load(buffer, weights_only=True))
        np.testing.assert_array_equal(again.pool.labels, known)
        np.testing.assert_array_equal(again.carry_over["predicted"], carried["predicted"])
        assert (again.cycle, again.epoch, again.queried, again.evaluated) == (3, 2, None, False)
        for name, value in vars(targets).items():
            np.testing.assert_array_equal(getattr(again.targets, name), value)
