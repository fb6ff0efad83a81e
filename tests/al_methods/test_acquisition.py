"""One contract for every method of the registry; each method against its slow twin."""

import ast
import dataclasses
import inspect

import numpy as np
import pytest
import torch

import al_methods
from al_methods import METHODS, coreset, jlp, select
from al_methods.spec import Method
from data.pool import Pool
from utils.diffusion import DiffusionSolver, diffuse
from utils.graph import affinity
from utils.options.option import Option, asked


def situation(n=120, d=6, classes=4, labeled=12, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    probs = rng.dirichlet(np.ones(classes), size=n).astype(np.float32)
    labels = np.full(n, -1)
    known = rng.permutation(n)[:labeled]
    labels[known] = rng.integers(classes, size=labeled)
    given = {"features": features, "probs": probs, "labels": labels}
    return given | {"pretrained_features": features[:, ::-1].copy()}


def inputs(method, **how):
    """A situation as far as the method is told of it: labels, and what it needs.

    What a new need looks like is said here."""
    given = situation(**how)
    rng, (count, classes) = np.random.default_rng(1), given["probs"].shape
    passes = rng.dirichlet(np.ones(classes), size=(count, 5)).astype(np.float32)
    classes = rng.integers(classes, size=(count, 3)).astype(np.float32)
    given |= {"stochastic_probs": passes, "dropped_classes": classes}
    return {name: given[name] for name in ("labels", *asked(METHODS[method].needs, {}))}


def test_the_registry_is_a_literal():
    tree = ast.parse(inspect.getsource(al_methods))
    literal = [n for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "METHODS"]
    assert isinstance(literal[0].value, ast.Dict)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("budget", [1, 2, 17, 108])
def test_contract(method, budget):
    given = inputs(method)
    before = {name: value.copy() for name, value in given.items()}
    picks = select(method, **given, budget=budget, rng=np.random.default_rng(3))
    assert picks.dtype == np.int64 and picks.shape == (budget,)
    assert len(set(picks.tolist())) == budget and (given["labels"][picks] == -1).all()
    again = select(method, **given, budget=budget, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(picks, again)
    tensors = {name: torch.from_numpy(value) for name, value in given.items()}
    again = select(method, **tensors, budget=budget, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(picks, again)
    for name, value in before.items():
        np.testing.assert_array_equal(given[name], value)


@pytest.mark.parametrize("kind", ["numpy", "torch", "pool"])
def test_a_method_cannot_write_to_the_labels(monkeypatch, kind):
    """Neither the pool's nor the caller's own."""

    def pick(*, labels, budget, rng):
        labels[0] = 1

    monkeypatch.setitem(METHODS, "writing", Method(pick))
    labels = np.full(4, -1)
    given = {
        "numpy": labels,
        "torch": torch.from_numpy(labels),
        "pool": Pool.make_unlabeled(4).labels,
    }
    with pytest.raises(ValueError, match="read-only"):
        select("writing", labels=given[kind], budget=1, rng=None)
    assert (np.asarray(given[kind]) == -1).all()


def test_a_method_may_need_what_nobody_here_knows(monkeypatch):
    seen = {}

    def pick(*, labels, budget, rng, depths, step=1):
        seen.update(depths=depths, step=step)
        return np.arange(budget)

    row = Method(pick, needs=("depths",), options=(Option("guest_step", 1, "", keyword="step"),))
    monkeypatch.setitem(METHODS, "new", row)
    given = {"labels": np.full(4, -1), "budget": 2, "rng": None, "depths": np.ones((4, 2))}
    assert select("new", **given, step=3).tolist() == [0, 1]
    assert seen["step"] == 3 and seen["depths"].dtype == torch.float32
    with pytest.raises(ValueError, match="new needs depths"):
        select("new", **given | {"depths": None})
    assert select("random", **given | {"rng": np.random.default_rng(0)}).shape == (2,)
    row = dataclasses.replace(row, substitutes={"depths": "heights"})
    monkeypatch.setitem(METHODS, "new", row)
    select("new", **given, heights=np.zeros((4, 2)))
    assert not seen["depths"].any()
    select("new", **given, heights=None)
    assert seen["depths"].all()


@pytest.mark.parametrize("method", METHODS)
def test_contract_refusals(method):
    given, rng = inputs(method), np.random.default_rng(0)
    for budget in (0, -1, 109):
        with pytest.raises(ValueError, match="budget"):
            select(method, **given, budget=budget, rng=rng)
    for name in asked(METHODS[method].needs, {}):
        with pytest.raises(ValueError, match=f"needs {name}"):
            select(method, **{**given, name: None}, budget=3, rng=rng)
        with pytest.raises(ValueError, match="one row for each"):
            select(method, **{**given, name: given[name][:-1]}, budget=3, rng=rng)
        broken = given[name].copy()
        broken[5] = np.nan
        with pytest.raises(ValueError, match="finite"):
            select(method, **{**given, name: broken}, budget=3, rng=rng)
    with pytest.raises(ValueError, match="does not read"):
        select(method, **given, budget=3, rng=rng, nonsense=1)
    with pytest.raises(ValueError, match="unknown method"):
        select("nonsense", **given, budget=3, rng=rng)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "random"])
def test_ties_go_to_the_lower_index(method):
    """Images come in exact pairs; of each pair that is wanted once, the first is picked."""
    given = inputs(method, n=40, labeled=0)
    given = {name: np.concatenate([value, value]) for name, value in given.items()}
    given["labels"][[3, 43]] = 0
    picks = select(method, **given, budget=1, rng=np.random.default_rng(0))
    assert picks[0] < 40


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["all the same", "a class nobody is", "certain", "no label"])
def test_contract_where_the_data_are_odd(method, kind):
    """The whole pool is asked for: every unlabeled image comes, and once."""
    given = inputs(method, n=30, labeled=0 if kind == "no label" else 5)
    for name in asked(METHODS[method].needs, {}):
        array = given[name]
        if kind == "all the same":
            array[:] = array[0]
        if array.shape[-1] == 4 and kind == "a class nobody is":  # of the four, of `situation`
            array[..., 2] = 0
            array /= array.sum(axis=-1, keepdims=True)
        if array.shape[-1] == 4 and kind == "certain":
            array[:] = np.eye(4)[array.argmax(axis=-1)]
    unlabeled = np.flatnonzero(given["labels"] < 0)
    picks = select(method, **given, budget=len(unlabeled), rng=np.random.default_rng(0))
    assert sorted(picks.tolist()) == unlabeled.tolist()


def test_random_is_uniform():
    given, rng = situation(n=20, labeled=5), np.random.default_rng(0)
    counts = np.zeros(20)
    for _ in range(3000):
        counts[select("random", **given, budget=3, rng=rng)] += 1
    open_ = given["labels"] < 0
    assert (counts[~open_] == 0).all()
    np.testing.assert_allclose(counts[open_] / 3000, 3 / 15, atol=0.03)  # four standard errors


def test_entropy_order_and_zero_probabilities():
    probs = np.array([[1, 0], [0.5, 0.5], [0.9, 0.1], [0.5, 0.5], [0, 1]], dtype=np.float32)
    picks = select("uncertainty_entropy", probs=probs, labels=np.full(5, -1), budget=5, rng=None)
    assert picks.tolist() == [1, 3, 2, 0, 4]


def test_entropies_that_are_close():
    """Apart by the last bit of a probability, less than single precision tells of their entropies;
    the last is the surest."""
    surer = np.random.default_rng(0).permutation(40)
    p = (0.51 + 2.0**-24 * surer).astype(np.float32)
    probs, labels = np.stack([p, 1 - p], axis=1), np.full(40, -1)
    picks = select("uncertainty_entropy", probs=probs, labels=labels, budget=40, rng=None)
    assert surer[picks].tolist() == list(range(40))


def k_center(features, labels, budget):
    """Ten lines of it."""
    centers, picks = list(np.flatnonzero(labels >= 0)), []
    for _ in range(budget):
        distances = np.linalg.norm(features[:, None] - features[centers][None], axis=2).min(axis=1)
        distances[centers] = -1
        picks.append(int(distances.argmax()))
        centers.append(picks[-1])
    return picks


@pytest.mark.parametrize("seed", range(3))
def test_coreset_is_greedy_k_center(seed):
    given = situation(seed=seed)
    picks = select("coreset", **given, budget=30, rng=None)
    assert picks.tolist() == k_center(given["features"].astype(float), given["labels"], 30)


def test_coreset_when_candidates_run_out():
    """More picks than are measured at once, where picks come in clumps that spoil each other."""
    rng = np.random.default_rng(0)
    x = (np.eye(6)[rng.integers(6, size=400)] * 3 + rng.normal(size=(400, 6)) * 0.1).astype("f4")
    labels = np.full(400, -1)
    labels[0] = 0
    picks = select("coreset", features=x, labels=labels, budget=200, rng=None)
    x, centers = x.astype(float), [0]
    for pick in picks:  # float32 squares of length 9 leave ties of 1e-5 undecided
        distances = ((x[:, None] - x[centers][None]) ** 2).sum(axis=2).min(axis=1)
        assert distances[pick] >= distances.max() - 1e-5
        centers.append(pick)


@pytest.mark.parametrize("known", [[], [0, 7]])
def test_coreset_picks_no_image_twice(known):
    """Every image the same, at distance zero of the labeled and of each other: all come in turn."""
    labels = np.full(12, -1)
    labels[known] = 0
    x = np.ones((12, 4), dtype=np.float32)
    picks = select("coreset", features=x, labels=labels, budget=12 - len(known), rng=None)
    assert picks.tolist() == [image for image in range(12) if image not in known]


@pytest.mark.parametrize("n, d, seed", [(61, 33, 2), (45, 15, 10), (37, 17, 7), (35, 15, 41)])
def test_coreset_picks_the_first_of_two_whose_products_are_rounded_apart(n, d, seed):
    """Exact pairs, of which the last images stand at the edge of a product and are rounded apart:
    the larger of the two distances was the second one's, with these seeds, once each."""
    x = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    labels = np.full(2 * n, -1)
    labels[0] = 0
    picks = select("coreset", features=np.tile(x, (2, 1)), labels=labels, budget=n - 1, rng=None)
    assert sorted(picks.tolist()) == list(range(1, n))


@pytest.mark.parametrize("largest", [1e-3, 1.0, 1e4])
def test_farthest_of_duplicates(largest):
    """Of the duplicates 1, 3, 4 and 6, in whatever order rounding has put them, the first that is
    not picked; 2 is as far within rounding, and no duplicate though it shares a coordinate."""
    x = torch.tensor([[0, 1], [2, 1], [2, 3], [2, 1], [2, 1], [5, 5], [2, 1]], dtype=torch.float32)
    rounding = 1e-6 * max(largest, 1) * torch.tensor([0, torch.inf, 1, 3, 2, 0, 0])
    nearest = largest * torch.tensor([0, 1, 1, 1, 1, 0.5, 1]) - rounding
    assert coreset._farthest_image(nearest, x) == 3
    nearest[1] = 0.5 * largest  # nearer by more than rounding
    assert coreset._farthest_image(nearest, x) == 3
    nearest[5] = 2 * largest
    assert coreset._farthest_image(nearest, x) == 5


def test_coreset_without_labels_starts_at_the_first_image():
    given = situation(labeled=0)
    assert select("coreset", **given, budget=2, rng=None)[0] == 0


@pytest.mark.parametrize("gamma, alpha", [(3, 0.99), (1, 0.99), (3, 0.8)])
def test_jlp_is_a_dense_solve_a_pick(gamma, alpha, caplog):
    given = situation()
    W = affinity(given["features"], k=10, gamma=gamma).toarray().astype(np.float64)
    y, expected = (given["labels"] >= 0).astype(float), []
    for _ in range(20):
        f = np.linalg.solve(np.eye(120) - alpha * W, y)
        expected.append(int(np.where(y == 0, f, np.inf).argmin()))
        y[expected[-1]] = 1
    options = {"budget": 20, "rng": None, "k": 10, "gamma": gamma, "alpha": alpha}
    caplog.set_level("INFO")
    assert select("jlp", **given, **options).tolist() == expected
    assert not caplog.records  # the labels do reach
    with pytest.raises(ValueError, match="unknown search"):
        select("jlp", **given, **options, search="fast")


def test_jlp_columns_only_raise_f():
    """Both ends of a chain, solved together, leave each other's rounding at the far end: below
    zero, it would pull f under that of the images that nothing reaches."""
    chain = np.exp(-((np.arange(400)[:, None] * 0.25 - np.arange(100)) ** 2))
    system = DiffusionSolver(affinity(chain, k=6), 0.9)
    ends = np.r_[: jlp.MAX_BLOCK_COLUMNS // 2, 400 - jlp.MAX_BLOCK_COLUMNS // 2 : 400]
    f = np.where(np.isin(np.arange(400), ends), 0.0, 1.0)
    columns = jlp._solve_columns(system, f, np.arange(400), {}, jlp.MAX_BLOCK_COLUMNS)
    assert list(columns) == ends.tolist()
    assert system.solve(np.eye(400, dtype=np.float32)[:, ends]).min() < 0
    assert min(column.min() for column in columns.values()) == 0


def test_jlp_in_many_blocks():
    """More picks than columns are kept, against a solve a pick."""
    given = situation(n=400, d=4, labeled=40)
    W = affinity(given["features"], k=8).toarray().astype(np.float64)
    y, expected = (given["labels"] >= 0).astype(float), []
    inverse = np.linalg.inv(np.eye(400) - 0.99 * W)
    for _ in range(200):
        f = inverse @ y
        expected.append(int(np.where(y == 0, f, np.inf).argmin()))
        y[expected[-1]] = 1
    picks = select(
        "jlp", features=given["features"], labels=given["labels"], budget=200, rng=None, k=8
    )
    assert len(set(picks) & set(expected)) >= 198


def test_jlp_in_parts_that_do_not_touch():
    """Five components, labels in one: f is zero in another until an image there is picked, though
    their columns are solved together."""
    features = situation(n=150, d=4)["features"]
    apart = np.zeros((150, 20), dtype=np.float32)
    for i in range(150):
        apart[i, 4 * (i % 5) : 4 * (i % 5) + 4] = np.abs(features[i])
    labels = np.where(np.arange(150) % 5 == 2, np.arange(150) % 10, -1)
    labels[20:] = -1
    W = affinity(apart, k=6).toarray().astype(np.float64)
    inverse = np.maximum(np.linalg.inv(np.eye(150) - 0.99 * W), 0)
    y, expected = (labels >= 0).astype(float), []
    for _ in range(30):
        f = inverse @ y
        expected.append(int(np.where(y == 0, f, np.inf).argmin()))
        y[expected[-1]] = 1
    picks = select("jlp", features=apart, labels=labels, budget=30, rng=None, k=6)
    assert picks.tolist() == expected


def test_jlp_takes_what_no_label_reaches_first():
    """Two components, one without a label: all its images have f = 0, the lowest index wins."""
    features = np.eye(2, dtype=np.float32)[[0] * 6 + [1] * 6]
    labels = np.array([0] + [-1] * 11)
    assert select("jlp", features=features, labels=labels, budget=1, rng=None, k=3)[0] == 6
    assert (diffuse(affinity(features, 3), (labels >= 0).astype(float))[6:] == 0).all()
