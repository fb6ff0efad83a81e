"""Ours against scikit-activeml: the same features, probabilities and budget, in one process.

The objective of either side's picks is measured by one function, its mean over the runs; beside
each stands which way is better:

    TypiClust         mean over the picks of 1 / mean distance to the 20 nearest images (more)
    ProbCover         share of the images that balls of the peer's radius cover (more)
    BADGE             sum of squared distances of gradient embeddings to the nearest pick (less)
    MaxHerding        mean over the images of the largest kernel to a label or pick (more)
    core-set          largest distance of an image to its nearest label or pick (less)
    DropQuery         mean squared distance of the unlabeled images to the nearest pick (less)
"""

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import mean

import numpy as np
import torch
import torch.nn.functional as F

from al_methods import select
from tests.benchmarks.harness import compare, one_thread
from tests.benchmarks.synthetic_features import features_and_classes, some_labels
from training.network_outputs import DROPQUERY_PASSES, KEEP_PROBABILITY, predict_dropout_classes

INSTALLED = importlib.util.find_spec("skactiveml") is not None
AT_MOST = 10_000  # images; the peer's kernels of 50,000 would take 20 GB
LABELS, PICKS = 100, 100
RUNS, FEW_RUNS = 9, 3  # few where the peer takes seconds
NEIGHBORS = 20  # of TypiClust


class Problem:
    """Unit-length features, labels of a few images, and a linear head that was fitted to those."""

    def __init__(self, n: int, d: int = 128):
        from skactiveml.classifier import SklearnClassifier
        from sklearn.linear_model import LogisticRegression

        self.x, truth = features_and_classes(n, d)
        self.labels = some_labels(truth, LABELS)
        self.y = np.where(self.labels < 0, np.nan, self.labels)  # the peer's
        self.tensor, self.unlabeled = torch.from_numpy(self.x), np.flatnonzero(self.labels < 0)
        self.classifier = SklearnClassifier(LogisticRegression(C=100), classes=range(10))
        self.classifier.fit(self.x, self.y)
        fitted = self.classifier.estimator_
        self.weight, self.bias = (
            torch.from_numpy(np.ascontiguousarray(part)).float()  # as a layer's are
            for part in (fitted.coef_, fitted.intercept_)
        )

    def probs(self) -> torch.Tensor:
        return F.linear(self.tensor, self.weight, self.bias).softmax(dim=1)

    def dropped_classes(self) -> torch.Tensor:
        """(N, M): what the head predicts of features under dropout."""
        return predict_dropout_classes(
            self.tensor, lambda rows: F.linear(rows, self.weight, self.bias)
        )

    def ours(self, method: str, seed: int, **given) -> np.ndarray:
        """Given functions are called, so that what they give is in the time."""
        given = {name: value() if callable(value) else value for name, value in given.items()}
        rng = np.random.default_rng(seed)
        return select(method, labels=self.labels, budget=PICKS, rng=rng, **given)

    def peer(self, strategy, **given) -> np.ndarray:
        """The strategy's picks; it keeps what it has learned of the features."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(strategy.query(self.x, self.y, batch_size=PICKS, **given))

    def to_nearest(self, points: np.ndarray, picks: np.ndarray) -> np.ndarray:
        """Squared distances of points (N, D) to the nearest of picks: (N,) float64."""
        points = torch.from_numpy(points).double()
        return torch.cdist(points, points[picks]).amin(dim=1).square().numpy()

    def held(self, picks) -> np.ndarray:
        return np.concatenate([np.flatnonzero(self.labels >= 0), picks])


def typicality(problem: Problem, picks) -> float:
    x = problem.tensor.double()
    nearest = torch.cdist(x[picks], x).topk(NEIGHBORS + 1, largest=False).values[:, 1:]
    return float((1 / nearest.mean(dim=1)).mean())


def covered(problem: Problem, picks, radius: float) -> float:
    return float((problem.to_nearest(problem.x, problem.held(picks)) <= radius**2).mean())


def potential(problem: Problem, picks) -> float:
    probs = problem.probs().numpy()
    errors = probs - np.eye(probs.shape[1])[probs.argmax(axis=1)]
    embeddings = (errors[:, :, None] * problem.x[:, None, :]).reshape(len(probs), -1)
    return float(problem.to_nearest(embeddings, picks)[problem.unlabeled].sum())


def herded(problem: Problem, picks) -> float:
    return float(np.exp(-problem.to_nearest(problem.x, problem.held(picks))).mean())


def k_center(problem: Problem, picks) -> float:
    return float(problem.to_nearest(problem.x, problem.held(picks)).max() ** 0.5)


def spread(problem: Problem, picks) -> float:
    return float(problem.to_nearest(problem.x, picks)[problem.unlabeled].mean())


@dataclass
class Pair:
    """One method: seed -> picks of either side; what their objective is called, its value of picks,
    and, where our picks are measured on the peer's terms, those picks."""

    ours: Callable
    peer: Callable
    called: str
    objective: Callable
    on_its_terms: Callable | None = None
    quick: bool = True


def pairs(problem: Problem) -> dict[str, Pair]:
    from skactiveml import pool

    x, probs, head = problem.tensor, problem.probs, {"clf": problem.classifier, "fit_clf": False}
    features, pretrained = {"features": x}, {"pretrained_features": x}
    passes = {"n_dropout_samples": DROPQUERY_PASSES, "dropout_rate": 1 - KEEP_PROBABILITY}

    def pair(method, given, strategy, called, objective, options=None, asked=None, quick=True):
        return Pair(
            lambda seed: problem.ours(method, seed, **given),
            lambda seed: problem.peer(strategy(random_state=seed, **options or {}), **asked or {}),
            called,
            partial(objective, problem),
            quick=quick,
        )

    with_head, dropped = {**features, "probs": probs}, {"dropped_classes": problem.dropped_classes}
    kernel = {"metric_dict": {"gamma": 1.0}}  # σ of ours
    return {
        "TypiClust": pair(
            "typiclust", pretrained, pool.TypiClust, "typicality", typicality, {"k": NEIGHBORS}
        ),
        "ProbCover": cover_by_balls(problem, pool.ProbCover),
        "BADGE": pair("badge", with_head, pool.Badge, "potential", potential, asked=head),
        "MaxHerding": pair(
            "maxherding", pretrained, pool.MaxHerding, "coverage", herded, kernel, quick=False
        ),
        "core-set": pair("coreset", features, pool.CoreSet, "radius", k_center),
        "DropQuery": pair(
            "dropquery", with_head | dropped, pool.DropQuery, "spread", spread, passes, head
        ),
    }


def cover_by_balls(problem: Problem, strategy) -> Pair:
    """Each side finds a radius of its own; the peer's, on a coarse grid, is what both cover with
    where they are compared."""
    given = {"pretrained_features": problem.tensor, "num_classes": 10}
    radius = []

    def peer(seed):
        found = strategy(n_classes=10, random_state=seed)
        picks = problem.peer(found)
        radius.append(float(found.delta_max_))
        return picks

    return Pair(
        lambda seed: problem.ours("probcover", seed, **given),
        peer,
        "coverage",
        lambda picks: covered(problem, picks, radius[-1]),
        lambda seed: problem.ours("probcover", seed, **given, radius=radius[-1]),
        quick=False,
    )


def bench_peer(n: int) -> Iterator[dict]:
    """A row a method, on one core; none where the peer is not installed."""
    if not INSTALLED:
        print("scikit-activeml is not installed (requirements-bench.txt): not compared")
        return
    with one_thread():
        problem = Problem(min(n, AT_MOST))
        for name, pair in pairs(problem).items():
            yield row(name, pair, len(problem.x))


def row(name: str, pair: Pair, n: int) -> dict:
    ours, theirs = [], []

    def check(*_):
        mine = [pair.on_its_terms(0)] if pair.on_its_terms else ours
        values = [mean(map(pair.objective, picks)) for picks in (mine, theirs)]
        return "{} {:.4g} and {:.4g}".format(pair.called, *values)

    return compare(
        f"{name}, {n} images, peer",
        lambda: ours.append(pair.ours(len(ours))),
        lambda: theirs.append(pair.peer(len(theirs))),
        runs=RUNS if pair.quick else FEW_RUNS,
        check=check,
        wanted="10",
        warm=pair.quick,
    )
