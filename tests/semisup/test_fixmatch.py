"""FixMatch: the loss against a loop, FreeMatch's thresholds against their recursion, batches."""

import copy
import math

import numpy as np
import pytest
import torch

from data.batches import BatchOptions
from data.pool import Pool, targets_from_labels
from semisup.fixmatch import (
    FixMatchLoss,
    FixMatchOptions,
    SelfAdaptiveThreshold,
    epoch_batches,
    initial_targets,
)
from tests.commands.test_main_al import kill_and_resume
from training.losses import Batch, WeightedLoss

CLASSES, KNOWN, UNKNOWN = 4, 5, 9


class RecordingNetwork:
    """A network whose logits are its images; records its inputs."""

    def __init__(self):
        self.inputs = []

    def __call__(self, images):
        self.inputs.append(images)
        return images, images


def make_views(seed=0, spread=3.0) -> tuple[Batch, Batch, Batch]:
    """Labeled, weak, strong.  The targets and weights of unlabeled images must not be read."""
    rng = np.random.default_rng(seed)

    def batch(count, targets, weights):
        logits = torch.tensor(spread * rng.normal(size=(count, CLASSES)), dtype=torch.float32)
        targets, weights = torch.as_tensor(targets), torch.as_tensor(weights)
        return Batch(logits.requires_grad_(), targets, weights)

    unlabeled = np.full(UNKNOWN, -1), np.zeros(UNKNOWN, np.float32)
    known = np.arange(KNOWN) % CLASSES, np.linspace(0.5, 1, KNOWN, dtype=np.float32)
    return batch(KNOWN, *known), batch(UNKNOWN, *unlabeled), batch(UNKNOWN, *unlabeled)


def softmax(logits) -> list[float]:
    powers = [math.exp(v) for v in logits.tolist()]
    return [p / sum(powers) for p in powers]


@pytest.mark.parametrize("threshold, weight", [(0.9, 1.0), (0.6, 2.5), (1e-6, 1.0), (1.0, 1.0)])
def test_loss_equals_a_loop(threshold, weight):
    labeled, weak, strong = make_views()
    supervised, unsupervised, used = 0.0, 0.0, 0
    for logits, label, w in zip(*labeled, strict=True):
        supervised -= float(w) * math.log(softmax(logits)[label]) / KNOWN
    for weak_logits, strong_logits in zip(weak.images, strong.images, strict=True):
        probs = softmax(weak_logits)
        if max(probs) >= threshold:
            used += 1
            unsupervised -= math.log(softmax(strong_logits)[probs.index(max(probs))]) / UNKNOWN
    assert used == {0.9: 2, 0.6: 7, 1e-6: 9, 1.0: 0}[threshold]
    loss = FixMatchLoss(CLASSES, threshold=threshold, weight=weight)
    value = loss(RecordingNetwork(), (labeled, weak, strong))
    assert value.item() == pytest.approx(supervised + weight * unsupervised, rel=1e-5)


def test_all_views_pass_the_network_together():
    """So that they share batch normalisation.  Neither weak views nor images without a confident
    prediction have a gradient."""
    network, (labeled, weak, strong) = RecordingNetwork(), make_views()
    loss = FixMatchLoss(CLASSES, threshold=0.6)
    loss(network, (labeled, weak, strong)).backward()
    (images,) = network.inputs
    assert torch.equal(images, torch.cat([labeled.images, weak.images, strong.images]))
    assert labeled.images.grad.abs().sum(1).all() and not weak.images.grad.any()
    _, is_confident = loss.pseudo_labels(weak.images)
    assert torch.equal(strong.images.grad.abs().sum(1) > 0, is_confident)


def test_prediction_at_the_threshold_is_used():
    logits = torch.tensor([[2.0, 0, 0, 0]])
    confidence = float(logits.softmax(dim=1).max())
    above = float(np.nextafter(np.float32(confidence), np.float32(1)))
    for threshold, used in ((confidence, True), (above, False)):
        classes, is_used = FixMatchLoss(CLASSES, threshold=threshold).pseudo_labels(logits)
        assert is_used.tolist() == [used] and classes.tolist() == [0]


def test_without_unlabeled_images_the_loss_is_the_supervised_one():
    labeled = make_views()[:1]
    plain = WeightedLoss(CLASSES)(RecordingNetwork(), labeled)
    adaptive = FixMatchLoss(CLASSES, adaptive=True)
    before = copy.deepcopy(adaptive.state_dict())
    assert torch.equal(adaptive(RecordingNetwork(), labeled), plain)
    assert all(torch.equal(before[name], now) for name, now in adaptive.state_dict().items())


def test_thresholds_follow_the_recursion():
    """FreeMatch's recursion over several steps, each including its own predictions; the loss is
    restored from its state after some steps."""
    loss, rng = FixMatchLoss(CLASSES, adaptive=True), np.random.default_rng(1)
    sureness, classes = 1 / CLASSES, np.full(CLASSES, 1 / CLASSES)
    for step in range(6):
        logits = torch.tensor(rng.normal([1, 0, 0, 0], size=(UNKNOWN, CLASSES)))
        probs = logits.softmax(dim=1).numpy()
        sureness = 0.999 * sureness + 0.001 * probs.max(axis=1).mean()
        classes = 0.999 * classes + 0.001 * probs.mean(axis=0)
        limits = sureness * classes / classes.max()
        predicted, is_used = loss.pseudo_labels(logits.float())
        np.testing.assert_array_equal(predicted, probs.argmax(axis=1))
        np.testing.assert_array_equal(is_used, probs.max(axis=1) >= limits[probs.argmax(axis=1)])
        state = loss.state_dict()
        np.testing.assert_allclose(state["thresholds.sureness"], sureness, rtol=1e-6)
        np.testing.assert_allclose(state["thresholds.classes"], classes, rtol=1e-6)
        if step == 2:
            loss = FixMatchLoss(CLASSES, adaptive=True)
            loss.load_state_dict(copy.deepcopy(state))


def test_rare_classes_have_lower_thresholds():
    adaptive = SelfAdaptiveThreshold(3)
    probs = torch.tensor([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
    for _ in range(8000):
        limits = adaptive(probs)
    shares = probs.mean(dim=0)
    torch.testing.assert_close(limits, 0.7 * shares / shares[0], rtol=1e-3, atol=0)
    assert not FixMatchLoss(3).state_dict()  # a fixed threshold has no state


def pool_of(known: int, images: int) -> Pool:
    order = np.random.default_rng(0).permutation(images)[:known]
    return Pool.make_unlabeled(images).reveal_labels(order, np.arange(known) % 3)


def batches_of(pool, batch_size, mu, steps=0) -> list:
    return epoch_batches(
        targets_from_labels(pool, 3),
        pool,
        np.random.default_rng(0),
        batch=BatchOptions(batch_size=batch_size, steps_per_epoch=steps),
        fixmatch=FixMatchOptions(mu=mu),
    )


@pytest.mark.parametrize("known", [3, 10, 60])
def test_epoch_is_one_pass_over_the_unlabeled_images(known):
    """Each image once, in two views; the labeled images are cycled, whether few or many."""
    pool = pool_of(known, 203)
    batches = batches_of(pool, batch_size=8, mu=3)
    free = np.flatnonzero(pool.labels < 0)
    assert len(batches) == -(-len(free) // 24)
    assert all(len(labeled) == 8 and weak is strong for labeled, weak, strong in batches)
    sizes = {len(weak) for _, weak, _ in batches}
    assert max(sizes) <= 24 and max(sizes) - min(sizes) <= 1
    assert sorted(np.concatenate([weak for _, weak, _ in batches])) == free.tolist()
    labeled = np.concatenate([labeled for labeled, *_ in batches])
    counts = np.bincount(labeled, minlength=203)
    assert not counts[free].any()
    assert np.ptp(counts[pool.labeled_indices]) <= 1  # none is repeated before all have been used


def test_number_of_steps_can_be_given():
    pool = pool_of(10, 50)
    batches = batches_of(pool, batch_size=4, mu=3, steps=7)
    assert [tuple(map(len, parts)) for parts in batches] == [(4, 12, 12)] * 7
    counts = np.bincount(np.concatenate([weak for _, weak, _ in batches]), minlength=50)
    assert set(counts[pool.labels < 0]) == {2, 3}
    (batch,) = batches_of(pool, batch_size=32, mu=7)  # no more than all unlabeled images
    assert tuple(map(len, batch)) == (32, 40, 40)


@pytest.mark.parametrize("steps, sizes", [(0, [7, 7, 6]), (5, [8] * 5)])
def test_batches_without_unlabeled_images(steps, sizes):
    batches = batches_of(pool_of(20, 20), batch_size=8, mu=7, steps=steps)
    assert [len(labeled) for (labeled,) in batches] == sizes


def test_initial_targets_are_the_known_labels():
    pool = pool_of(10, 50)
    targets = initial_targets(pool, 3, {})
    np.testing.assert_array_equal(targets.labels, pool.labels)
    np.testing.assert_array_equal(targets.weights, pool.labels >= 0)


def test_killed_run_resumes_with_the_same_results(tmp_path, capsys):
    """Killed within a cycle, with averaged weights and adaptive thresholds."""
    words = "--add-fixmatch --self-adaptive-threshold --al-budget 20 --al-nb-cycles 2 --epochs 8"
    words += " --steps-per-epoch 4 --mu 2 --checkpoint-epochs 2 --device cpu"
    kill_and_resume(tmp_path, capsys, words.split(), 8, (1, 4))
