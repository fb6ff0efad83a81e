"""Our methods compared with those of scikit-activeml on the same inputs, in one process.

The objective of both sides' picks is computed by one function and averaged over the runs:

    TypiClust         mean over the picks of 1 / mean distance to the 20 nearest images (more)
    ProbCover         share of the images that balls of the peer's radius cover (more)
    BADGE             sum of squared distances of gradient embeddings to the nearest pick (less)
    MaxHerding        mean over the images of the largest kernel to a label or pick (more)
    core-set          largest distance of an image to its nearest label or pick (less)
    DropQuery         mean squared distance of the unlabeled images to the nearest pick (less)

In brackets: whether more or less is better.
"""

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import mean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from al_methods import select
from tests.benchmarks.harness import compare, one_thread
from tests.benchmarks.synthetic_features import features_and_classes, hide_labels
from training.network_outputs import DROPQUERY_PASSES, KEEP_PROBABILITY, predict_dropout_classes

IS_INSTALLED = importlib.util.find_spec("skactiveml") is not None
MAX_IMAGES = 10_000  # the peer's kernels of 50,000 images would take 20 GB
NUM_LABELS, NUM_PICKS = 100, 100
RUNS, FEW_RUNS = 9, 3  # few where the peer takes seconds
NEIGHBORS = 20  # of TypiClust


class Setting:
    """Features of unit length, a few labels, and a linear head that is fitted to them."""

    def __init__(self, n: int, d: int = 128):
        from skactiveml.classifier import SklearnClassifier
        from sklearn.linear_model import LogisticRegression

        self.x, truth = features_and_classes(n, d)
        self.labels = hide_labels(truth, NUM_LABELS)
        self.peer_labels = np.where(self.labels < 0, np.nan, self.labels)
        self.features = torch.from_numpy(self.x)
        self.unlabeled = np.flatnonzero(self.labels < 0)
        self.classifier = SklearnClassifier(LogisticRegression(C=100), classes=range(10))
        self.classifier.fit(self.x, self.peer_labels)
        head = self.classifier.estimator_
        self.weight, self.bias = (
            torch.from_numpy(np.ascontiguousarray(array)).float()  # like those of a layer
            for array in (head.coef_, head.intercept_)
        )

    def probs(self) -> torch.Tensor:
        return F.linear(self.features, self.weight, self.bias).softmax(dim=1)

    def predict_with_dropout(self) -> torch.Tensor:
        """(N, M): the predictions of the head for features with dropout."""
        return predict_dropout_classes(
            self.features, lambda rows: F.linear(rows, self.weight, self.bias)
        )

    def our_picks(self, method: str, seed: int, **inputs: Any) -> np.ndarray:
        """Inputs that are functions are called here, so that the time includes them."""
        inputs = {name: value() if callable(value) else value for name, value in inputs.items()}
        rng = np.random.default_rng(seed)
        return select(method, labels=self.labels, budget=NUM_PICKS, rng=rng, **inputs)

    def peer_picks(self, strategy: Any, **arguments: Any) -> np.ndarray:
        """The picks of a query strategy, which stores what it has learned about the features."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picks = strategy.query(self.x, self.peer_labels, batch_size=NUM_PICKS, **arguments)
            return np.asarray(picks)

    def squared_distances_to_nearest(self, points: np.ndarray, picks: np.ndarray) -> np.ndarray:
        """From each of the points (N, D) to the nearest of those at `picks`: (N,) float64."""
        tensor = torch.from_numpy(points).double()
        return torch.cdist(tensor, tensor[picks]).amin(dim=1).square().numpy()

    def labels_and_picks(self, picks: np.ndarray) -> np.ndarray:
        return np.concatenate([np.flatnonzero(self.labels >= 0), picks])


def typicality(setting: Setting, picks: np.ndarray) -> float:
    x = setting.features.double()
    nearest = torch.cdist(x[picks], x).topk(NEIGHBORS + 1, largest=False).values[:, 1:]
    return float((1 / nearest.mean(dim=1)).mean())


def ball_coverage(setting: Setting, picks: np.ndarray, radius: float) -> float:
    centres = setting.labels_and_picks(picks)
    return float((setting.squared_distances_to_nearest(setting.x, centres) <= radius**2).mean())


def potential(setting: Setting, picks: np.ndarray) -> float:
    probs = setting.probs().numpy()
    errors = probs - np.eye(probs.shape[1])[probs.argmax(axis=1)]
    embeddings = (errors[:, :, None] * setting.x[:, None, :]).reshape(len(probs), -1)
    return float(setting.squared_distances_to_nearest(embeddings, picks)[setting.unlabeled].sum())


def kernel_coverage(setting: Setting, picks: np.ndarray) -> float:
    centres = setting.labels_and_picks(picks)
    return float(np.exp(-setting.squared_distances_to_nearest(setting.x, centres)).mean())


def covering_radius(setting: Setting, picks: np.ndarray) -> float:
    centres = setting.labels_and_picks(picks)
    return float(setting.squared_distances_to_nearest(setting.x, centres).max() ** 0.5)


def spread(setting: Setting, picks: np.ndarray) -> float:
    return float(setting.squared_distances_to_nearest(setting.x, picks)[setting.unlabeled].mean())


@dataclass
class Comparison:
    """One method of both sides.

    ours, peer: seed -> picks; objective_name, objective: the value of picks; ours_for_objective:
    seed -> our picks under the conditions of the peer, if the objective needs these; is_fast:
    whether the peer takes less than seconds."""

    ours: Callable[[int], np.ndarray]
    peer: Callable[[int], np.ndarray]
    objective_name: str
    objective: Callable[[np.ndarray], float]
    ours_for_objective: Callable[[int], np.ndarray] | None = None
    is_fast: bool = True


def make_comparisons(setting: Setting) -> dict[str, Comparison]:
    from skactiveml import pool

    def make(
        method: str,
        inputs: dict[str, Any],
        strategy: Callable[..., Any],
        objective_name: str,
        objective: Callable[[Setting, np.ndarray], float],
        *,
        parameters: dict[str, Any] | None = None,
        arguments: dict[str, Any] | None = None,
        is_fast: bool = True,
    ) -> Comparison:
        """parameters, arguments: of the peer's strategy and of its query."""
        return Comparison(
            lambda seed: setting.our_picks(method, seed, **inputs),
            lambda seed: setting.peer_picks(
                strategy(random_state=seed, **parameters or {}), **arguments or {}
            ),
            objective_name,
            partial(objective, setting),
            is_fast=is_fast,
        )

    features = {"features": setting.features}
    pretrained = {"pretrained_features": setting.features}
    with_probs = {**features, "probs": setting.probs}
    with_dropout = {**with_probs, "dropped_classes": setting.predict_with_dropout}
    head = {"clf": setting.classifier, "fit_clf": False}
    passes = {"n_dropout_samples": DROPQUERY_PASSES, "dropout_rate": 1 - KEEP_PROBABILITY}
    kernel = {"metric_dict": {"gamma": 1.0}}  # our σ
    return {
        "TypiClust": make(
            "typiclust",
            pretrained,
            pool.TypiClust,
            "typicality",
            typicality,
            parameters={"k": NEIGHBORS},
        ),
        "ProbCover": compare_ball_coverage(setting, pool.ProbCover),
        "BADGE": make("badge", with_probs, pool.Badge, "potential", potential, arguments=head),
        "MaxHerding": make(
            "maxherding",
            pretrained,
            pool.MaxHerding,
            "coverage",
            kernel_coverage,
            parameters=kernel,
            is_fast=False,
        ),
        "core-set": make("coreset", features, pool.CoreSet, "radius", covering_radius),
        "DropQuery": make(
            "dropquery",
            with_dropout,
            pool.DropQuery,
            "spread",
            spread,
            parameters=passes,
            arguments=head,
        ),
    }


def compare_ball_coverage(setting: Setting, strategy: Callable[..., Any]) -> Comparison:
    """ProbCover: each side finds its own radius; both are compared at the peer's, which is chosen
    from a coarse grid."""
    inputs = {"pretrained_features": setting.features, "num_classes": 10}
    radii: list[float] = []

    def peer(seed: int) -> np.ndarray:
        query_strategy = strategy(n_classes=10, random_state=seed)
        picks = setting.peer_picks(query_strategy)
        radii.append(float(query_strategy.delta_max_))
        return picks

    return Comparison(
        lambda seed: setting.our_picks("probcover", seed, **inputs),
        peer,
        "coverage",
        lambda picks: ball_coverage(setting, picks, radii[-1]),
        lambda seed: setting.our_picks("probcover", seed, **inputs, coverage_radius=radii[-1]),
        is_fast=False,
    )


def bench_peer(n: int) -> Iterator[dict[str, Any]]:
    """One row per method, on one core; none if the peer is not installed."""
    if not IS_INSTALLED:
        print("scikit-activeml is not installed (pip install --group bench): not compared")
        return
    with one_thread():
        setting = Setting(min(n, MAX_IMAGES))
        for name, comparison in make_comparisons(setting).items():
            yield make_row(name, comparison, len(setting.x))


def make_row(name: str, comparison: Comparison, n: int) -> dict[str, Any]:
    our_picks: list[np.ndarray] = []
    peer_picks: list[np.ndarray] = []

    def describe_objectives(*_: object) -> str:
        ours = our_picks
        if comparison.ours_for_objective:
            ours = [comparison.ours_for_objective(0)]
        values = [mean(map(comparison.objective, picks)) for picks in (ours, peer_picks)]
        return f"{comparison.objective_name} {values[0]:.4g} and {values[1]:.4g}"

    return compare(
        f"{name}, {n} images, peer",
        lambda: our_picks.append(comparison.ours(len(our_picks))),
        lambda: peer_picks.append(comparison.peer(len(peer_picks))),
        runs=RUNS if comparison.is_fast else FEW_RUNS,
        check=describe_objectives,
        target="10",
        warm_up=comparison.is_fast,
    )
