"""Label propagation: pseudo-labels for the unlabeled images from a graph of all images.

Source: Iscen, Tolias, Avrithis & Chum, "Label propagation for deep semi-supervised learning", CVPR
2019, section 4; used in every cycle of active learning by Siméoni et al., ICPR 2020, section 3.

    Z (N, C)   scores of a solver, by default the diffusion, rows scaled to sum to one
    ŷ_i        argmax_c z_ic, the pseudo-label
    ω_i        1 − H(z_i) / log C, divided by the largest, the weight
    ζ_c        (images in use / C) / images in use of class c, the class weight

With a balance, z_ic is first multiplied by a scale per class, chosen so that the class masses
Σ_i z_ic, after the rows are scaled to sum to one again, have the required proportions (Sinkhorn &
Knopp, Pacific Journal of Mathematics 21, 1967).  The balance "auto" is no balance or equal masses,
whichever leaves more of the graph's weight within classes (`class_association`).  It knows no
true label and is often wrong: docs/rivals.md has what it costs and what else was tried.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import scipy.special
import torch

from data.pool import Pool, Targets, targets_from_labels
from semisup.class_masses import balance_classes
from semisup.propagation_solvers import SOLVERS
from utils.arrays import as_numpy
from utils.diffusion import as_torch_csr
from utils.graph import affinity
from utils.ranking import tie_order, top_candidates
from utils.sparse_products import sparse_product

PSEUDO_LABEL_MODES = ("full", "certain", "prob", "uniform")
BALANCE_MODES = ("none", "uniform", "labels", "auto")
AUTO_BALANCES = ("none", "uniform")  # what "auto" chooses from; the first where both are equal

Array = np.ndarray | torch.Tensor


class Propagation(NamedTuple):
    """What the propagation says about every image."""

    labels: np.ndarray  # (N,) int64; -1 where no label reaches
    weights: np.ndarray  # (N,) float32 in [0, 1]; 0 where no label reaches
    scores: np.ndarray  # (N, C) float32, rows sum to one; a zero row where no label reaches
    balance: str = "none"  # of BALANCE_MODES; what "auto" has chosen
    balance_failed: bool = False  # whether a balance was requested that does not exist


def propagate(
    features: Array | Sequence[Array],
    labels: Array,
    num_classes: int,
    *,
    alpha: float = 0.99,
    solver: str = "diffusion",
    balance: str = "none",
    search: str = "auto",
    **graph: Any,
) -> Propagation:
    """Propagate the known labels to all images; the labeled ones keep their label with weight 1.

    features: (N, d), or a sequence of such views.
    labels: (N,) int64, -1 where unknown.
    alpha: α.
    solver: a key of SOLVERS.
    balance: "uniform" for equal class masses, "labels" for masses proportional to the labels,
        "auto" for a choice between "none" and "uniform".
    search, graph: arguments of utils.graph.affinity.

    Raises ValueError for a label that is not a class."""
    labels = as_numpy(labels, np.int64)
    if labels.max(initial=-1) >= num_classes:
        raise ValueError(f"label {labels.max()} is not one of {num_classes} classes")
    W = affinity(features, search=search, **graph)
    members = np.bincount(labels[labels >= 0], minlength=num_classes)  # n_c
    results: list[Propagation] = []
    Z = None
    for mode in AUTO_BALANCES if balance == "auto" else (balance,):
        masses = members > 0 if mode == "uniform" else members
        if Z is None or SOLVERS[solver].keeps_prior:
            prior = None if mode == "none" else masses / max(masses.sum(), 1)
            Z = SOLVERS[solver].solve(W, labels, num_classes, alpha=alpha, prior=prior)
        rescaled = mode != "none" and not SOLVERS[solver].keeps_prior
        balanced = balance_classes(Z, masses) if rescaled else Z
        result = _classify(Z if balanced is None else balanced, labels)
        results.append(result._replace(balance=mode, balance_failed=balanced is None))
    if len(results) == 1:
        return results[0]
    return max(results, key=lambda result: class_association(W, result.labels, num_classes))


def _classify(Z: np.ndarray, labels: np.ndarray) -> Propagation:
    """Labels and weights from scores.  Z: (N, C) float32; labels: (N,), the known ones, or -1."""
    mass = Z.sum(axis=1, keepdims=True)
    reached = mass[:, 0] > 0
    scores = np.divide(Z, mass, out=np.zeros_like(Z), where=mass > 0)
    weights = np.where(reached, certainty(scores), 0).astype(np.float32)
    weights /= max(weights.max(initial=0), np.finfo(np.float32).tiny)
    pseudo = np.where(reached, scores.argmax(axis=1), -1)
    labeled = np.flatnonzero(labels >= 0)
    pseudo[labeled], weights[labeled] = labels[labeled], 1
    return Propagation(pseudo, weights, scores)


def class_association(
    W: scipy.sparse.csr_matrix | torch.Tensor, labels: np.ndarray, num_classes: int
) -> float:
    """Σ_c w(c, c) / w(c, V): of the weight of all edges at images of class c, the share that stays
    within the class, summed over classes.

    Source: Shi & Malik, IEEE PAMI 22 (8), 2000, section 2 (normalized association).

    W: (N, N), scipy CSR or torch CSR; labels: (N,) int64, -1 for images that do not count."""
    matrix = W if isinstance(W, torch.Tensor) else as_torch_csr(W)
    counted = np.flatnonzero(labels >= 0)
    members = torch.zeros(len(labels), num_classes)
    members[counted, labels[counted]] = 1
    members = members.to(matrix.device)
    within = as_numpy((members * sparse_product(matrix, members)).sum(dim=0), np.float64)
    degrees = sparse_product(matrix, torch.ones(len(labels), 1, device=matrix.device))
    ends = as_numpy((members * degrees).sum(dim=0), np.float64)
    return float(np.divide(within, ends, out=np.zeros(num_classes), where=ends > 0).sum())


def certainty(distributions: np.ndarray) -> np.ndarray:
    """1 − H(p) / log C of each row p, from 0 (uniform) to 1 (a single class): (N, C) -> (N,)."""
    classes = distributions.shape[1]
    if classes == 1:
        return np.ones(len(distributions))
    entropies = scipy.special.entr(distributions.astype(np.float64)).sum(axis=1)
    return np.clip(1 - entropies / np.log(classes), 0, 1)


def targets_from_propagation(
    propagation: Propagation,
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

    mode: which of the unlabeled images U are used, with n = round(|U| · percent).  "full": all;
    "certain": the n with the largest weight; "prob": n drawn without replacement with probability
    proportional to the weight; "uniform": n drawn uniformly.  An image that no label reaches is
    never used.
    tau: of these images, those with a smaller weight are not used.
    weighted, class_weighted: whether the weights ω, or also ζ, enter the loss.
    loss_type: "kl" makes the propagated distributions the targets.
    by_weight: whether images are drawn with probability proportional to their weight; weights may
    enter the loss as well.

    Where no image can be used, the targets are the known labels.  Raises ValueError for an unknown
    mode."""
    chosen = _select_unlabeled(propagation.weights, pool.labels < 0, mode, percent, rng)
    chosen = chosen[propagation.weights[chosen] >= tau]
    known = targets_from_labels(pool, propagation.scores.shape[1])
    labels, weights, soft_labels = known.labels.copy(), known.weights.copy(), None
    labels[chosen] = propagation.labels[chosen]
    weights[chosen] = propagation.weights[chosen] if weighted else 1
    if loss_type == "kl":
        soft_labels = propagation.scores.copy()
        one_hot = np.eye(soft_labels.shape[1])[pool.labels[pool.labeled_indices]]
        soft_labels[pool.labeled_indices] = one_hot
    class_weights = class_balance(labels, len(known.class_weights))
    if not class_weighted:
        class_weights = known.class_weights
    sampling_weights = propagation.weights if by_weight else None
    return Targets(labels, weights, class_weights, soft_labels, sampling_weights)


def _select_unlabeled(
    weights: np.ndarray,
    unlabeled: np.ndarray,
    mode: str,
    percent: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Indices of the unlabeled images that a mode uses, ascending.

    weights: (N,); unlabeled: (N,) bool."""
    if mode not in PSEUDO_LABEL_MODES:
        raise ValueError(f"unknown mode {mode!r}: one of {', '.join(PSEUDO_LABEL_MODES)}")
    usable = np.flatnonzero(unlabeled & (weights > 0))
    if mode == "full" or not len(usable):  # there is nothing to draw from
        return usable
    count = min(round(float(unlabeled.sum() * percent)), len(usable))
    if mode == "certain":
        return np.sort(top_candidates(weights, count, usable, tie_order(rng, len(weights))))
    odds = weights[usable].astype(np.float64) if mode == "prob" else np.ones(len(usable))
    return np.sort(rng.choice(usable, size=count, replace=False, p=odds / odds.sum()))


def class_balance(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The class weights ζ_c of the images in use; 1 for a class without images.

    labels: (N,) int64, -1 where not used -> (C,) float32."""
    members = np.bincount(labels[labels >= 0], minlength=num_classes)
    balance = members.sum() / num_classes / np.maximum(members, 1)
    return np.where(members, balance, 1).astype(np.float32)
