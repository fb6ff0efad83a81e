"""Without any pseudo-label, training continues with the labels, and jLP still picks images."""

import numpy as np
import pytest
import torch

import main_al
from al_methods import select
from semisup.label_propagation import PSEUDO_LABEL_MODES, propagate, targets_from_propagation
from tests.al_methods.test_acquisition import random_pool
from tests.semisup.test_label_propagation import batches_of, pool_of, rng
from tests.utils.test_graph import clustered
from utils.diffusion import diffuse
from utils.graph import affinity
from utils.graph.device_graph import affinity_on_device

ALL_LABELED = "--initial-size 37 --al-budget 700 --al-nb-cycles 3 --steps-per-epoch 2"
TWO_CYCLES = "--initial-size 40 --al-budget 20 --al-nb-cycles 2"
NO_LABELS = {"no edge": {"gamma": 1e10}, "no step": {"alpha": 0}}
CONTINUES = "training continues with the labels alone"


def run(folder, *options) -> tuple[list[dict], str]:
    """The rows of results.csv and the log of a run with two epochs per cycle."""
    words = " ".join(options).split()
    words += ["--epochs", "2", "--device", "cpu", "--run-dir", str(folder)]
    assert main_al.main(words) == 0
    names, *lines = (line.split(",") for line in (folder / "results.csv").read_text().split())
    rows = [dict(zip(names, line, strict=True)) for line in lines]
    return rows, (folder / "log.txt").read_text()


@pytest.mark.parametrize(
    "options",
    [
        "--lp-mode prob --loss-type kl",
        "--lp-mode full --weighted-unlabeled-batch --is-cW",
    ],
)
def test_lp_when_no_image_is_left(tmp_path, options):
    rows, log = run(tmp_path / "run", "--add-lp", ALL_LABELED, options)
    assert [row["labeled"] for row in rows] == ["37", "737", "1437"]
    assert [row["pseudo_labels"] == "0" for row in rows] == [False, False, True]
    assert log.count(f"no pseudo-labels: no image is left; {CONTINUES}") == 1


@pytest.mark.parametrize("method, graph", [("random", "--lp-alpha 0"), ("jlp", "--lp-gamma 1e10")])
def test_lp_when_the_labels_reach_no_image(tmp_path, method, graph):
    rows, log = run(tmp_path / "run", "--add-lp --al-method", method, TWO_CYCLES, graph)
    assert [row["pseudo_labels"] for row in rows] == ["0", "0"]
    assert log.count("no pseudo-labels: the labels reach no image") == 2
    assert log.count("jlp: no label reaches an unlabeled image") == (method == "jlp")


@pytest.mark.parametrize("threshold", ["--fixmatch-threshold 0.2", "--self-adaptive-threshold"])
def test_fixmatch_when_no_image_is_left(tmp_path, threshold):
    """Its pseudo-labels are computed in each step, so the column pseudo_labels is 0."""
    rows, log = run(tmp_path / "run", "--add-fixmatch", threshold, ALL_LABELED)
    assert [row["labeled"] for row in rows] == ["37", "737", "1437"]
    assert [(row["steps"], row["pseudo_labels"]) for row in rows] == [("4", "0")] * 3
    assert log.count(f"no pseudo-labels: no image is left; {CONTINUES}") == 1


def test_ceal_when_no_image_is_left(tmp_path):
    """All images about which the last network was confident are labeled by now."""
    rows, log = run(tmp_path / "run", "--add-ceal --ceal-th 1 --ceal-repeat", ALL_LABELED)
    assert [int(row["pseudo_labels"]) > 0 for row in rows] == [False, True, False]
    assert log.count(f"no pseudo-labels: no image is left; {CONTINUES}") == 1


def test_ceal_without_confident_predictions(tmp_path):
    """Together with jLP, whose labels reach no image."""
    words = "--add-ceal --ceal-th 1e-9 --ceal-repeat --al-method jlp --lp-alpha 0"
    rows, log = run(tmp_path / "run", words, TWO_CYCLES)
    assert [row["pseudo_labels"] for row in rows] == ["0", "0"]
    assert log.count("no pseudo-labels: the network is confident about no unlabeled image") == 1
    assert log.count("jlp: no label reaches an unlabeled image") == 1


@pytest.mark.parametrize("mode", PSEUDO_LABEL_MODES)
@pytest.mark.parametrize("class_weighted", [False, True])
@pytest.mark.parametrize("by_weight", [False, True])
@pytest.mark.parametrize("reason", [*NO_LABELS, "no image"])
def test_targets_are_the_known_labels(mode, class_weighted, by_weight, reason):
    labels = np.arange(40) % 4
    if reason in NO_LABELS:
        labels[7:] = -1
    graph = {"k": 5, **NO_LABELS.get(reason, {})}
    propagation, pool = propagate(clustered(40), labels, 4, **graph), pool_of(labels)
    settings = {"mode": mode, "class_weighted": class_weighted, "by_weight": by_weight}
    targets = targets_from_propagation(propagation, pool, rng(), **settings)
    np.testing.assert_array_equal(targets.labels, labels)
    np.testing.assert_array_equal(targets.weights, labels >= 0)
    members = np.bincount(labels[labels >= 0])
    expected = members.sum() / 4 / members if class_weighted else np.ones(4)
    np.testing.assert_allclose(targets.class_weights, expected)
    batches = batches_of(targets, pool, 8, 3)
    assert sorted(np.concatenate(batches)) == np.flatnonzero(labels >= 0).tolist()


def test_unknown_mode_is_refused():
    """Even where there is no image to choose."""
    labels = np.arange(40) % 4
    propagation = propagate(clustered(40), labels, 4, k=5)
    with pytest.raises(ValueError, match=r"unknown mode 'best'.* full"):
        targets_from_propagation(propagation, pool_of(labels), rng(), mode="best")


@pytest.mark.parametrize("options", NO_LABELS.values())
def test_jlp_picks_the_lowest_indices_where_no_label_reaches(options):
    arrays = random_pool(n=300)
    picks = select("jlp", **arrays, budget=200, rng=None, k=8, **options)
    assert picks.tolist() == np.flatnonzero(arrays["labels"] < 0)[:200].tolist()


def test_similarities_of_duplicates_stay_finite_under_a_large_exponent():
    """Similarities that are rounded to 1 + 1e-7 would overflow."""
    x = np.repeat(np.random.default_rng(0).normal(size=(30, 7)), 3, axis=0).astype(np.float32)
    with np.errstate(over="raise", invalid="raise"):
        W = affinity(x, k=4, gamma=1e10)
    on_device = affinity_on_device(torch.from_numpy(x), 4, 1e10)
    for values in (torch.from_numpy(W.data), on_device.values()):
        assert values.isfinite().all() and len(values)
    Z = diffuse(W, np.eye(90, dtype=np.float32)[:, :1])
    assert (Z[:3] > 0).any() and (Z[3:] == 0).all()
