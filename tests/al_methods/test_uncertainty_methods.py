"""The methods that ask where the network is unsure, each against its slow twin."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel

from al_methods import METHODS, badge, select
from data.augment import ImageStore
from models import create_model
from tests.al_methods.test_acquisition import inputs, situation
from tests.conftest import ROOT
from training.network_outputs import (
    MC_PASSES,
    OUTPUT_FUNCTIONS,
    NetworkOutputs,
    _random_quarter_mask,
    predict_dropout_classes,
)
from utils.kmeans import assign_clusters


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
        found = badge._squared_distances(errors, torch.from_numpy(x), lengths, center).numpy()
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
select("badge", **given, budget=3, rng=rng)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 500  # MiB


def mutual_information(passes):
    """Of one image's passes (M, C), from the joint distribution of pass and class."""
    joint = passes.astype(float) / len(passes)
    alone = joint.sum(axis=0)
    return sum(
        p * np.log(p / (alone[c] / len(passes))) for m in joint for c, p in enumerate(m) if p > 0
    )


@pytest.mark.parametrize("seed", range(3))
def test_bald_is_mutual_information(seed):
    rng, given = np.random.default_rng(seed), situation(seed=seed)
    passes = rng.dirichlet(np.full(4, 0.3), size=(120, 6)).astype(np.float32)
    passes[:30] = np.eye(4)[rng.integers(4, size=(30, 6))]  # each sure
    passes[30:60] = passes[30:60, :1]  # and of the same
    scores = np.array([-mutual_information(one) for one in passes])
    scores[30:60] = 0
    picks = select("bald", stochastic_probs=passes, labels=given["labels"], budget=108, rng=None)
    found = scores[picks]
    np.testing.assert_allclose(found, np.sort(scores[given["labels"] < 0]), atol=1e-6)
    assert picks[found == 0].tolist() == sorted(picks[found == 0])  # ties, whatever was rounded


def test_bald_wants_passes_that_are_sure_of_different_classes():
    """log 2 where two passes contradict each other, nothing where both are unsure or agree."""
    passes = [
        [[0.5, 0.5], [0.5, 0.5]],
        [[1, 0], [1, 0]],
        [[1, 0], [0, 1]],
        [[0.9, 0.1], [0.1, 0.9]],
    ]
    given = {"stochastic_probs": np.array(passes, np.float32), "labels": np.full(4, -1)}
    assert select("bald", **given, budget=4, rng=None).tolist() == [2, 3, 0, 1]


def some_images(count=9):
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8, generator=rng)
    return ImageStore(pixels, [0.5], [0.25], max_shift=1)


def test_passes_with_dropout():
    """As many as asked for, of a seed of their own; the network and its statistics stay."""
    network, images = create_model("small_cnn", 5, 1, head_dropout=0.5), some_images()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def passes(cycle=0, options=None):
        outputs = NetworkOutputs(network, images, seed=1, cycle=cycle, options=options)
        return outputs.get_tensors(["stochastic_probs"])["stochastic_probs"]

    found = passes()
    assert found.shape == (9, MC_PASSES.default, 5)
    torch.testing.assert_close(found.sum(dim=2), torch.ones(9, MC_PASSES.default))
    assert all(not torch.equal(found[:, 0], found[:, m]) for m in range(1, MC_PASSES.default))
    torch.manual_seed(99)
    assert torch.equal(found, passes()) and not torch.equal(found, passes(cycle=1))
    assert passes(options={"mc_passes": 3, "unread": 1}).shape == (9, 3, 5)
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())


def test_passes_are_those_of_the_formula():
    """Without dropout each is the evaluation's, so nothing but dropout is on; with it their mean
    logit is the evaluation's, the dropped features being scaled up."""
    images = some_images()
    network = create_model("small_cnn", 5, 1)
    found = NetworkOutputs(network, images, seed=1).get_tensors(["stochastic_probs", "probs"])
    for one in found["stochastic_probs"].unbind(dim=1):
        torch.testing.assert_close(one, found["probs"])
    network = create_model("small_cnn", 5, 1, head_dropout=0.5)
    outputs = NetworkOutputs(AveragedModel(network), images, seed=1, options={"mc_passes": 500})
    found = outputs.get_tensors(["stochastic_probs", "probs"])
    logits = found["stochastic_probs"].log()
    mean = (logits - logits.mean(dim=2, keepdim=True)).mean(dim=1)
    expected = found["probs"].log()
    expected -= expected.mean(dim=1, keepdim=True)
    torch.testing.assert_close(mean, expected, atol=0.04, rtol=0)
    assert (mean - expected).abs().max() > 0


def drop_query(features, probs, dropped_classes, labels, budget, seed):
    """Candidates, clusters, and of each the member nearest the mean -> a set."""
    candidates = [
        i
        for i in np.flatnonzero(labels < 0)
        if sum(int(c) != int(probs[i].argmax()) for c in dropped_classes[i]) >= 2
    ]
    assert len(candidates) > budget
    assigned = assign_clusters(features[candidates], budget, seed, fast_iterations=(2, 0))
    picks = set()
    for one in range(budget):
        members = [i for i, a in zip(candidates, assigned, strict=True) if a == one]
        centre = features[members].astype(float).mean(axis=0)
        picks.add(min(members, key=lambda i: (np.linalg.norm(features[i] - centre), i)))
    return picks


@pytest.mark.parametrize("budget", [1, 8, 30])
@pytest.mark.parametrize("seed", range(3))
def test_drop_query_is_one_a_cluster_of_those_whose_class_changes(seed, budget):
    given = inputs("dropquery", seed=seed)
    picks = select("dropquery", **given, budget=budget, rng=np.random.default_rng(seed))
    drawn = int(np.random.default_rng(seed).integers(2**31 - 1))
    assert set(picks.tolist()) == drop_query(**given, budget=budget, seed=drawn)
    assert len(picks) == budget


def test_drop_query_takes_the_largest_cluster_first():
    """Eleven candidates in three places, of which the last is the largest; the first of each."""
    x = np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 2, 2, 2, 2, 1, 2, 2]]
    given = {"features": x, "probs": np.full((11, 2), [0.6, 0.4]), "labels": np.full(11, -1)}
    given["dropped_classes"] = np.ones((11, 3), dtype=np.int64)
    for seed in range(5):
        picks = select("dropquery", **given, budget=3, rng=np.random.default_rng(seed)).tolist()
        if sorted(picks) == [0, 3, 4]:  # one a place: where k-means starts in each
            assert picks == [4, 0, 3]
            return
    raise AssertionError("k-means found the places with no seed")


def test_drop_query_fills_up():
    """With those that changed most, of them the least confident.  0 is labeled; 1 and 4 are
    candidates; 2, 5 and 6 changed once, 3 and 7 never."""
    probs = np.array([[0.9, 0.1]] * 8, np.float32)
    probs[[5, 7]] = [0.6, 0.4]
    changes = np.array([3, 2, 1, 0, 3, 1, 1, 0])
    dropped = (np.arange(3) < changes[:, None]).astype(np.float32)  # class 1 where it changed
    given = {"probs": probs, "dropped_classes": dropped, "labels": np.array([1] + [-1] * 7)}
    given["features"] = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    picks = select("dropquery", **given, budget=7, rng=np.random.default_rng(0))
    assert picks.tolist() == [4, 1, 5, 2, 6, 7, 3]
    for budget, expected in ((3, [4, 1, 5]), (2, [4, 1])):
        picks = select("dropquery", **given, budget=budget, rng=np.random.default_rng(0))
        assert picks.tolist() == expected
    picks = select("dropquery", **given, budget=1, rng=np.random.default_rng(0))
    assert picks[0] in (1, 4)


def test_drop_query_of_duplicates():
    """Fewer places than clusters: still one each, the lower of equals within a cluster."""
    given = inputs("dropquery", n=4, labeled=0)
    given = {name: np.repeat(value, 10, axis=0) for name, value in given.items()}
    given["dropped_classes"][:] = given["probs"].argmin(axis=1)[:, None]  # all change
    picks = select("dropquery", **given, budget=4, rng=np.random.default_rng(0))
    assert sorted(picks.tolist()) == [0, 10, 20, 30]
    picks = select("dropquery", **given, budget=25, rng=np.random.default_rng(0))
    assert len(set(picks.tolist())) == 25


@pytest.mark.parametrize("averaged", [False, True])
def test_classes_of_dropped_features(averaged):
    """The head's of what is left of the features, some of them others than the whole ones'."""
    torch.manual_seed(0)
    network, images = create_model("small_cnn", 5, 1), some_images(200)
    judge, seen = AveragedModel(network) if averaged else network, []
    head = (judge.module if averaged else judge).head
    head.register_forward_hook(lambda _, given, logits: seen.append((given[0], logits)))
    found = NetworkOutputs(judge, images, seed=1).get_tensors(METHODS["dropquery"].needs)
    thinned, logits = seen[-1]
    whole, there = found["features"].expand(3, -1, -1), found["features"].expand(3, -1, -1) != 0
    kept = thinned.view(whole.shape) != 0
    torch.testing.assert_close(thinned.view(whole.shape), 4 * whole * kept)
    assert (abs(kept.sum(dim=(1, 2)) / there.sum(dim=(1, 2)) - 0.25) < 0.02).all()
    assert not torch.equal(kept[0], kept[1])
    assert torch.equal(found["dropped_classes"], logits.argmax(dim=1).view(3, 200).T)
    changed = found["dropped_classes"] != found["probs"].argmax(dim=1)[:, None]
    assert (changed.float().mean(dim=0) > 0).all() and not changed.all()


def test_dropped_classes_are_in_order():
    """Of more images than go through the head at once, and a number of features that is no whole
    number of eight random bytes; what is left of a feature tells whose it is."""
    features = torch.arange(1.0, 1102)[:, None].repeat(1, 3)

    def head(rows):  # a class an image; the first where nothing is left of it
        return F.one_hot((rows.amax(dim=1) / 4).long(), 1102)

    found = predict_dropout_classes(features, head)
    expected = features[:, :1].long().expand(-1, 3)
    assert torch.equal(found[found > 0], expected[found > 0])
    assert abs((found > 0).float().mean() - (1 - 0.75**3)) < 0.03


def test_one_in_four_is_kept_whatever_happens_to_the_others():
    """At every distance at which two share a word, or their words follow each other: each is kept
    in a quarter of all cases, both in a sixteenth, within six standard errors."""
    torch.manual_seed(0)
    kept = _random_quarter_mask(640_000, "cpu").double()
    assert set(kept.tolist()) == {0, 1}
    for places in kept.view(8, -1, 8).transpose(0, 1).reshape(-1, 64).mean(dim=0):
        assert abs(places - 1 / 4) < 6 * (3 / 16 / 10_000) ** 0.5
    for apart in (1, 2, 7, 8, 64, *range(80_000, 640_000, 80_000)):
        pairs = (kept[:-apart] * kept[apart:]).mean()
        assert abs(pairs - 1 / 16) < 6 * (15 / 256 / len(kept[apart:])) ** 0.5
    assert len(_random_quarter_mask(65, "cpu")) == 65 and len(_random_quarter_mask(1, "cpu")) == 1


def test_one_pass_gives_drop_query_all_that_it_needs(monkeypatch):
    calls = []
    for name, compute in OUTPUT_FUNCTIONS.items():
        monkeypatch.setitem(
            OUTPUT_FUNCTIONS, name, lambda *a, name=name, do=compute: calls.append(name) or do(*a)
        )
    network = create_model("small_cnn", 5, 1)
    NetworkOutputs(network, some_images(), seed=1).get_tensors(METHODS["dropquery"].needs)
    assert calls == ["dropped_classes"]
