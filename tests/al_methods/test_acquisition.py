"""One contract for every method of the registry; each method against a slow reference."""

import ast
import dataclasses
import inspect
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import al_methods
from al_methods import METHODS, coreset, jlp, select
from al_methods.spec import Method
from data.pool import Pool
from utils.diffusion import DiffusionSolver, diffuse
from utils.graph import affinity
from utils.graph.graph_options import GraphViewOptions
from utils.options.converters import positive_integer
from utils.options.option import OptionGroup, option, resolve_needs


def random_pool(n=120, d=6, classes=4, labeled=12, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    probs = rng.dirichlet(np.ones(classes), size=n).astype(np.float32)
    labels = np.full(n, -1)
    known = rng.permutation(n)[:labeled]
    labels[known] = rng.integers(classes, size=labeled)
    arrays = {"features": features, "probs": probs, "labels": labels}
    return arrays | {"pretrained_features": features[:, ::-1].copy()}


def inputs(method, **settings):
    """The labels of a random pool and the inputs that the method needs.

    An input that no earlier method needed is added here."""
    arrays = random_pool(**settings)
    rng, (count, classes) = np.random.default_rng(1), arrays["probs"].shape
    passes = rng.dirichlet(np.ones(classes), size=(count, 5)).astype(np.float32)
    classes = rng.integers(classes, size=(count, 3)).astype(np.float32)
    arrays |= {"stochastic_probs": passes, "dropped_classes": classes}
    return {name: arrays[name] for name in ("labels", *needs_of(method))}


def needs_of(method):
    return resolve_needs(METHODS[method].needs, {"views": GraphViewOptions()})


def test_registry_is_a_literal_dict():
    tree = ast.parse(inspect.getsource(al_methods))
    literal = [n for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "METHODS"]
    assert isinstance(literal[0].value, ast.Dict)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("budget", [1, 2, 17, 108])
def test_contract(method, budget):
    arrays = inputs(method)
    before = {name: value.copy() for name, value in arrays.items()}
    picks = select(method, **arrays, budget=budget, rng=np.random.default_rng(3))
    assert picks.dtype == np.int64 and picks.shape == (budget,)
    assert len(set(picks.tolist())) == budget and (arrays["labels"][picks] == -1).all()
    again = select(method, **arrays, budget=budget, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(picks, again)
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    again = select(method, **tensors, budget=budget, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(picks, again)
    for name, value in before.items():
        np.testing.assert_array_equal(arrays[name], value)


@pytest.mark.parametrize("kind", ["numpy", "torch", "pool"])
def test_method_cannot_write_to_labels(monkeypatch, kind):
    """Neither to the pool's labels nor to the caller's own."""

    def pick(*, labels, budget, rng):
        labels[0] = 1

    monkeypatch.setitem(METHODS, "writing", Method(pick))
    labels = np.full(4, -1)
    labels_by_kind = {
        "numpy": labels,
        "torch": torch.from_numpy(labels),
        "pool": Pool.make_unlabeled(4).labels,
    }
    with pytest.raises(ValueError, match="read-only"):
        select("writing", labels=labels_by_kind[kind], budget=1, rng=None)
    assert (np.asarray(labels_by_kind[kind]) == -1).all()


@dataclass(frozen=True)
class StepOptions(OptionGroup):
    plugin_step: int = option(1, "Step.", type=positive_integer)


def test_method_with_a_new_kind_of_input_and_option(monkeypatch):
    received = {}

    def pick(*, labels, budget, rng, depths, step: StepOptions):
        received.update(depths=depths, step=step.plugin_step)
        return np.arange(budget)

    entry = Method(pick, needs=("depths",))
    monkeypatch.setitem(METHODS, "new", entry)
    arrays = {"labels": np.full(4, -1), "budget": 2, "rng": None, "depths": np.ones((4, 2))}
    assert select("new", **arrays, plugin_step=3).tolist() == [0, 1]
    assert received["step"] == 3 and received["depths"].dtype == torch.float32
    select("new", **arrays)
    assert received["step"] == 1
    with pytest.raises(ValueError, match="new needs depths"):
        select("new", **arrays | {"depths": None})
    assert select("random", **arrays | {"rng": np.random.default_rng(0)}).shape == (2,)
    entry = dataclasses.replace(entry, substitutes={"depths": "heights"})
    monkeypatch.setitem(METHODS, "new", entry)
    select("new", **arrays, heights=np.zeros((4, 2)))
    assert not received["depths"].any()
    select("new", **arrays, heights=None)
    assert received["depths"].all()


@pytest.mark.parametrize("method", METHODS)
def test_contract_refusals(method):
    arrays, rng = inputs(method), np.random.default_rng(0)
    for budget in (0, -1, 109):
        with pytest.raises(ValueError, match="budget"):
            select(method, **arrays, budget=budget, rng=rng)
    for name in needs_of(method):
        with pytest.raises(ValueError, match=f"needs {name}"):
            select(method, **{**arrays, name: None}, budget=3, rng=rng)
        with pytest.raises(ValueError, match="one row per label"):
            select(method, **{**arrays, name: arrays[name][:-1]}, budget=3, rng=rng)
        broken = arrays[name].copy()
        broken[5] = np.nan
        with pytest.raises(ValueError, match="finite"):
            select(method, **{**arrays, name: broken}, budget=3, rng=rng)
    with pytest.raises(ValueError, match="does not read"):
        select(method, **arrays, budget=3, rng=rng, nonsense=1)
    with pytest.raises(ValueError, match="unknown method"):
        select("nonsense", **arrays, budget=3, rng=rng)


SCORING = ("uncertainty_entropy", "least_confidence", "margin", "bald", "badge", "probcover")
FIRST_OF_EQUALS = (
    *("coreset", "dropquery", "jlp", "lp_coverage", "typiclust", "maxherding", "uherding"),
)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "random"])
def test_ties(method):
    """Images come in exact pairs.  Where picks follow from one score per image, either image of a
    pair is picked; in FIRST_OF_EQUALS it is the first."""
    arrays = inputs(method, n=40, labeled=0)
    arrays = {name: np.concatenate([value, value]) for name, value in arrays.items()}
    arrays["labels"][[3, 43]] = 0
    picks = [
        int(select(method, **arrays, budget=1, rng=np.random.default_rng(seed))[0])
        for seed in range(1 if method in FIRST_OF_EQUALS else 12)
    ]
    assert min(picks) < 40
    if method in SCORING:
        assert max(picks) >= 40
    elif method in FIRST_OF_EQUALS:
        assert max(picks) < 40


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["all the same", "impossible class", "certain", "no label"])
def test_contract_on_degenerate_data(method, kind):
    """With the whole pool as budget, every unlabeled image is picked exactly once."""
    arrays = inputs(method, n=30, labeled=0 if kind == "no label" else 5)
    for name in needs_of(method):
        array = arrays[name]
        if kind == "all the same":
            array[:] = array[0]
        if array.shape[-1] == 4 and kind == "impossible class":  # one of the four of `random_pool`
            array[..., 2] = 0
            array /= array.sum(axis=-1, keepdims=True)
        if array.shape[-1] == 4 and kind == "certain":
            array[:] = np.eye(4)[array.argmax(axis=-1)]
    unlabeled = np.flatnonzero(arrays["labels"] < 0)
    picks = select(method, **arrays, budget=len(unlabeled), rng=np.random.default_rng(0))
    assert sorted(picks.tolist()) == unlabeled.tolist()


def test_random_is_uniform():
    arrays, rng = random_pool(n=20, labeled=5), np.random.default_rng(0)
    counts = np.zeros(20)
    for _ in range(3000):
        counts[select("random", **arrays, budget=3, rng=rng)] += 1
    unlabeled = arrays["labels"] < 0
    assert (counts[~unlabeled] == 0).all()
    np.testing.assert_allclose(counts[unlabeled] / 3000, 3 / 15, atol=0.03)  # 4 standard errors


def test_entropy_order_and_zero_probabilities():
    probs = np.array([[1, 0], [0.5, 0.5], [0.9, 0.1], [0.5, 0.5], [0, 1]], dtype=np.float32)
    picks = select("uncertainty_entropy", probs=probs, labels=np.full(5, -1), budget=5, rng=None)
    assert picks.tolist() == [1, 3, 2, 0, 4]


def test_entropies_that_float32_cannot_distinguish():
    """Probabilities differ in their last bit, and their entropies by less than float32 resolves."""
    rank = np.random.default_rng(0).permutation(40)  # the largest is the most certain
    p = (0.51 + 2.0**-24 * rank).astype(np.float32)
    probs, labels = np.stack([p, 1 - p], axis=1), np.full(40, -1)
    picks = select("uncertainty_entropy", probs=probs, labels=labels, budget=40, rng=None)
    assert rank[picks].tolist() == list(range(40))


def k_center(features, labels, budget):
    """Greedy k-center in ten lines."""
    centers, picks = list(np.flatnonzero(labels >= 0)), []
    for _ in range(budget):
        distances = np.linalg.norm(features[:, None] - features[centers][None], axis=2).min(axis=1)
        distances[centers] = -1
        picks.append(int(distances.argmax()))
        centers.append(picks[-1])
    return picks


@pytest.mark.parametrize("seed", range(3))
def test_coreset_is_greedy_k_center(seed):
    arrays = random_pool(seed=seed)
    picks = select("coreset", **arrays, budget=30, rng=None)
    assert picks.tolist() == k_center(arrays["features"].astype(float), arrays["labels"], 30)


def test_coreset_when_candidates_run_out():
    """More picks than one product covers, in clusters where each pick makes its neighbours near."""
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
    """All images are equal, so every distance is zero: they are picked in order."""
    labels = np.full(12, -1)
    labels[known] = 0
    x = np.ones((12, 4), dtype=np.float32)
    picks = select("coreset", features=x, labels=labels, budget=12 - len(known), rng=None)
    assert picks.tolist() == [image for image in range(12) if image not in known]


@pytest.mark.parametrize("n, d, seed", [(61, 33, 2), (45, 15, 10), (37, 17, 7), (35, 15, 41)])
def test_coreset_picks_the_first_duplicate_in_spite_of_rounding(n, d, seed):
    """Exact pairs of which the last images are at the edge of a matrix product and rounded
    differently: with each of these seeds, one duplicate seems farther than the first image."""
    x = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    labels = np.full(2 * n, -1)
    labels[0] = 0
    picks = select("coreset", features=np.tile(x, (2, 1)), labels=labels, budget=n - 1, rng=None)
    assert sorted(picks.tolist()) == list(range(1, n))


@pytest.mark.parametrize("largest", [1e-3, 1.0, 1e4])
def test_farthest_of_duplicates(largest):
    """Of the duplicates 1, 3, 4 and 6, the first that is not picked yet, in whatever order rounding
    puts them.  Image 2 is equally far within rounding, but not a duplicate."""
    x = torch.tensor([[0, 1], [2, 1], [2, 3], [2, 1], [2, 1], [5, 5], [2, 1]], dtype=torch.float32)
    rounding = 1e-6 * max(largest, 1) * torch.tensor([0, torch.inf, 1, 3, 2, 0, 0])
    nearest = largest * torch.tensor([0, 1, 1, 1, 1, 0.5, 1]) - rounding
    assert coreset._farthest_image(nearest, x) == 3
    nearest[1] = 0.5 * largest  # nearer by more than rounding
    assert coreset._farthest_image(nearest, x) == 3
    nearest[5] = 2 * largest
    assert coreset._farthest_image(nearest, x) == 5


def test_coreset_without_labels_starts_at_the_first_image():
    arrays = random_pool(labeled=0)
    assert select("coreset", **arrays, budget=2, rng=None)[0] == 0


@pytest.mark.parametrize("gamma, alpha", [(3, 0.99), (1, 0.99), (3, 0.8)])
def test_jlp_equals_one_dense_solve_per_pick(gamma, alpha, caplog):
    arrays = random_pool()
    W = affinity(arrays["features"], k=10, gamma=gamma).toarray().astype(np.float64)
    y, expected = (arrays["labels"] >= 0).astype(float), []
    for _ in range(20):
        f = np.linalg.solve(np.eye(120) - alpha * W, y)
        expected.append(int(np.where(y == 0, f, np.inf).argmin()))
        y[expected[-1]] = 1
    options = {"budget": 20, "rng": None, "k": 10, "gamma": gamma, "alpha": alpha}
    caplog.set_level("INFO")
    assert select("jlp", **arrays, **options).tolist() == expected
    assert not caplog.records  # no message that no label reaches the others
    with pytest.raises(ValueError, match="unknown search"):
        select("jlp", **arrays, **options, knn="fast")


def test_jlp_columns_only_raise_f():
    """Both ends of a chain are solved together, and the rounding of one leaves negative values at
    the other.  Unclipped, these would lower f below that of the images that nothing reaches."""
    chain = np.exp(-((np.arange(400)[:, None] * 0.25 - np.arange(100)) ** 2))
    system = DiffusionSolver(affinity(chain, k=6), 0.9)
    ends = np.r_[: jlp.MAX_BLOCK_COLUMNS // 2, 400 - jlp.MAX_BLOCK_COLUMNS // 2 : 400]
    columns = jlp._solve_columns(system, np.ones(400), ends.tolist(), {}, jlp.MAX_BLOCK_COLUMNS)
    assert list(columns) == ends.tolist()
    assert system.solve(np.eye(400, dtype=np.float32)[:, ends]).min() < 0
    assert min(column.min() for column in columns.values()) == 0


def test_jlp_in_many_blocks():
    """More picks than cached columns, compared with one solve per pick."""
    arrays = random_pool(n=400, d=4, labeled=40)
    W = affinity(arrays["features"], k=8).toarray().astype(np.float64)
    y, expected = (arrays["labels"] >= 0).astype(float), []
    inverse = np.linalg.inv(np.eye(400) - 0.99 * W)
    for _ in range(200):
        f = inverse @ y
        expected.append(int(np.where(y == 0, f, np.inf).argmin()))
        y[expected[-1]] = 1
    picks = select(
        "jlp", features=arrays["features"], labels=arrays["labels"], budget=200, rng=None, k=8
    )
    assert len(set(picks) & set(expected)) >= 198


def test_jlp_on_disconnected_components():
    """Five components, labels in one.  f is zero in another component until an image there is
    picked, although the columns of all components are solved together."""
    features = random_pool(n=150, d=4)["features"]
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


def test_jlp_first_picks_where_no_label_reaches():
    """Of two components one has no label: all its images have f = 0, and the lowest index wins."""
    features = np.eye(2, dtype=np.float32)[[0] * 6 + [1] * 6]
    labels = np.array([0] + [-1] * 11)
    assert select("jlp", features=features, labels=labels, budget=1, rng=None, k=3)[0] == 6
    assert (diffuse(affinity(features, 3), (labels >= 0).astype(float))[6:] == 0).all()
