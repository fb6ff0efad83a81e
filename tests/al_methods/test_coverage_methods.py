"""The coverage methods, each against a slow reference that follows its formula."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from al_methods import (
    graph_communities,
    greedy_coverage,
    lp_coverage,
    probcover,
    select,
    typiclust,
    uherding,
)
from tests.conftest import ROOT
from utils.graph import affinity
from utils.graph.graph_options import GraphOptions, GraphViewOptions
from utils.kmeans import assign_clusters

LP = {"k": 8, "gamma": 3, "alpha": 0.95}


def make_clusters(n=150, d=6, groups=7, seed=0, copies=0):
    """Features in groups of unequal size; the last `copies` images duplicate the first ones."""
    rng = np.random.default_rng(seed)
    centers, weights = rng.normal(size=(groups, d)), rng.dirichlet(np.full(groups, 2.0))
    x = centers[rng.choice(groups, size=n, p=weights)] + 0.4 * rng.normal(size=(n, d))
    x[n - copies :] = x[:copies]
    return x.astype(np.float32)


def some_labels(n=150, known=(), classes=3):
    """Labels of a few images, of all classes but the last."""
    labels = np.full(n, -1)
    labels[list(known)] = np.arange(len(known)) % (classes - 1)
    return labels


def facility_location(kernel, known, budget, weights=None):
    """Greedy picks that evaluate every image before each pick -> picks, all gains before each."""
    weights = np.ones(len(kernel)) if weights is None else weights
    cover = kernel[known].max(axis=0) if len(known) else np.zeros(len(kernel))
    picks, gains = [], []
    for _ in range(budget):
        gain = (np.maximum(kernel - cover, 0) * weights).sum(axis=1)
        gain[[*known, *picks]] = -np.inf
        gains.append(gain)
        picks.append(int(gain.argmax()))
        cover = np.maximum(cover, kernel[picks[-1]])
    return picks, gains


def assert_greedy(kernel, known, picks, weights=None):
    """Every pick is the first of the images with the largest gain, up to rounding."""
    assert len(set(picks)) == len(picks) and not set(picks) & set(known)
    for i, pick in enumerate(picks):
        _, (gain,) = facility_location(kernel, [*known, *picks[:i]], 1, weights)
        assert gain[pick] >= gain.max() * (1 - 2e-5) - 2e-6
        assert pick <= np.flatnonzero(gain >= gain.max() * (1 - 1e-7) - 1e-9)[0]


def reference_weights(x, labels, k, gamma, alpha):
    """The weights of lp_coverage, image by image."""
    W = affinity(x, k, gamma).toarray().astype(float)
    K, classes = np.linalg.inv(np.eye(len(W)) - alpha * W), sorted(set(labels[labels >= 0]))
    if len(classes) < 2:
        return np.ones(len(x))
    weights = []
    for row in K:
        shares = sorted(np.mean([row[i] for i in np.flatnonzero(labels == c)]) for c in classes)
        margin = (shares[-1] - shares[-2]) / sum(shares) if any(shares) else 0
        weights.append(0.25 + 0.75 * (1 - margin))
    return np.array(weights)


def diffusion_kernel(x, k, gamma, alpha):
    W = affinity(x, k, gamma).toarray().astype(float)
    K = np.linalg.inv(np.eye(len(W)) - alpha * W)
    return K / np.sqrt(np.outer(K.diagonal(), K.diagonal()))


KNOWN = {"no label": (), "some": (3, 70, 71, 149), "more": (3, 4, 5, 6, 70, 71, 149)}


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("how", ["dense", "dense, gains updated at once", "by columns"])
def test_lp_coverage_is_greedy_facility_location(monkeypatch, how, known):
    """With an estimated diagonal, the coverage is at least 99 % of the reference's."""
    monkeypatch.setattr(graph_communities, "MAX_SEEDS", 0)  # no merging
    x = make_clusters()
    if "updated" in how:
        monkeypatch.setattr(greedy_coverage, "CANDIDATE_BATCH", 1)
    kernel = diffusion_kernel(x, **LP)
    if how == "by columns":
        monkeypatch.setattr(lp_coverage, "MAX_KERNEL_IMAGES", 10)
    labels = some_labels(150, known)
    weights = reference_weights(x, labels, **LP)
    picks = select("lp_coverage", features=x, labels=labels, budget=40, rng=None, **LP)
    expected, _ = facility_location(kernel, list(known), 40, weights)
    if "dense" in how:
        assert_greedy(kernel, known, picks, weights)
    covered, reference = (kernel[[*known, *p]].max(axis=0) @ weights for p in (picks, expected))
    assert covered >= 0.99 * reference and (len(set(weights)) > 1) == bool(known)


def test_margin_weights_of_one_class_and_of_disconnected_parts():
    x = make_clusters()
    system = lp_coverage.DiffusionSolver(affinity(x, 8), 0.95)
    labels = some_labels(150, [3, 70], classes=2)
    assert set(labels) == {-1, 0} and (lp_coverage.margin_weights(system, labels) == 1).all()
    apart = np.eye(3, dtype=np.float32)[[0] * 4 + [1] * 6 + [2]]
    system = lp_coverage.DiffusionSolver(affinity(apart, 3), 0.95)
    labels = np.array([0] + [-1] * 3 + [1] + [-1] * 6)
    weights = lp_coverage.margin_weights(system, labels)
    np.testing.assert_allclose(weights, [0.25] * 10 + [1])  # no label reaches the last image


def test_lp_coverage_from_few_columns(monkeypatch):
    """Solving a quarter of the columns reaches 98 % of the coverage of the dense algorithm."""
    monkeypatch.setattr(graph_communities, "MAX_SEEDS", 0)  # no merging
    x, solved = make_clusters(600, groups=30), []
    monkeypatch.setattr(lp_coverage, "MAX_KERNEL_IMAGES", 10)
    monkeypatch.setattr(lp_coverage, "MAX_SOLVED_ENTRIES", 600 * 100)
    monkeypatch.setattr(lp_coverage, "NUM_PROBE_IMAGES", 20)
    columns = lp_coverage._diffusion_columns

    def count_columns(system, images):
        solved.append(len(images))
        return columns(system, images)

    monkeypatch.setattr(lp_coverage, "_diffusion_columns", count_columns)
    arrays = {"features": x, "labels": np.full(600, -1), "rng": None}
    picks = select("lp_coverage", **arrays, budget=30, **LP)
    assert 60 <= sum(solved) <= 150
    kernel = diffusion_kernel(x, **LP)
    expected, _ = facility_location(kernel, [], 30)
    assert kernel[picks].max(axis=0).sum() >= 0.98 * kernel[expected].max(axis=0).sum()


def test_estimated_diagonal():
    x = make_clusters(400)
    W = affinity(x, 8)
    K = np.linalg.inv(np.eye(400) - 0.9 * W.toarray().astype(float))
    scale = lp_coverage._estimate_scale(
        lp_coverage.as_torch_csr(W), lp_coverage.DiffusionSolver(W, 0.9)
    )
    np.testing.assert_allclose(scale.numpy(), 1 / np.sqrt(K.diagonal()), rtol=0.1)


@pytest.mark.parametrize("dense", [True, False])
def test_lp_coverage_on_disconnected_components(monkeypatch, dense):
    """Two groups of duplicates and a single image: one pick of each first, the largest first."""
    monkeypatch.setattr(lp_coverage, "MAX_KERNEL_IMAGES", 100 if dense else 2)
    x = np.eye(3, dtype=np.float32)[[0] * 4 + [1] * 6 + [2]]
    arrays = {"features": x, "labels": np.full(11, -1), "rng": None}
    picks = select("lp_coverage", **arrays, budget=11, k=3)
    assert [set(map(int, x[p].nonzero()[0])) for p in picks[:3]] == [{1}, {0}, {2}]
    assert sorted(picks.tolist()) == list(range(11))


def test_lp_coverage_logs_its_coverage(caplog):
    x = make_clusters()
    with caplog.at_level("INFO", logger="al.lp_coverage"):
        picks = select("lp_coverage", features=x, labels=some_labels(), budget=9, rng=None, **LP)
    value = diffusion_kernel(x, **LP)[picks].max(axis=0).mean()
    assert f"0 labels and 9 picks cover {value:.4f} of 150 images" in caplog.text


def test_lp_coverage_prefers_pretrained_features():
    x, other = make_clusters(seed=1), make_clusters(seed=2)
    arrays = {"labels": some_labels(known=[5]), "budget": 8, "rng": None}
    alone = select("lp_coverage", features=x, **arrays)
    both = select("lp_coverage", features=other, pretrained_features=x, **arrays)
    assert both.tolist() == alone.tolist()


def test_lp_coverage_on_both_features():
    """Neither replaces the other, and each is weighted by its own agreement."""
    x, other = make_clusters(seed=1), make_clusters(seed=2)
    arrays = {"labels": some_labels(known=[5]), "budget": 8, "rng": None}
    both = {"view_weights": "agreement", "features_agreement": 0.1}
    both |= {"features": x, "pretrained_features": other, "pretrained_features_agreement": 0.3}
    picks = select("lp_coverage", **arrays, **both, views="features,pretrained_features")
    expected = [
        lp_coverage.pick(
            **arrays,
            views=GraphViewOptions(lp_views="features,pixels"),
            graph=GraphOptions(),
            features=torch.tensor(a),
            pixels=torch.tensor(b),
            features_agreement=torch.tensor(0.1),
            pixels_agreement=torch.tensor(0.3),
        ).tolist()
        for a, b in ((x, other), (other, other))
    ]
    assert picks.tolist() == expected[0] != expected[1]
    pixels = {"pixels": other, "pixels_agreement": 0.3}
    picks = select("lp_coverage", **arrays, **(both | pixels), views="features,pixels")
    single = {"features": other, "features_agreement": 0.3, "view_weights": "agreement"}
    reference = select("lp_coverage", **arrays, **single, **pixels, views="features,pixels")
    assert picks.tolist() == reference.tolist()


@pytest.mark.parametrize("width", [0.2, 3.0])
@pytest.mark.parametrize("block", [2**23, 700])
def test_lazy_greedy_equals_slow_greedy(monkeypatch, width, block):
    """Narrow kernels, where candidates are evaluated again, and wide ones, where all gains are
    updated at once; some images have weight zero."""
    monkeypatch.setattr(greedy_coverage, "MAX_KERNEL_VALUES", block)
    monkeypatch.setattr(greedy_coverage, "CANDIDATE_BATCH", 4)
    x = make_clusters(copies=10).astype(float)
    kernel = np.exp(-((x[:, None] - x) ** 2).sum(axis=2) / width**2)
    weights = np.random.default_rng(0).random(150) * (np.arange(150) % 5 > 0)
    known, entries = [4, 9], torch.from_numpy(kernel).float()
    candidates = torch.tensor([i for i in range(150) if i not in known])
    cover = entries[known].amax(dim=0)
    picks, end = greedy_coverage.maximize_coverage(
        lambda rows, columns: entries[rows[:, None], columns],
        *(cover, candidates, 60, torch.from_numpy(weights).float()),
    )
    assert len(picks) == 60
    assert_greedy(kernel, known, picks, weights)
    np.testing.assert_allclose(end, kernel[[*known, *picks]].max(axis=0), rtol=1e-5)


def unit_length(x):
    return x.astype(float) / np.linalg.norm(x, axis=1, keepdims=True)


def distances(x):
    return np.sqrt(((x[:, None] - x) ** 2).sum(axis=2))


COPIES = {"no label": (), "some": (3, 70, 71, 149)}  # 3 and 149 are duplicates


@pytest.mark.parametrize("budget, batch", [(30, 64), (146, 64), (100, 1)])
@pytest.mark.parametrize("known", COPIES.values(), ids=COPIES)
def test_maxherding_is_greedy_generalised_coverage(monkeypatch, known, budget, batch):
    monkeypatch.setattr(greedy_coverage, "CANDIDATE_BATCH", batch)
    x, labels = make_clusters(copies=4), some_labels(150, known)
    picks = select("maxherding", pretrained_features=x, labels=labels, budget=budget, rng=None)
    assert_greedy(np.exp(-(distances(unit_length(x)) ** 2)), known, picks)


@pytest.mark.parametrize("known", COPIES.values(), ids=COPIES)
def test_probcover_is_a_greedy_cover_by_balls(known):
    """Once everything is covered, the lowest indices are picked."""
    x, labels = make_clusters(copies=4), some_labels(150, known)
    arrays = {"pretrained_features": x, "labels": labels, "rng": None}
    picks = select("probcover", **arrays, budget=100, coverage_radius=0.4)
    kernel = (distances(unit_length(x)) < 0.4).astype(float)
    expected, gains = facility_location(kernel, list(known), 100)
    assert picks.tolist() == expected and gains[0].max() > 5 and gains[-1].max() == 0


def test_probcover_uses_the_largest_pure_radius(monkeypatch):
    x = make_clusters(200)
    assigned = assign_clusters(unit_length(x).astype(np.float32), 5, probcover.KMEANS_SEED)
    apart, same = distances(unit_length(x)), assigned[:, None] == assigned

    def purity(radius):
        return (same | (apart >= radius)).all(axis=1).mean()

    between = probcover.distance_to_other_clusters(
        torch.from_numpy(unit_length(x)), torch.from_numpy(assigned)
    )
    radius = probcover.largest_pure_radius(between)
    assert purity(radius * (1 - 1e-6)) >= 0.95 > purity(radius * (1 + 1e-6))
    arrays = {"pretrained_features": x, "labels": np.full(200, -1), "budget": 20, "rng": None}
    picks = select("probcover", **arrays, num_classes=5)
    assert picks.tolist() == select("probcover", **arrays, coverage_radius=radius).tolist()
    labels, cluster_counts = some_labels(200, [0, 5, 9], classes=6), []
    labels[9] = 4  # the largest class number is 4: five classes
    monkeypatch.setattr(
        probcover,
        "assign_clusters",
        lambda x, n, seed: cluster_counts.append(n) or assign_clusters(x, n, seed),
    )
    for known in (labels, arrays["labels"]):
        assert len(select("probcover", **arrays | {"labels": known})) == 20
    assert cluster_counts == [5, 2]


def tied_features(kind, count=120):
    """Features whose pairs have few different distances: (N, d) float32."""
    rng = np.random.default_rng([3, count])
    if kind == "one-hot":
        return np.concatenate([np.eye(4)[rng.integers(4, size=count)] for _ in range(2)], axis=1)
    if kind == "binary":
        return np.unique(rng.integers(2, size=(count, 6)), axis=0)[1:]  # the first is zero
    return 1 + rng.integers(3, size=(count, 3))


@pytest.mark.parametrize("kind", ["one-hot", "binary", "counts"])
@pytest.mark.parametrize("classes", [2, 4, 7])
def test_balls_are_pure_where_many_distances_are_equal(kind, classes):
    """The radius is a distance that many pairs have.  Against all distances in float64, with equal
    ones made equal to the last bit."""
    x = torch.nn.functional.normalize(torch.from_numpy(tied_features(kind)).float())
    assigned = assign_clusters(x.numpy(), classes, probcover.KMEANS_SEED)
    between = probcover.distance_to_other_clusters(x, torch.from_numpy(assigned))
    radius = probcover.largest_pure_radius(between)
    balls = probcover.Balls(x, radius, torch.from_numpy(assigned), between)
    everything = torch.arange(len(x))
    contains = np.stack([balls.count_members(everything == i).numpy() > 0 for i in everything])
    apart = distances(unit_length(tied_features(kind))).round(5)
    different = assigned[:, None] != assigned
    # The largest distance at which at most a twentieth of the balls contains another cluster.
    nearest = np.where(different, apart, np.inf).min(axis=1)
    largest = max(r for r in nearest if (nearest < r).mean() <= 1 - probcover.PURITY)
    np.testing.assert_allclose(radius, largest, atol=1e-4)
    np.testing.assert_array_equal(contains, apart < largest)
    assert (contains & different).any(axis=1).mean() <= 1 - probcover.PURITY


@pytest.mark.parametrize("tile", [2**20, 200])
def test_members_of_balls(monkeypatch, tile):
    """With clusters, the counts are the same as without."""
    monkeypatch.setattr(probcover, "MAX_TILE_PRODUCTS", tile)
    x = torch.from_numpy(unit_length(make_clusters(copies=4)))
    assigned = torch.from_numpy(assign_clusters(x.numpy().astype(np.float32), 4, 0))
    apart = distances(x.numpy())
    other = np.where(assigned.numpy()[:, None] == assigned.numpy(), np.inf, apart).min(axis=1)
    between = probcover.distance_to_other_clusters(x, assigned)
    np.testing.assert_allclose(between, other, rtol=1e-6)
    images = torch.arange(150) % 3 == 0
    for radius in (0.3, 0.8, np.inf):
        expected = (apart < radius)[:, images.numpy()].sum(axis=1)
        for known in ((), (assigned, between)):
            counts = probcover.Balls(x, radius, *known).count_members(images)
            np.testing.assert_array_equal(counts, expected)
    counts = probcover.Balls(x.float(), 1e-9).count_members(images)
    assert (counts[images] > 0).all()  # an image is in its own ball, whatever the rounding


def test_one_cluster_of_duplicates():
    """All images are equal: whatever the method, the lowest indices are picked first."""
    x, probs = np.ones((12, 4), dtype=np.float32), np.full((12, 3), 1 / 3)
    for method in ("lp_coverage", "typiclust", "probcover", "maxherding", "uherding"):
        arrays = {"features": x, "pretrained_features": x, "probs": probs, "rng": None}
        for known in ([], [0, 7]):
            labels = np.full(12, -1)
            labels[known] = 1
            picks = select(method, **arrays, labels=labels, budget=12 - len(known))
            assert sorted(picks.tolist()) == [i for i in range(12) if i not in known]
            if method not in ("lp_coverage", "typiclust"):  # graph and clusters split duplicates
                assert picks.tolist() == sorted(picks)


def typiclust_reference(x, labels, budget):
    """TypiClust, one pick at a time."""
    x, picks = unit_length(x).astype(np.float32), []
    count = min((labels >= 0).sum() + budget, typiclust.MAX_CLUSTERS)
    assigned = assign_clusters(x, count, 0, fast_iterations=(0, 2))
    centres = np.stack([x[assigned == c].mean(axis=0) for c in range(count)]).astype(float)
    near = distances(centres).argsort(axis=1)[:, :4]  # a cluster and those next to it
    for _ in range(budget):
        taken = (labels >= 0) | np.isin(np.arange(len(x)), picks)
        best = None
        for c in range(count):
            members = np.flatnonzero(assigned == c)
            if taken[members].all():
                continue
            rank = (
                len(members) < typiclust.MIN_CLUSTER_SIZE,
                taken[members].sum(),
                -len(members),
                c,
            )
            if best is None or rank < best:
                best = rank
        members = np.flatnonzero(assigned == best[-1])
        around = np.flatnonzero(np.isin(assigned, near[best[-1]]))
        apart = distances(x.astype(float))[np.ix_(members, around)]
        means = np.sort(apart, axis=1)[:, 1:21].mean(axis=1)
        means[taken[members]] = np.inf
        picks.append(int(members[means.argmin()]))
    return picks


@pytest.mark.parametrize("known", [(), (3, 70, 71, 149)])
@pytest.mark.parametrize("max_clusters, budget", [(500, 10), (6, 60), (1, 20)])
def test_typiclust_picks_the_most_typical(monkeypatch, known, max_clusters, budget):
    """As many clusters as labels; fewer, so that they are revisited and used up; only one."""
    monkeypatch.setattr(typiclust, "MAX_CLUSTERS", max_clusters)
    x, labels = make_clusters(), some_labels(150, known)
    picks = select("typiclust", pretrained_features=x, labels=labels, budget=budget, rng=None)
    assert picks.tolist() == typiclust_reference(x, labels, budget)


def test_order_of_clusters():
    """Fewest labels and picks first, ties to the largest; a cluster of four images comes last."""
    sizes, labeled = np.array([5, 9, 4, 7]), np.array([0, 1, 0, 3])
    assert list(typiclust.cluster_order(sizes, labeled, 21)) == [
        *(0, 1, 0, 1, 0),  # cluster 0 has no label, then as many as 1, which is larger
        *(1, 3, 0, 1, 3, 0, 1, 3, 1, 3, 1, 1, 2, 2, 2, 2),
    ]


def test_nearest_clusters():
    centres = np.random.default_rng(0).normal(size=(9, 3)) * [5, 1, 1] + 2
    expected = distances(centres).argsort(axis=1)[:, 1:]
    assert (
        typiclust.nearest_clusters(centres) == expected[:, : typiclust.NUM_ADJACENT_CLUSTERS]
    ).all()
    three = typiclust.nearest_clusters(centres[:3])
    assert (three == distances(centres[:3]).argsort(axis=1)[:, 1:]).all()


@pytest.mark.parametrize("rng_seed, seed", [(None, 0), (3, 1742692731)])
def test_typiclust_seeds_k_means(monkeypatch, rng_seed, seed):
    seeds, rng = [], rng_seed and np.random.default_rng(rng_seed)
    monkeypatch.setattr(
        typiclust,
        "assign_clusters",
        lambda x, n, seed, **more: seeds.append(seed) or assign_clusters(x, n, 0),
    )
    select(
        "typiclust",
        pretrained_features=make_clusters(),
        labels=np.full(150, -1),
        budget=3,
        rng=rng,
    )
    assert seeds == [seed]


def test_cluster_members_are_ascending(monkeypatch):
    """With so many images that an unstable sort would reorder them."""
    clusters, rank_by_typicality = [], typiclust.rank_by_typicality
    monkeypatch.setattr(
        typiclust,
        "rank_by_typicality",
        lambda x, own, around: clusters.append(own) or rank_by_typicality(x, own, around),
    )
    x, labels = np.random.default_rng(0).normal(size=(2000, 4)), np.full(2000, -1)
    select("typiclust", pretrained_features=x, labels=labels, budget=9, rng=None)
    assert len(clusters) == 9 and all((np.diff(own) > 0).all() for own in clusters)


@pytest.mark.parametrize("copies", [1, 30])
def test_typicality_in_a_large_cluster(copies, monkeypatch):
    """The same ranking above MAX_KERNEL_VALUES, also with more duplicates than neighbours."""
    x, own = make_clusters().astype(np.float32), np.arange(0, 150, 3)
    around = [np.arange(1, 150, 3), np.arange(2, 60, 3)]
    x[own[-copies:]] = x[own[-1]]
    whole = typiclust.rank_by_typicality(x, own, around)
    monkeypatch.setattr(typiclust, "MAX_KERNEL_VALUES", 50 * 120 - 1)
    assert typiclust.rank_by_typicality(x, own, around).tolist() == whole.tolist()
    assert typiclust.rank_by_typicality(x, own[:1], []).tolist() == [0]


def test_duplicates_are_equally_typical():
    x = make_clusters(60)
    twice = np.concatenate([x, x[:1], x[:1]])
    order = typiclust.rank_by_typicality(twice, np.arange(62), []).tolist()
    assert order.index(60) == order.index(0) + 1 and order.index(61) == order.index(0) + 2


@pytest.mark.parametrize("known", COPIES.values(), ids=COPIES)
def test_uherding_is_maxherding_where_accuracy_is_chance(known):
    x, labels = make_clusters(copies=4), some_labels(150, known)
    probs = np.random.default_rng(1).dirichlet(np.full(3, 0.3), size=150)
    arrays = {"pretrained_features": x, "labels": labels, "budget": 146, "rng": None}
    picks = select("uherding", **arrays, probs=probs)
    apart = distances(unit_length(x))
    among = apart[np.ix_(known, known)]
    sigma = among[among > 1e-3].min() if known else 1.0
    assert_greedy(np.exp(-((apart / sigma) ** 2)), known, picks)


@pytest.mark.parametrize("wrong", [(43, 47), ()])
def test_uherding_weighs_by_calibrated_margins(wrong):
    """Ten labels: two in the wrong group, or all of one class, so that every nearest neighbour is
    correct.  The reference searches the temperature on a fine grid."""
    x, known = make_clusters(copies=4), np.arange(40, 50)
    group = assign_clusters(unit_length(x).astype(np.float32), 2, 0)
    labels = np.full(150, -1)
    labels[known] = group[known] if wrong else 0
    labels[list(wrong)] = 1 - labels[list(wrong)]
    probs = np.random.default_rng(1).dirichlet(np.full(3, 0.3), size=150).astype(np.float32)
    apart = distances(unit_length(x))
    among = apart[np.ix_(known, known)] + 9 * np.eye(10)
    correct = (labels[known][among.argmin(axis=1)] == labels[known]).sum()
    accuracy = (correct + 0.5) / 11
    assert 0.4 < accuracy < 0.9 if wrong else correct == 10

    def ascending_probs(tau):
        scaled = np.maximum(probs, np.finfo(np.float32).tiny).astype(float) ** (1 / tau)
        return np.sort(scaled / scaled.sum(axis=1, keepdims=True), axis=1)

    taus = np.geomspace(0.03, 30, 6000)
    tau = min(taus, key=lambda tau: abs(ascending_probs(tau)[labels < 0, -1].mean() - accuracy))
    weights = 1 - (ascending_probs(tau)[:, -1] - ascending_probs(tau)[:, -2])
    arrays = {"pretrained_features": x, "labels": labels, "rng": None, "probs": probs}
    picks = select("uherding", **arrays, budget=30)
    kernel = np.exp(-((apart / among.min()) ** 2))
    expected, _ = facility_location(kernel, known.tolist(), 30, weights)
    plain, _ = facility_location(kernel, known.tolist(), 30)
    assert np.isin(picks, expected).sum() >= 29 and np.isin(plain, expected).sum() < 29
    assert picks[:3].tolist() == expected[:3]


def test_temperature_makes_mean_confidence_equal_accuracy():
    logs = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(5), size=300)).log()
    for accuracy in (0.4, 0.7, 0.95):
        tau = uherding.calibrate_temperature(logs, accuracy)
        assert float((logs / tau).softmax(dim=1).amax(dim=1).mean()) == pytest.approx(accuracy)
    assert uherding.calibrate_temperature(logs, 0.2) == np.inf
    assert uherding.estimate_radius_and_accuracy(logs[:1], torch.tensor([1])) == (1.0, 0.0)
    x = torch.tensor([[0.0], [5e-4], [0.02], [1.0]])  # the first two count as duplicates
    radius, accuracy = uherding.estimate_radius_and_accuracy(x, torch.tensor([0, 0, 1, 1]))
    assert radius == pytest.approx(0.0195) and accuracy == pytest.approx(3.5 / 5)


def test_memory_of_max_herding_on_two_threads():
    """The whole kernel of 8,000 images would be 244 MiB.  It is computed in parts of 16 MiB, whose
    results must not keep their memory from being reused for the next part. How many parts exist at
    once depends on how the two threads take turns: on a busy machine 112 MiB were seen."""
    script = """
import numpy as np, torch
from tests.benchmarks.single_process import peak_mib
from al_methods import greedy_coverage
torch.set_num_threads(2)
greedy_coverage.MAX_KERNEL_VALUES = 2**22
x = torch.randn(8000, 16, generator=torch.Generator().manual_seed(0))
kernel = greedy_coverage.make_gaussian_kernel(x, 1.0)
before = peak_mib(reset=True)
greedy_coverage.select_covering_images(kernel, np.full(8000, -1), 5, torch.device("cpu"))
print(peak_mib() - before)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 160  # MiB
