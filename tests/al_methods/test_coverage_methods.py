"""The methods that look at features alone, each against a slow twin from its formula."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from al_methods import balls, greedy_coverage, lp_coverage, probcover, select, typiclust, uherding
from tests.conftest import ROOT
from utils.graph import affinity
from utils.kmeans import assign_clusters

LP = {"k": 8, "gamma": 3, "alpha": 0.95}


def clumps(n=150, d=6, groups=7, seed=0, copies=0):
    """Features in groups of unequal size, the first `copies` images twice."""
    rng = np.random.default_rng(seed)
    centers, weights = rng.normal(size=(groups, d)), rng.dirichlet(np.full(groups, 2.0))
    x = centers[rng.choice(groups, size=n, p=weights)] + 0.4 * rng.normal(size=(n, d))
    x[n - copies :] = x[:copies]
    return x.astype(np.float32)


def some_labels(n=150, known=(), classes=3):
    """Labels of a few images; no image of the last of the classes is among them."""
    labels = np.full(n, -1)
    labels[list(known)] = np.arange(len(known)) % (classes - 1)
    return labels


def facility_location(kernel, known, budget, weights=None):
    """Greedy, and looks at every image before each pick.  -> picks, gain of every image a pick"""
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
    """Every pick is the first of those that gain most, but for rounding."""
    assert len(set(picks)) == len(picks) and not set(picks) & set(known)
    for i, pick in enumerate(picks):
        _, (gain,) = facility_location(kernel, [*known, *picks[:i]], 1, weights)
        assert gain[pick] >= gain.max() * (1 - 2e-5) - 2e-6
        assert pick <= np.flatnonzero(gain >= gain.max() * (1 - 1e-7) - 1e-9)[0]


def open_questions(x, labels, k, gamma, alpha):
    """The weights of lp_coverage, image by image."""
    W = affinity(x, k, gamma).toarray().astype(float)
    K, classes = np.linalg.inv(np.eye(len(W)) - alpha * W), sorted(set(labels[labels >= 0]))
    if len(classes) < 2:
        return np.ones(len(x))
    weights = []
    for row in K:
        shares = sorted(np.mean([row[i] for i in np.flatnonzero(labels == c)]) for c in classes)
        weights.append(0.25 + 0.75 * (1 - (shares[-1] - shares[-2]) / sum(shares)))
    return np.array(weights)


def diffusion_kernel(x, k, gamma, alpha):
    W = affinity(x, k, gamma).toarray().astype(float)
    K = np.linalg.inv(np.eye(len(W)) - alpha * W)
    return K / np.sqrt(np.outer(K.diagonal(), K.diagonal()))


KNOWN = {"no label": (), "some": (3, 70, 71, 149), "more": (3, 4, 5, 6, 70, 71, 149)}


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("how", ["dense", "dense, gains renewed", "by columns"])
def test_lp_coverage_is_greedy_facility_location(monkeypatch, how, known):
    """With an estimated diagonal, up to a hundredth of what the twin covers."""
    x = clumps()
    if "renewed" in how:  # those of all images at once
        monkeypatch.setattr(greedy_coverage, "CANDIDATE_BATCH", 1)
    kernel = diffusion_kernel(x, **LP)
    if how == "by columns":
        monkeypatch.setattr(lp_coverage, "MAX_DENSE_IMAGES", 10)
    labels = some_labels(150, known)
    weights = open_questions(x, labels, **LP)
    picks = select("lp_coverage", features=x, labels=labels, budget=40, rng=None, **LP)
    expected, _ = facility_location(kernel, list(known), 40, weights)
    if "dense" in how:
        assert_greedy(kernel, known, picks, weights)
    both = [kernel[[*known, *some]].max(axis=0) @ weights for some in (picks, expected)]
    assert both[0] >= 0.99 * both[1] and (len(set(weights)) > 1) == bool(known)


def test_one_class_leaves_all_questions_open():
    x = clumps()
    system = lp_coverage.DiffusionSolver(affinity(x, 8), 0.95)
    labels = some_labels(150, [3, 70], classes=2)
    assert set(labels) == {-1, 0} and (lp_coverage.margin_weights(system, labels) == 1).all()
    apart = np.eye(3, dtype=np.float32)[[0] * 4 + [1] * 6 + [2]]
    system = lp_coverage.DiffusionSolver(affinity(apart, 3), 0.95)
    labels = np.array([0] + [-1] * 3 + [1] + [-1] * 6)
    weights = lp_coverage.margin_weights(system, labels)
    np.testing.assert_allclose(weights, [0.25] * 10 + [1])  # no doubt, and none reaches the last


def test_lp_coverage_from_few_columns(monkeypatch):
    """A quarter of the columns is solved, and 98 % of the dense greedy's coverage is met."""
    x, solved = clumps(600, groups=30), []
    monkeypatch.setattr(lp_coverage, "MAX_DENSE_IMAGES", 10)
    monkeypatch.setattr(lp_coverage, "MAX_SOLVED_ENTRIES", 600 * 100)
    monkeypatch.setattr(lp_coverage, "NUM_PROBE_IMAGES", 20)
    columns = lp_coverage._diffusion_columns

    def counted(system, images):
        solved.append(len(images))
        return columns(system, images)

    monkeypatch.setattr(lp_coverage, "_diffusion_columns", counted)
    given = {"features": x, "labels": np.full(600, -1), "rng": None}
    picks = select("lp_coverage", **given, budget=30, **LP)
    assert 60 <= sum(solved) <= 150
    kernel = diffusion_kernel(x, **LP)
    expected, _ = facility_location(kernel, [], 30)
    assert kernel[picks].max(axis=0).sum() >= 0.98 * kernel[expected].max(axis=0).sum()


def test_the_diagonal_that_is_estimated():
    x = clumps(400)
    W = affinity(x, 8)
    K = np.linalg.inv(np.eye(400) - 0.9 * W.toarray().astype(float))
    scale = lp_coverage._estimate_scale(
        lp_coverage.as_torch_csr(W), lp_coverage.DiffusionSolver(W, 0.9)
    )
    np.testing.assert_allclose(scale.numpy(), 1 / np.sqrt(K.diagonal()), rtol=0.1)


@pytest.mark.parametrize("dense", [True, False])
def test_lp_coverage_in_parts_that_do_not_touch(monkeypatch, dense):
    """Of two groups of duplicates and an image alone, one of each is picked, the largest first."""
    monkeypatch.setattr(lp_coverage, "MAX_DENSE_IMAGES", 100 if dense else 2)
    x = np.eye(3, dtype=np.float32)[[0] * 4 + [1] * 6 + [2]]
    given = {"features": x, "labels": np.full(11, -1), "rng": None}
    picks = select("lp_coverage", **given, budget=11, k=3)
    assert [set(map(int, x[p].nonzero()[0])) for p in picks[:3]] == [{1}, {0}, {2}]
    assert sorted(picks.tolist()) == list(range(11))


def test_lp_coverage_says_what_it_covers(caplog):
    x = clumps()
    with caplog.at_level("INFO", logger="al.lp_coverage"):
        picks = select("lp_coverage", features=x, labels=some_labels(), budget=9, rng=None, **LP)
    value = diffusion_kernel(x, **LP)[picks].max(axis=0).mean()
    assert f"0 labels and 9 picks cover {value:.4f} of 150 images" in caplog.text


def test_lp_coverage_had_rather_have_the_features_of_before_any_label():
    x, other = clumps(seed=1), clumps(seed=2)
    given = {"labels": some_labels(known=[5]), "budget": 8, "rng": None}
    alone = select("lp_coverage", features=x, **given)
    both = select("lp_coverage", features=other, pretrained_features=x, **given)
    assert both.tolist() == alone.tolist()


def test_lp_coverage_on_both_features():
    """None stands in for the other, and each has the agreement of its own."""
    x, other = clumps(seed=1), clumps(seed=2)
    given = {"labels": some_labels(known=[5]), "budget": 8, "rng": None}
    both = {"view_weights": "agreement", "features_agreement": 0.1}
    both |= {"features": x, "pretrained_features": other, "pretrained_features_agreement": 0.3}
    found = select("lp_coverage", **given, **both, views="features,pretrained_features")
    wanted = [
        lp_coverage.pick(
            **given, features=torch.tensor(a), pixels=torch.tensor(b), graph_views="features,pixels",
            features_agreement=torch.tensor(0.1), pixels_agreement=torch.tensor(0.3),
        ).tolist()
        for a, b in ((x, other), (other, other))
    ]  # fmt: skip
    assert found.tolist() == wanted[0] != wanted[1]
    pixels = {"pixels": other, "pixels_agreement": 0.3}
    found = select("lp_coverage", **given, **(both | pixels), views="features,pixels")
    lone = {"features": other, "features_agreement": 0.3, "view_weights": "agreement"}
    wanted = select("lp_coverage", **given, **lone, **pixels, views="features,pixels")
    assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize("width", [0.2, 3.0])
@pytest.mark.parametrize("block", [2**23, 700])
def test_greedy_is_the_slow_greedy(monkeypatch, width, block):
    """Narrow kernels, where candidates are looked at again, and wide ones, where all gains are
    brought up to date; some images of weight zero."""
    monkeypatch.setattr(greedy_coverage, "MAX_KERNEL_VALUES", block)
    monkeypatch.setattr(greedy_coverage, "CANDIDATE_BATCH", 4)
    x = clumps(copies=10).astype(float)
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


def unit(x):
    return x.astype(float) / np.linalg.norm(x, axis=1, keepdims=True)


def distances(x):
    return np.sqrt(((x[:, None] - x) ** 2).sum(axis=2))


COPIES = {"no label": (), "some": (3, 70, 71, 149)}  # 3 and 149 are duplicates


@pytest.mark.parametrize("budget, batch", [(30, 64), (146, 64), (100, 1)])
@pytest.mark.parametrize("known", COPIES.values(), ids=COPIES)
def test_maxherding_is_greedy_generalised_coverage(monkeypatch, known, budget, batch):
    monkeypatch.setattr(greedy_coverage, "CANDIDATE_BATCH", batch)
    x, labels = clumps(copies=4), some_labels(150, known)
    picks = select("maxherding", pretrained_features=x, labels=labels, budget=budget, rng=None)
    assert_greedy(np.exp(-(distances(unit(x)) ** 2)), known, picks)


@pytest.mark.parametrize("known", COPIES.values(), ids=COPIES)
def test_probcover_is_a_greedy_cover_by_balls(known):
    """Also when everything is covered: then the lowest indices."""
    x, labels = clumps(copies=4), some_labels(150, known)
    given = {"pretrained_features": x, "labels": labels, "rng": None}
    picks = select("probcover", **given, budget=100, radius=0.4)
    kernel = (distances(unit(x)) < 0.4).astype(float)
    expected, gains = facility_location(kernel, list(known), 100)
    assert picks.tolist() == expected and gains[0].max() > 5 and gains[-1].max() == 0


def test_probcover_takes_the_largest_balls_that_are_pure(monkeypatch):
    x = clumps(200)
    assigned = assign_clusters(unit(x).astype(np.float32), 5, probcover.KMEANS_SEED)
    apart, same = distances(unit(x)), assigned[:, None] == assigned

    def purity(radius):
        return (same | (apart >= radius)).all(axis=1).mean()

    between = balls.distance_to_other_clusters(
        torch.from_numpy(unit(x)), torch.from_numpy(assigned)
    )
    radius = probcover.largest_pure_radius(between)
    assert purity(radius * (1 - 1e-6)) >= 0.95 > purity(radius * (1 + 1e-6))
    given = {"pretrained_features": x, "labels": np.full(200, -1), "budget": 20, "rng": None}
    picks = select("probcover", **given, num_classes=5)
    assert picks.tolist() == select("probcover", **given, radius=radius).tolist()
    seen, asked = some_labels(200, [0, 5, 9], classes=6), []
    seen[9] = 4  # five classes by their largest number
    monkeypatch.setattr(
        probcover,
        "assign_clusters",
        lambda x, n, seed: asked.append(n) or assign_clusters(x, n, seed),
    )
    for labels in (seen, given["labels"]):
        assert len(select("probcover", **given | {"labels": labels})) == 20
    assert asked == [5, 2]


@pytest.mark.parametrize("tile", [2**20, 200])
def test_what_balls_hold(monkeypatch, tile):
    """Within clusters and across them where they touch, as without clusters."""
    monkeypatch.setattr(balls, "MAX_TILE_PRODUCTS", tile)
    x = torch.from_numpy(unit(clumps(copies=4)))
    assigned = torch.from_numpy(assign_clusters(x.numpy().astype(np.float32), 4, 0))
    apart = distances(x.numpy())
    other = np.where(assigned.numpy()[:, None] == assigned.numpy(), np.inf, apart).min(axis=1)
    between = balls.distance_to_other_clusters(x, assigned)
    np.testing.assert_allclose(between, other, rtol=1e-6)
    some = torch.arange(150) % 3 == 0
    for radius in (0.3, 0.8, np.inf):
        expected = (apart < radius)[:, some.numpy()].sum(axis=1)
        for known in ((), (assigned, between)):
            held = balls.Balls(x, radius, *known).count_members(some)
            np.testing.assert_array_equal(held, expected)
    one = balls.Balls(x.float(), 1e-9).count_members(some)  # its own image, whatever is rounded
    assert (one[some] > 0).all()


def test_one_cluster_of_duplicates():
    """Nothing to tell apart: whatever the method, the picks are in order."""
    x, probs = np.ones((12, 4), dtype=np.float32), np.full((12, 3), 1 / 3)
    for method in ("lp_coverage", "typiclust", "probcover", "maxherding", "uherding"):
        given = {"features": x, "pretrained_features": x, "probs": probs, "rng": None}
        for known in ([], [0, 7]):
            labels = np.full(12, -1)
            labels[known] = 1
            picks = select(method, **given, labels=labels, budget=12 - len(known))
            assert sorted(picks.tolist()) == [i for i in range(12) if i not in known]
            if method not in ("lp_coverage", "typiclust"):  # whose graph and clusters cut them up
                assert picks.tolist() == sorted(picks)


def most_typical(x, labels, budget):
    """TypiClust, a pick at a time."""
    x, picks = unit(x).astype(np.float32), []
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
@pytest.mark.parametrize("most, budget", [(500, 10), (6, 60), (1, 20)])
def test_typiclust_takes_the_most_typical(monkeypatch, known, most, budget):
    """Clusters as many as labels, and fewer, so that they come again and are used up; a single
    one."""
    monkeypatch.setattr(typiclust, "MAX_CLUSTERS", most)
    x, labels = clumps(), some_labels(150, known)
    picks = select("typiclust", pretrained_features=x, labels=labels, budget=budget, rng=None)
    assert picks.tolist() == most_typical(x, labels, budget)


def test_the_turns_of_clusters():
    """Fewest labels and picks first, then the largest; five images are enough, four come last."""
    sizes, held = np.array([5, 9, 4, 7]), np.array([0, 1, 0, 3])
    assert list(typiclust.cluster_order(sizes, held, 21)) == [
        *(0, 1, 0, 1, 0),  # 0 has none, then one as 1 has, of which 1 is the larger
        *(1, 3, 0, 1, 3, 0, 1, 3, 1, 3, 1, 1, 2, 2, 2, 2),
    ]


def test_the_clusters_next_to_one():
    centres = np.random.default_rng(0).normal(size=(9, 3)) * [5, 1, 1] + 2
    expected = distances(centres).argsort(axis=1)[:, 1:]
    assert (
        typiclust.nearest_clusters(centres) == expected[:, : typiclust.NUM_ADJACENT_CLUSTERS]
    ).all()
    three = typiclust.nearest_clusters(centres[:3])
    assert (three == distances(centres[:3]).argsort(axis=1)[:, 1:]).all()


@pytest.mark.parametrize("given, seed", [(None, 0), (3, 1742692731)])
def test_typiclust_seeds_k_means(monkeypatch, given, seed):
    asked, rng = [], given and np.random.default_rng(given)
    monkeypatch.setattr(
        typiclust,
        "assign_clusters",
        lambda x, n, seed, **more: asked.append(seed) or assign_clusters(x, n, 0),
    )
    select("typiclust", pretrained_features=clumps(), labels=np.full(150, -1), budget=3, rng=rng)
    assert asked == [seed]


def test_members_come_in_order(monkeypatch):
    """Of so many images that a sort which is not stable would mix them."""
    asked, by_typicality = [], typiclust.rank_by_typicality
    monkeypatch.setattr(
        typiclust,
        "rank_by_typicality",
        lambda x, own, *by: asked.append(own) or by_typicality(x, own, *by),
    )
    x, labels = np.random.default_rng(0).normal(size=(2000, 4)), np.full(2000, -1)
    select("typiclust", pretrained_features=x, labels=labels, budget=9, rng=None)
    assert len(asked) == 9 and all((np.diff(own) > 0).all() for own in asked)


@pytest.mark.parametrize("copies", [1, 30])
def test_typicality_in_a_large_cluster(copies, monkeypatch):
    """Where all distances would be too many: the same, also of more duplicates than neighbours."""
    x, own = clumps().astype(np.float32), np.arange(0, 150, 3)
    around = [np.arange(1, 150, 3), np.arange(2, 60, 3)]
    x[own[-copies:]] = x[own[-1]]
    whole = typiclust.rank_by_typicality(x, own, around)
    monkeypatch.setattr(typiclust, "MAX_KERNEL_VALUES", 50 * 120 - 1)
    assert typiclust.rank_by_typicality(x, own, around).tolist() == whole.tolist()
    assert typiclust.rank_by_typicality(x, own[:1], []).tolist() == [0]


def test_duplicates_are_equally_typical():
    x = clumps(60)
    twice = np.concatenate([x, x[:1], x[:1]])
    order = typiclust.rank_by_typicality(twice, np.arange(62), []).tolist()
    assert order.index(60) == order.index(0) + 1 and order.index(61) == order.index(0) + 2


@pytest.mark.parametrize("known", COPIES.values(), ids=COPIES)
def test_uherding_is_maxherding_where_accuracy_is_chance(known):
    x, labels = clumps(copies=4), some_labels(150, known)
    probs = np.random.default_rng(1).dirichlet(np.full(3, 0.3), size=150)
    given = {"pretrained_features": x, "labels": labels, "budget": 146, "rng": None}
    picks = select("uherding", **given, probs=probs)
    apart = distances(unit(x))
    among = apart[np.ix_(known, known)]
    sigma = among[among > 1e-3].min() if known else 1.0
    assert_greedy(np.exp(-((apart / sigma) ** 2)), known, picks)


@pytest.mark.parametrize("wrong", [(43, 47), ()])
def test_uherding_weighs_by_calibrated_margins(wrong):
    """Ten labels, two in the wrong group, or all of one class, so that each one's neighbour is
    right; the temperature from a fine grid."""
    x, known = clumps(copies=4), np.arange(40, 50)
    group = assign_clusters(unit(x).astype(np.float32), 2, 0)
    labels = np.full(150, -1)
    labels[known] = group[known] if wrong else 0
    labels[list(wrong)] = 1 - labels[list(wrong)]
    probs = np.random.default_rng(1).dirichlet(np.full(3, 0.3), size=150).astype(np.float32)
    apart = distances(unit(x))
    among = apart[np.ix_(known, known)] + 9 * np.eye(10)
    right = (labels[known][among.argmin(axis=1)] == labels[known]).sum()
    accuracy = (right + 0.5) / 11
    assert 0.4 < accuracy < 0.9 if wrong else right == 10

    def at(tau):
        scaled = np.maximum(probs, np.finfo(np.float32).tiny).astype(float) ** (1 / tau)
        return np.sort(scaled / scaled.sum(axis=1, keepdims=True), axis=1)

    taus = np.geomspace(0.03, 30, 6000)
    tau = min(taus, key=lambda tau: abs(at(tau)[labels < 0, -1].mean() - accuracy))
    weights = 1 - (at(tau)[:, -1] - at(tau)[:, -2])
    given = {"pretrained_features": x, "labels": labels, "rng": None, "probs": probs}
    picks = select("uherding", **given, budget=30)
    kernel = np.exp(-((apart / among.min()) ** 2))
    expected, _ = facility_location(kernel, known.tolist(), 30, weights)
    plain, _ = facility_location(kernel, known.tolist(), 30)
    assert np.isin(picks, expected).sum() >= 29 and np.isin(plain, expected).sum() < 29
    assert picks[:3].tolist() == expected[:3]


def test_the_temperature_makes_confidence_the_accuracy():
    logs = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(5), size=300)).log()
    for accuracy in (0.4, 0.7, 0.95):
        tau = uherding.calibrate_temperature(logs, accuracy)
        assert float((logs / tau).softmax(dim=1).amax(dim=1).mean()) == pytest.approx(accuracy)
    assert uherding.calibrate_temperature(logs, 0.2) == np.inf
    assert uherding.estimate_radius_and_accuracy(logs[:1], torch.tensor([1])) == (1.0, 0.0)
    x = torch.tensor([[0.0], [5e-4], [0.02], [1.0]])  # the first two are taken for duplicates
    near, right = uherding.estimate_radius_and_accuracy(x, torch.tensor([0, 0, 1, 1]))
    assert near == pytest.approx(0.0195) and right == pytest.approx(3.5 / 5)


def test_the_memory_of_max_herding_on_two_threads():
    """8,000 images, whose whole kernel would be 244 MiB, in parts of 16: what is kept of each part
    must not keep the memory of the next."""
    script = """
import numpy as np, torch
from tests.benchmarks.single_process import peak
from al_methods.greedy_coverage import cover_images, gaussian
from utils import coverage
torch.set_num_threads(2)
coverage.BLOCK = 2**22
kernel = gaussian(torch.randn(8000, 16, generator=torch.Generator().manual_seed(0)), 1.0)
before = peak(afresh=True)
cover_images(kernel, np.full(8000, -1), 5, "cpu")
print(peak() - before)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 100  # MiB
