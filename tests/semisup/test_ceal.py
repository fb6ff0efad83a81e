"""CEAL: the right images get the right labels, for one cycle."""

import dataclasses
import functools

import numpy as np
import pytest

import main_al
from data.batches import BatchLoader, batches_of_used_images
from data.pool import Pool
from experiment import experiment
from semisup import ALGORITHMS, ceal


def ten_images():
    """Labels known of images 1, 4 and 8; sure of 0 (class 2), 5 (class 1) and 9 (class 0), and of
    the labeled 4, of class 0.  An index among the unlabeled, in place of one among all, gives other
    images."""
    probs = np.full((10, 3), 1 / 3)
    for image, label in ((0, 2), (5, 1), (9, 0), (4, 1)):
        probs[image] = 0.001
        probs[image, label] = 0.998
    labels = np.full(10, -1)
    labels[[1, 4, 8]] = [2, 0, 1]
    return probs, Pool(labels, np.array([8, 1, 4]))


def confident_targets(probs, pool, **options):
    return ceal.initial_targets(
        pool, probs.shape[1], ceal.confident_predictions(probs=probs, **options)
    )


def test_alignment():
    probs, pool = ten_images()
    targets = confident_targets(probs, pool, cycle=0)
    assert targets.labels.tolist() == [2, 2, -1, -1, 0, 1, -1, -1, 1, 0]
    assert targets.weights.dtype == np.float32
    found = ceal.confident_predictions(probs=probs, cycle=0)["predicted"]
    assert found.tolist() == [2, -1, -1, -1, 1, 1, -1, -1, -1, 0]
    assert targets.weights.tolist() == [1, 1, 0, 0, 1, 1, 0, 0, 1, 1]
    options = {"pool": pool, "num_classes": 3, "rng": None, "cycle": 0}
    np.testing.assert_array_equal(
        ceal.update_targets(probs=probs, **options).labels, targets.labels
    )
    used = np.concatenate(
        batches_of_used_images(targets, pool, np.random.default_rng(0), batch_size=4)
    )
    assert sorted(used.tolist()) == [0, 1, 4, 5, 8, 9]


def test_threshold_and_decay():
    _, pool = ten_images()
    p = np.linspace(0.5, 0.9999, 10)
    probs = np.stack([p, 1 - p], axis=1)
    entropy = -(probs * np.log(probs)).sum(axis=1) / np.log(2)
    for cycle, decay, threshold in ((0, 0.1, 0.5), (3, 0.1, 0.5), (9, 0.1, 0.5)):
        targets = confident_targets(probs, pool, cycle=cycle, threshold=threshold, decay=decay)
        expected = (entropy < threshold - decay * cycle) & (pool.labels < 0)
        np.testing.assert_array_equal((targets.labels >= 0) & (pool.labels < 0), expected)


def test_a_renewal_is_what_the_network_is_sure_of():
    """The threshold and its decay reach what reads them; not given, they are the paper's."""
    _, pool = ten_images()
    p = np.linspace(0.985, 0.99, 10)  # H / log 2 from 0.112 to 0.081
    given = {"probs": np.stack([p, 1 - p], axis=1), "cycle": 20}
    rest, paper = {"pool": pool, "num_classes": 3, "rng": None}, {"threshold": 0.1}
    found = []
    for options in ({}, paper | {"decay": 0.00033}, paper | {"decay": 0}, {"threshold": 0.09}):
        known = ceal.initial_targets(pool, 3, ceal.confident_predictions(**given, **options))
        renewed = ceal.update_targets(**given, **rest, **options)
        np.testing.assert_array_equal(known.labels, renewed.labels)
        found.append(int((known.labels >= 0).sum()))
    assert found[0] == found[1] and found[1] < found[2] and found[3] < found[1]


def test_when_predictions_are_renewed():
    pairs = [(cycle, epoch) for cycle in range(3) for epoch in range(3)]
    due = [pair for pair in pairs if ceal.update_due(*pair, repeat=True)]
    assert due == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert not any(ceal.update_due(*pair) for pair in pairs)


def test_a_threshold_of_zero_takes_nothing():
    """Below the threshold, not at it: not even an image of no entropy."""
    _, pool = ten_images()
    targets = confident_targets(np.eye(10), pool, cycle=0, threshold=0)
    np.testing.assert_array_equal(targets.labels, pool.labels)


@pytest.mark.parametrize("repeat", [False, True])
def test_pseudo_labels_are_trained_on_for_one_cycle(monkeypatch, tmp_path, repeat):
    """Through main: what CEAL labels after cycle c is in the batches of cycle c+1 with that label,
    and nothing else is; the cycle after that starts from the labels and its own predictions."""
    made, seen, cycles = [], [], []

    def spied(function, number):
        def call(*words, **options):
            targets = function(*words, **options)
            pool = options["pool"] if "pool" in options else words[0]
            carried = number == 1 or words[2]
            made.extend([(targets, pool)] if carried else [])
            cycles.extend([options["cycle"]] if number else ["start"] if carried else [])
            return targets

        return functools.wraps(function)(call)

    class Spied(BatchLoader):
        def __iter__(self):
            for indices, views in zip(self.epoch_batches, super().__iter__(), strict=True):
                seen.append((indices, views[0].targets.numpy(), len(made)))
                yield views

    row = ALGORITHMS["ceal"]
    spies = {"start": spied(row.initial_targets, 0), "renew": spied(row.update_targets, 1)}
    monkeypatch.setitem(ALGORITHMS, "ceal", dataclasses.replace(row, **spies))
    monkeypatch.setattr(experiment, "BatchLoader", Spied)
    words = "--al-budget 40 --al-nb-cycles 3 --epochs 25 --lr-rampdown-epochs 210 --add-ceal"
    words += " --device cpu"
    words += " --ceal-th 0.7 --ceal-decay 0.65"  # many labels after cycle 0, few after cycle 1
    words = [*words.split(), "--run-dir", str(tmp_path / "run")]
    assert main_al.main(words + (["--ceal-repeat"] if repeat else [])) == 0
    wanted = ["start", *[1] * 24, "start", *[2] * 24] if repeat else ["start", "start"]
    assert cycles == wanted
    for count in sorted({count for *_, count in seen} - {0}):
        targets, pool = made[count - 1]
        used = np.concatenate([indices for indices, _, c in seen if c == count])
        given = np.concatenate([labels for _, labels, c in seen if c == count])
        np.testing.assert_array_equal(given, targets.labels[used])
        assert set(used) == set(np.flatnonzero(targets.labels >= 0))
        assert repeat or count > 1 or (targets.labels >= 0).sum() > 200 + len(pool.order)
    first = np.concatenate([indices for indices, _, c in seen if c == 0])
    assert len(set(first)) == 40
    if not repeat:  # some of what cycle 1 trained on is gone in cycle 2
        gone = (made[0][0].labels >= 0) & (made[1][0].labels < 0)
        late = np.concatenate([indices for indices, _, c in seen if c == 2])
        assert gone.any() and not gone[late].any()
