"""Label propagation: pseudo-labels for the unlabeled images from the graph of all.

Source: Iscen, Tolias, Avrithis & Chum, "Label propagation for deep semi-supervised learning", CVPR
2019, section 4; used at every cycle of active learning by Siméoni et al., ICPR 2020, section 3.

    Y (N, C)   1/n_c on the n_c labeled images of class c
    Z (N, C)   (I − αW) Z = Y, negatives set to zero, rows made to sum to one
    ŷ_i        argmax_c z_ic
    ω_i        1 − H(z_i) / log C, divided by the largest
               with a balance, first z_ic <- c_c z_ic, so that the rows, made to sum to one again,
               have the class masses Σ_i z_ic that are wanted (Sinkhorn & Knopp, Pacific Journal of
               Mathematics 21, 1967)
    ζ_c        (images in use / C) / images in use of class c                      (class weights)
"""

from typing import NamedTuple

import numpy as np

from data.pool import Pool, Targets, targets_from_labels
from semisup.certainty import certainty
from utils.arrays import as_numpy
from utils.diffusion import diffuse
from utils.graph import affinity
from utils.ranking import top_candidates

PSEUDO_LABEL_MODES = ("full", "certain", "prob", "uniform")
BALANCE_MODES = ("none", "uniform", "labels")
BALANCE_TOLERANCE, MAX_BALANCE_STEPS = (
    1e-3,
    1000,
)  # of a balance: the relative error of a class's mass, and the most steps
MIN_CLASS_SCALE = 1e-6  # beside the largest: where no balance can be had, scales only grow apart


class Propagation(NamedTuple):
    """What the graph says of every image."""

    labels: np.ndarray  # (N,) int64; -1 where no label reaches
    weights: np.ndarray  # (N,) float32 in [0, 1]; 0 where no label reaches
    scores: np.ndarray  # (N, C) float32, rows sum to one; a zero row where no label reaches
    balance_failed: bool = False  # whether a balance was wanted that cannot be had


def propagate(
    features, labels, num_classes, *, alpha=0.99, balance="none", search="auto", **graph
) -> Propagation:
    """Propagate the known labels to all images.

    features: (N, d), or a sequence of such views; labels: (N,) int64, -1 where unknown; graph,
    search: of utils.graph.affinity; balance: do the classes get masses that are all the same
    ("uniform"), or as those of the labels ("labels")? -> Propagation, in which the labeled images
    keep their label with weight 1.  Raises ValueError where a label is not a class."""
    labels = as_numpy(labels, np.int64)
    if labels.max(initial=-1) >= num_classes:
        raise ValueError(f"label {labels.max()} is not one of {num_classes} classes")
    labeled = np.flatnonzero(labels >= 0)
    members = np.bincount(labels[labeled], minlength=num_classes)  # n_c
    Y = np.zeros((len(labels), num_classes), dtype=np.float32)
    Y[labeled, labels[labeled]] = 1 / members[labels[labeled]]
    W = affinity(features, search=search, **graph)
    Z = np.maximum(as_numpy(diffuse(W, Y, alpha)), 0)
    unbalanced = False
    if balance != "none":
        found = balance_classes(Z, members if balance == "labels" else members > 0)
        Z, unbalanced = (Z, True) if found is None else (found, False)
    mass = Z.sum(axis=1, keepdims=True)
    reached = mass[:, 0] > 0
    scores = np.divide(Z, mass, out=np.zeros_like(Z), where=mass > 0)
    weights = np.where(reached, certainty(scores), 0).astype(np.float32)
    weights /= max(weights.max(initial=0), np.finfo(np.float32).tiny)
    pseudo = np.where(reached, scores.argmax(axis=1), -1)
    pseudo[labeled], weights[labeled] = labels[labeled], 1
    return Propagation(pseudo, weights, scores, unbalanced)


def balance_classes(Z: np.ndarray, prior: np.ndarray) -> np.ndarray | None:
    """Columns rescaled until the rows, each divided by its sum, have class masses ∝ prior.

    Z: (N, C) float32, not negative; prior: (C,), 0 for a class without a label -> (N, C) float32.
    None where no rescaling can do it, as where a class alone reaches more images than it is to
    have: it would lose all that it shares, however sure they are."""
    rows = Z[Z.any(axis=1)].astype(np.float64)
    classes = np.flatnonzero((prior > 0) & rows.any(axis=0))
    result = np.zeros_like(Z)
    if not len(classes):
        return result
    wanted = prior[classes] / prior[classes].sum()
    scale = np.ones(len(classes))
    for _ in range(MAX_BALANCE_STEPS):
        scaled = rows[:, classes] * scale
        found = (scaled / scaled.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(found / wanted - 1).max() < BALANCE_TOLERANCE:
            result[:, classes] = Z[:, classes] * scale
            return result
        scale *= wanted / np.maximum(found, np.finfo(float).tiny)
        scale /= scale.max()
        if scale.min() < MIN_CLASS_SCALE:
            return None
    return None


def targets_from_propagation(
    found: Propagation,
    pool: Pool,
    rng: np.random.Generator,
    *,
    mode: str = "prob",
    percent: float = 0.5,
    tau: float = 0.0,
    weighted: bool = True,
    class_weighted: bool = False,
    loss_type: str = "ce",
    by_weight: bool = False,
) -> Targets:
    """Which images to train on after a propagation, and how.

    mode: which unlabeled images are used, n = round(|U| · percent) of them: "full" all, "certain"
    the n of largest weight, "prob" n drawn without replacement with probability ∝ weight,
    "uniform" n drawn uniformly; of these, those of weight >= tau.  An image that no label reaches
    never is.  weighted: weights enter the loss; class_weighted: ζ too; loss_type "kl": the
    propagated distributions are the target; by_weight: an image is drawn as often as its weight
    says, whether or not that enters the loss too.  Where no image can be used the targets are the
    labels alone.  Raises ValueError for an unknown mode."""
    chosen = _select_unlabeled(found.weights, pool.labels < 0, mode, percent, rng)
    chosen = chosen[found.weights[chosen] >= tau]
    given = targets_from_labels(pool, found.scores.shape[1])
    labels, weights, scores = given.labels.copy(), given.weights.copy(), None
    labels[chosen] = found.labels[chosen]
    weights[chosen] = found.weights[chosen] if weighted else 1
    if loss_type == "kl":
        scores = found.scores.copy()
        scores[pool.labeled_indices] = np.eye(scores.shape[1])[pool.labels[pool.labeled_indices]]
    class_weights = class_balance(labels, len(given.class_weights))
    if not class_weighted:
        class_weights = given.class_weights
    return Targets(labels, weights, class_weights, scores, found.weights if by_weight else None)


def _select_unlabeled(weights, unlabeled, mode, percent, rng) -> np.ndarray:
    """Indices of the unlabeled images that a mode uses."""
    if mode not in PSEUDO_LABEL_MODES:
        raise ValueError(f"unknown mode {mode!r}: one of {', '.join(PSEUDO_LABEL_MODES)}")
    usable = np.flatnonzero(unlabeled & (weights > 0))
    if mode == "full" or not len(usable):  # nobody can be drawn where nobody is
        return usable
    count = min(round(float(unlabeled.sum() * percent)), len(usable))
    if mode == "certain":
        return np.sort(top_candidates(weights, count, usable))
    odds = weights[usable].astype(np.float64) if mode == "prob" else np.ones(len(usable))
    return np.sort(rng.choice(usable, size=count, replace=False, p=odds / odds.sum()))


def class_balance(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """ζ_c of the images in use; 1 for a class that has none.

    labels: (N,) int64, -1 where not used -> (C,) float32."""
    members = np.bincount(labels[labels >= 0], minlength=num_classes)
    return np.where(members, members.sum() / num_classes / np.maximum(members, 1), 1).astype(
        np.float32
    )
