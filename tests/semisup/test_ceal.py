"""CEAL: the right images get the right labels, for one cycle."""

import dataclasses
import functools

import numpy as np
import pytest

import main_al
from data.batches import BatchLoader, BatchOptions, batches_of_used_images
from data.pool import Pool
from experiment import experiment
from semisup import ALGORITHMS, ceal
from semisup.ceal import CealOptions
from tests.archives import write_array_file

PAPER = {"ceal_th": 0.1, "ceal_decay": 0.00033}  # the defaults


def ten_images():
    """Images 1, 4 and 8 are labeled; the network is confident about 0 (class 2), 5 (class 1), 9
    (class 0), and, wrongly, about the labeled 4 (class 1).

    Indices into the unlabeled images, mistaken for indices into all, would select other images."""
    probs = np.full((10, 3), 1 / 3)
    for image, label in ((0, 2), (5, 1), (9, 0), (4, 1)):
        probs[image] = 0.001
        probs[image, label] = 0.998
    labels = np.full(10, -1)
    labels[[1, 4, 8]] = [2, 0, 1]
    return probs, Pool(labels, np.array([8, 1, 4]))


def targets_of(probs, pool, cycle, **options):
    """The targets at the start of the next cycle."""
    predictions = ceal.confident_predictions(probs=probs, cycle=cycle, ceal=CealOptions(**options))
    return ceal.initial_targets(pool, probs.shape[1], predictions)


def test_confident_images_get_their_predicted_class():
    probs, pool = ten_images()
    targets = targets_of(probs, pool, cycle=0)
    assert targets.labels.tolist() == [2, 2, -1, -1, 0, 1, -1, -1, 1, 0]
    assert targets.weights.dtype == np.float32
    predictions = ceal.confident_predictions(probs=probs, cycle=0, ceal=CealOptions())
    assert predictions["predicted"].tolist() == [2, -1, -1, -1, 1, 1, -1, -1, -1, 0]
    assert targets.weights.tolist() == [1, 1, 0, 0, 1, 1, 0, 0, 1, 1]
    arguments = {"pool": pool, "num_classes": 3, "rng": None, "cycle": 0, "ceal": CealOptions()}
    updated = ceal.update_targets(probs=probs, **arguments)
    np.testing.assert_array_equal(updated.labels, targets.labels)
    rng, batch = np.random.default_rng(0), BatchOptions(batch_size=4)
    used = np.concatenate(batches_of_used_images(targets, pool, rng, batch=batch))
    assert sorted(used.tolist()) == [0, 1, 4, 5, 8, 9]


def test_threshold_and_decay():
    _, pool = ten_images()
    p = np.linspace(0.5, 0.9999, 10)
    probs = np.stack([p, 1 - p], axis=1)
    entropy = -(probs * np.log(probs)).sum(axis=1) / np.log(2)
    for cycle, decay, threshold in ((0, 0.1, 0.5), (3, 0.1, 0.5), (9, 0.1, 0.5)):
        targets = targets_of(probs, pool, cycle=cycle, ceal_th=threshold, ceal_decay=decay)
        expected = (entropy < threshold - decay * cycle) & (pool.labels < 0)
        np.testing.assert_array_equal((targets.labels >= 0) & (pool.labels < 0), expected)


def test_updated_targets_follow_threshold_and_decay():
    """Their defaults are those of the paper."""
    _, pool = ten_images()
    p = np.linspace(0.985, 0.99, 10)  # H / log 2 from 0.112 to 0.081
    arguments = {"probs": np.stack([p, 1 - p], axis=1), "cycle": 20}
    counts = []
    for options in ({}, PAPER, PAPER | {"ceal_decay": 0}, {"ceal_th": 0.09}):
        group = CealOptions(**options)
        predictions = ceal.confident_predictions(**arguments, ceal=group)
        initial = ceal.initial_targets(pool, 3, predictions)
        updated = ceal.update_targets(**arguments, pool=pool, num_classes=3, rng=None, ceal=group)
        np.testing.assert_array_equal(initial.labels, updated.labels)
        counts.append(int((initial.labels >= 0).sum()))
    assert counts[0] == counts[1] and counts[1] < counts[2] and counts[3] < counts[1]


def test_when_predictions_are_updated():
    pairs = [(cycle, epoch) for cycle in range(3) for epoch in range(3)]
    repeat = CealOptions(ceal_repeat=True)
    due = [pair for pair in pairs if ceal.update_due(*pair, ceal=repeat)]
    assert due == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert not any(ceal.update_due(*pair, ceal=CealOptions()) for pair in pairs)


def test_threshold_of_zero_selects_nothing():
    """Entropies must be below the threshold, so not even an entropy of zero passes."""
    _, pool = ten_images()
    targets = targets_of(np.eye(10), pool, cycle=0, ceal_th=0)
    np.testing.assert_array_equal(targets.labels, pool.labels)


@pytest.mark.parametrize("repeat", [False, True])
def test_pseudo_labels_are_trained_on_for_one_cycle(monkeypatch, tmp_path, repeat):
    """Through main: the batches of cycle c+1 contain exactly the labeled images and those that CEAL
    labeled after cycle c, with these labels; cycle c+2 starts from its own predictions."""
    computed, batches, calls = [], [], []  # targets with pools; indices, labels, number of targets

    def spy_initial_targets(pool, num_classes, carry_over):
        targets = initial_targets(pool, num_classes, carry_over)
        if carry_over:
            computed.append((targets, pool))
            calls.append("initial")
        return targets

    @functools.wraps(ceal.update_targets)  # with the annotations from which the options follow
    def spy_update_targets(**arguments):
        targets = ceal.update_targets(**arguments)
        computed.append((targets, arguments["pool"]))
        calls.append(arguments["cycle"])
        return targets

    class SpyLoader(BatchLoader):
        def __iter__(self):
            for indices, views in zip(self.epoch_batches, super().__iter__(), strict=True):
                batches.append((indices, views[0].targets.numpy(), len(computed)))
                yield views

    entry = ALGORITHMS["ceal"]
    initial_targets = entry.initial_targets
    spies = {"initial_targets": spy_initial_targets, "update_targets": spy_update_targets}
    monkeypatch.setitem(ALGORITHMS, "ceal", dataclasses.replace(entry, **spies))
    monkeypatch.setattr(experiment, "BatchLoader", SpyLoader)
    words = "--al-budget 40 --al-nb-cycles 3 --epochs 25 --lr-rampdown-epochs 210 --add-ceal"
    words += f" --device cpu --dataset arrays --data-root {write_array_file(tmp_path / 'few.npz')}"
    words += " --ceal-th 0.7 --ceal-decay 0.65"  # many labels after cycle 0, few after cycle 1
    words = [*words.split(), "--run-dir", str(tmp_path / "run")]
    assert main_al.main(words + (["--ceal-repeat"] if repeat else [])) == 0
    updates = [1] * 24, [2] * 24
    expected = ["initial", *updates[0], "initial", *updates[1]] if repeat else ["initial"] * 2
    assert calls == expected
    for count in sorted({count for *_, count in batches} - {0}):
        targets, pool = computed[count - 1]
        used = np.concatenate([indices for indices, _, c in batches if c == count])
        labels = np.concatenate([labels for _, labels, c in batches if c == count])
        np.testing.assert_array_equal(labels, targets.labels[used])
        assert set(used) == set(np.flatnonzero(targets.labels >= 0))
        many = (targets.labels >= 0).sum() > 50 + len(pool.labeled_order)
        assert repeat or count > 1 or many
    first = np.concatenate([indices for indices, _, c in batches if c == 0])
    assert len(set(first)) == 40
    if not repeat:  # some pseudo-labels of cycle 1 are not used in cycle 2
        dropped = (computed[0][0].labels >= 0) & (computed[1][0].labels < 0)
        last = np.concatenate([indices for indices, _, c in batches if c == 2])
        assert dropped.any() and not dropped[last].any()
