"""The methods that query where the network is uncertain, each against a slow reference."""

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
from tests.al_methods.test_acquisition import inputs, random_pool
from tests.conftest import ROOT
from training.network_outputs import (
    OUTPUT_FUNCTIONS,
    DropoutPassOptions,
    NetworkOutputs,
    _random_quarter_mask,
    predict_dropout_classes,
)
from utils.kmeans import assign_clusters
from utils.options.option import OptionValues

DEFAULT_PASSES = DropoutPassOptions().mc_passes


def rank_by_score(scores, labels, budget):
    """The unlabeled images of smallest score, in order, ties to the lower index."""
    return sorted(np.flatnonzero(labels < 0).tolist(), key=lambda i: (scores[i], i))[:budget]


@pytest.mark.parametrize("seed", range(3))
def test_least_confidence_and_margin(seed):
    arrays = random_pool(classes=7, seed=seed)
    arrays["probs"] = arrays["probs"].round(1)  # with ties
    probs = [sorted(map(float, row), reverse=True) for row in arrays["probs"]]
    for method, scores in (
        ("least_confidence", [p[0] for p in probs]),
        ("margin", [p[0] - p[1] for p in probs]),
    ):
        picks = select(method, **arrays, budget=60, rng=None)
        assert picks.tolist() == rank_by_score(scores, arrays["labels"], 60)


SATURATED = ("uncertainty_entropy", "least_confidence", "margin", "bald", "badge", "dropquery")
NO_GAIN = ("jlp", "probcover", "maxherding", "uherding")


@pytest.mark.parametrize("method", [*SATURATED, *NO_GAIN])
def test_equal_scores_are_in_a_random_order(method):
    """A network is certain of all images but five, or nothing is gained by any but five: the five
    come first, and the others neither in the order of the files nor twice alike."""
    n, special = 400, [3, 90, 91, 200, 399]
    x = np.ones((n, 3), dtype=np.float32)
    x[special] = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]] * 2
    probs = np.eye(4, dtype=np.float32)[np.arange(n) // 100]
    probs[special] = [[0.3, 0.3, 0.3, 0.1], [0.3, 0.3, 0.2, 0.2], [0.4, 0.3, 0.2, 0.1]] + [
        [0.4, 0.4, 0.1, 0.1]
    ] * 2
    passes = np.tile(probs[:, None], (1, 3, 1))
    passes[special, 1] = np.eye(4)[1]
    dropped = np.tile(probs.argmax(axis=1)[:, None], (1, 3))
    dropped[special] = (dropped[special] + 1) % 4
    arrays = {
        "features": x,
        "pretrained_features": x,
        "probs": probs,
        "stochastic_probs": passes,
        "dropped_classes": dropped,
        "labels": np.where(np.arange(n) == 50, 0, -1),
    }
    options = {"coverage_radius": 0.1} if method == "probcover" else {}
    if method == "jlp":  # no edge, so no label reaches any image
        options = {"alpha": 0.0}

    def picks(seed):
        rng = np.random.default_rng(seed)
        return select(method, **arrays, budget=150, rng=rng, **options)

    first = picks(0)
    np.testing.assert_array_equal(first, picks(0))
    assert len(set(first.tolist())) == 150 and set(first) != set(picks(1))
    if method in SATURATED and method != "badge":  # to which images without a gradient are far too
        assert set(first[:5]) == set(special)
    tied = first[6:]
    assert 0.4 < (np.diff(tied) > 0).mean() < 0.6  # ascending: 1
    classes = np.bincount(tied // 100, minlength=4) / len(tied)
    assert classes.max() < 0.4  # lowest indices: 1


def test_least_confidence_and_margin_differ():
    probs = np.array([[0.5, 0.5, 0], [0.4, 0.3, 0.3], [0.9, 0.1, 0]], dtype=np.float32)
    arrays = {"probs": probs, "labels": np.full(3, -1), "budget": 3, "rng": None}
    assert select("least_confidence", **arrays).tolist() == [1, 0, 2]
    assert select("margin", **arrays).tolist() == [0, 1, 2]


def gradient_embeddings(probs, features):
    """The gradients of BADGE, formed explicitly: (N, C·d)."""
    errors = probs.astype(np.float64)
    errors[np.arange(len(errors)), errors.argmax(axis=1)] -= 1
    return np.array([np.outer(a, x).ravel() for a, x in zip(errors, features, strict=True)])


def k_means_plus_plus(g, labels, budget, rng):
    """k-means++ over embeddings g, starting at the largest; distances from differences."""
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
def test_badge_is_k_means_plus_plus_over_gradients(seed):
    arrays = random_pool(n=80, seed=seed)
    arrays["features"] *= np.random.default_rng(seed).uniform(0.5, 2, size=(80, 1))
    g = gradient_embeddings(arrays["probs"], arrays["features"])
    expected = k_means_plus_plus(g, arrays["labels"], 40, np.random.default_rng(seed))
    picks = select("badge", **arrays, budget=40, rng=np.random.default_rng(seed))
    assert picks.tolist() == expected


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_badge_distances(scale):
    """The factorised distances equal those of the embeddings, and duplicates have exactly zero."""
    arrays = random_pool(n=60)
    x = scale * np.tile(arrays["features"], (2, 1)).astype(np.float64)
    p = np.tile(arrays["probs"], (2, 1))
    g = gradient_embeddings(p, x)
    errors = torch.from_numpy(p).double()
    errors[torch.arange(120), errors.argmax(dim=1)] -= 1
    lengths = torch.from_numpy((g**2).sum(axis=1))
    features, everything = torch.from_numpy(x), torch.arange(120)
    for center in range(0, 120, 7):
        squares = badge._squared_distances(errors, features, lengths, center, everything).numpy()
        np.testing.assert_allclose(squares, ((g - g[center]) ** 2).sum(axis=1), rtol=1e-6)
        assert squares[center] == squares[center - 60] == 0


def test_badge_draws_proportionally_to_squared_distance():
    """With two classes and p = 1/2, an embedding's squared distance is half that of the feature."""
    x = np.array([[9.0], [8], [6], [7], [0]], dtype=np.float32)
    arrays = {"features": x, "probs": np.full((5, 2), 0.5, dtype=np.float32)}
    rng, counts = np.random.default_rng(0), np.zeros(5)
    for _ in range(2000):
        first, second = select("badge", **arrays, labels=np.full(5, -1), budget=2, rng=rng)
        assert first == 0
        counts[second] += 1
    np.testing.assert_allclose(counts / 2000, np.array([0, 1, 9, 4, 81]) / 95, atol=0.03)


def test_badge_picks_duplicates_last():
    """Ten distinct points, each four times: the points first, then the others in a random
    order.  Where the network is certain, all embeddings are zero and the order is random."""
    arrays = random_pool(n=10, labeled=0)
    arrays = {name: np.tile(value, (4, 1)[: value.ndim]) for name, value in arrays.items()}
    picks = select("badge", **arrays, budget=40, rng=np.random.default_rng(0)).tolist()
    assert sorted(i % 10 for i in picks[:10]) == list(range(10))
    assert sorted(picks) == list(range(40)) and picks[10:] != sorted(picks[10:])
    arrays["probs"] = np.eye(4, dtype=np.float32)[arrays["probs"].argmax(axis=1)]
    firsts = {
        int(select("badge", **arrays, budget=40, rng=np.random.default_rng(seed))[0])
        for seed in range(10)
    }
    assert len(firsts) > 5


def test_memory_of_badge():
    """The embeddings of 20,000 images with 100 classes and 512 features would take 4 GB."""
    script = """
import resource, numpy as np, torch
from al_methods import select
rng = np.random.default_rng(0)
probs = torch.rand(20000, 100).softmax(dim=1)
arrays = {"features": torch.rand(20000, 512), "probs": probs, "labels": np.full(20000, -1)}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
select("badge", **arrays, budget=3, rng=rng)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 500  # MiB


def mutual_information(passes):
    """Of the passes of one image (M, C), from the joint distribution of pass and class."""
    joint = passes.astype(float) / len(passes)
    alone = joint.sum(axis=0)
    return sum(
        p * np.log(p / (alone[c] / len(passes))) for m in joint for c, p in enumerate(m) if p > 0
    )


@pytest.mark.parametrize("seed", range(3))
def test_bald_is_mutual_information(seed):
    rng, arrays = np.random.default_rng(seed), random_pool(seed=seed)
    passes = rng.dirichlet(np.full(4, 0.3), size=(120, 6)).astype(np.float32)
    passes[:30] = np.eye(4)[rng.integers(4, size=(30, 6))]  # each pass is certain
    passes[30:60] = passes[30:60, :1]  # all passes are equal
    scores = np.array([-mutual_information(image) for image in passes])
    scores[30:60] = 0
    picks = select("bald", stochastic_probs=passes, labels=arrays["labels"], budget=108, rng=None)
    picked = scores[picks]
    np.testing.assert_allclose(picked, np.sort(scores[arrays["labels"] < 0]), atol=1e-6)
    assert picks[picked == 0].tolist() == sorted(picks[picked == 0])  # ties, whatever the rounding


def test_bald_prefers_passes_that_are_certain_and_disagree():
    """log 2 where two passes contradict each other, 0 where both are uncertain or agree."""
    passes = [
        [[0.5, 0.5], [0.5, 0.5]],
        [[1, 0], [1, 0]],
        [[1, 0], [0, 1]],
        [[0.9, 0.1], [0.1, 0.9]],
    ]
    arrays = {"stochastic_probs": np.array(passes, np.float32), "labels": np.full(4, -1)}
    assert select("bald", **arrays, budget=4, rng=None).tolist() == [2, 3, 0, 1]


def some_images(count=9):
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8, generator=rng)
    return ImageStore(pixels, [0.5], [0.25], max_shift=1)


def test_passes_with_dropout():
    """--mc-passes passes with their own seed; the network and its statistics do not change."""
    network, images = create_model("small_cnn", 5, 1, head_dropout=0.5), some_images()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def passes(cycle=0, mc_passes=DEFAULT_PASSES):
        options = OptionValues({"mc_passes": mc_passes, "unread": 1})
        outputs = NetworkOutputs(network, images, seed=1, cycle=cycle, options=options)
        return outputs.get_tensors(["stochastic_probs"])["stochastic_probs"]

    probs = passes()
    assert probs.shape == (9, DEFAULT_PASSES, 5)
    torch.testing.assert_close(probs.sum(dim=2), torch.ones(9, DEFAULT_PASSES))
    assert all(not torch.equal(probs[:, 0], probs[:, m]) for m in range(1, DEFAULT_PASSES))
    torch.manual_seed(99)
    assert torch.equal(probs, passes()) and not torch.equal(probs, passes(cycle=1))
    assert passes(mc_passes=3).shape == (9, 3, 5)
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())


def test_passes_differ_by_dropout_alone():
    """Without dropout each pass equals the evaluation, so only dropout is in training mode.  With
    dropout the mean logits are those of the evaluation, since kept features are scaled up."""
    images = some_images()
    network = create_model("small_cnn", 5, 1)
    options = OptionValues({"mc_passes": DEFAULT_PASSES})
    outputs = NetworkOutputs(network, images, seed=1, options=options)
    tensors = outputs.get_tensors(["stochastic_probs", "probs"])
    for probs in tensors["stochastic_probs"].unbind(dim=1):
        torch.testing.assert_close(probs, tensors["probs"])
    network = create_model("small_cnn", 5, 1, head_dropout=0.5)
    options = OptionValues({"mc_passes": 500})
    outputs = NetworkOutputs(AveragedModel(network), images, seed=1, options=options)
    tensors = outputs.get_tensors(["stochastic_probs", "probs"])
    logits = tensors["stochastic_probs"].log()
    mean = (logits - logits.mean(dim=2, keepdim=True)).mean(dim=1)
    expected = tensors["probs"].log()
    expected -= expected.mean(dim=1, keepdim=True)
    torch.testing.assert_close(mean, expected, atol=0.04, rtol=0)
    assert (mean - expected).abs().max() > 0


def drop_query(features, probs, dropped_classes, labels, budget, seed):
    """Reference: the set of picks, from candidates, clusters and the member nearest each mean."""
    candidates = [
        i
        for i in np.flatnonzero(labels < 0)
        if sum(int(c) != int(probs[i].argmax()) for c in dropped_classes[i]) >= 2
    ]
    assert len(candidates) > budget
    assigned = assign_clusters(features[candidates], budget, seed, fast_iterations=(2, 0))
    picks = set()
    for cluster in range(budget):
        members = [i for i, a in zip(candidates, assigned, strict=True) if a == cluster]
        centre = features[members].astype(float).mean(axis=0)
        picks.add(min(members, key=lambda i: (np.linalg.norm(features[i] - centre), i)))
    return picks


@pytest.mark.parametrize("budget", [1, 8, 30])
@pytest.mark.parametrize("seed", range(3))
def test_drop_query_picks_one_image_per_cluster_of_candidates(seed, budget):
    arrays = inputs("dropquery", seed=seed)
    picks = select("dropquery", **arrays, budget=budget, rng=np.random.default_rng(seed))
    drawn = int(np.random.default_rng(seed).integers(2**31 - 1))
    assert set(picks.tolist()) == drop_query(**arrays, budget=budget, seed=drawn)
    assert len(picks) == budget


def test_drop_query_picks_from_the_largest_cluster_first():
    """Eleven candidates at three points: the first image of each, the most frequent point first."""
    x = np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 2, 2, 2, 2, 1, 2, 2]]
    arrays = {"features": x, "probs": np.full((11, 2), [0.6, 0.4]), "labels": np.full(11, -1)}
    arrays["dropped_classes"] = np.ones((11, 3), dtype=np.int64)
    for seed in range(5):
        picks = select("dropquery", **arrays, budget=3, rng=np.random.default_rng(seed)).tolist()
        if sorted(picks) == [0, 3, 4]:  # k-means found the points, one center at each
            assert picks == [4, 0, 3]
            return
    raise AssertionError("k-means found the points with no seed")


def test_drop_query_with_too_few_candidates():
    """The rest are the images that changed most often, the least confident first.  0 is labeled; 1
    and 4 are candidates; 2, 5 and 6 changed once, 3 and 7 never."""
    probs = np.array([[0.9, 0.1]] * 8, np.float32)
    probs[[5, 7]] = [0.6, 0.4]
    changes = np.array([3, 2, 1, 0, 3, 1, 1, 0])
    dropped = (np.arange(3) < changes[:, None]).astype(np.float32)  # class 1 where it changed
    arrays = {"probs": probs, "dropped_classes": dropped, "labels": np.array([1] + [-1] * 7)}
    arrays["features"] = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    picks = select("dropquery", **arrays, budget=7, rng=np.random.default_rng(0))
    assert picks.tolist() == [4, 1, 5, 2, 6, 7, 3]
    for budget, expected in ((3, [4, 1, 5]), (2, [4, 1])):
        picks = select("dropquery", **arrays, budget=budget, rng=np.random.default_rng(0))
        assert picks.tolist() == expected
    picks = select("dropquery", **arrays, budget=1, rng=np.random.default_rng(0))
    assert picks[0] in (1, 4)


def test_drop_query_of_duplicates():
    """With fewer points than clusters there is still one pick per cluster, and of equal images in a
    cluster the lower index is picked."""
    arrays = inputs("dropquery", n=4, labeled=0)
    arrays = {name: np.repeat(value, 10, axis=0) for name, value in arrays.items()}
    arrays["dropped_classes"][:] = arrays["probs"].argmin(axis=1)[:, None]  # all change
    picks = select("dropquery", **arrays, budget=4, rng=np.random.default_rng(0))
    assert sorted(picks.tolist()) == [0, 10, 20, 30]
    picks = select("dropquery", **arrays, budget=25, rng=np.random.default_rng(0))
    assert len(set(picks.tolist())) == 25


@pytest.mark.parametrize("averaged", [False, True])
def test_dropped_classes_are_those_of_thinned_features(averaged):
    """The head predicts them from a quarter of the features, and some of them change."""
    torch.manual_seed(0)
    network, images = create_model("small_cnn", 5, 1), some_images(200)
    eval_model, calls = AveragedModel(network) if averaged else network, []
    head = (eval_model.module if averaged else eval_model).head
    head.register_forward_hook(lambda _, inputs, logits: calls.append((inputs[0], logits)))
    tensors = NetworkOutputs(eval_model, images, seed=1).get_tensors(METHODS["dropquery"].needs)
    thinned, logits = calls[-1]
    features = tensors["features"].expand(3, -1, -1)
    nonzero, kept = features != 0, thinned.view(features.shape) != 0
    torch.testing.assert_close(thinned.view(features.shape), 4 * features * kept)
    assert (abs(kept.sum(dim=(1, 2)) / nonzero.sum(dim=(1, 2)) - 0.25) < 0.02).all()
    assert not torch.equal(kept[0], kept[1])
    assert torch.equal(tensors["dropped_classes"], logits.argmax(dim=1).view(3, 200).T)
    changed = tensors["dropped_classes"] != tensors["probs"].argmax(dim=1)[:, None]
    assert (changed.float().mean(dim=0) > 0).all() and not changed.all()


def test_dropped_classes_are_in_order():
    """More images than pass the head at once, and a number of features that does not fill whole
    blocks of eight random bytes.  The value of a kept feature identifies its image."""
    features = torch.arange(1.0, 1102)[:, None].repeat(1, 3)

    def head(rows):  # one class per image; class 0 where all its features are dropped
        return F.one_hot((rows.amax(dim=1) / 4).long(), 1102)

    classes = predict_dropout_classes(features, head)
    expected = features[:, :1].long().expand(-1, 3)
    assert torch.equal(classes[classes > 0], expected[classes > 0])
    assert abs((classes > 0).float().mean() - (1 - 0.75**3)) < 0.03


def test_features_are_kept_independently_with_probability_one_quarter():
    """Pairs are tested at every distance at which two values share a word or lie in adjacent words:
    each is kept in 1/4 of all cases, both in 1/16, within six standard errors."""
    torch.manual_seed(0)
    kept = _random_quarter_mask(640_000, torch.device("cpu")).double()
    assert set(kept.tolist()) == {0, 1}
    for places in kept.view(8, -1, 8).transpose(0, 1).reshape(-1, 64).mean(dim=0):
        assert abs(places - 1 / 4) < 6 * (3 / 16 / 10_000) ** 0.5
    for distance in (1, 2, 7, 8, 64, *range(80_000, 640_000, 80_000)):
        pairs = (kept[:-distance] * kept[distance:]).mean()
        assert abs(pairs - 1 / 16) < 6 * (15 / 256 / len(kept[distance:])) ** 0.5
    for count in (1, 65):
        assert len(_random_quarter_mask(count, torch.device("cpu"))) == count


def test_one_pass_computes_all_inputs_of_drop_query(monkeypatch):
    calls = []
    for name, compute in OUTPUT_FUNCTIONS.items():
        monkeypatch.setitem(
            OUTPUT_FUNCTIONS, name, lambda *a, name=name, do=compute: calls.append(name) or do(*a)
        )
    network = create_model("small_cnn", 5, 1)
    NetworkOutputs(network, some_images(), seed=1).get_tensors(METHODS["dropquery"].needs)
    assert calls == ["dropped_classes"]
