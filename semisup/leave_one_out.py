"""What the diffusion would say about a labeled image without its own label.

The diffusion is linear in the labels: with K = (I − αW)⁻¹ and n_c labels of class c, the score of
image i for class c is z_ic = Σ_j K_ij / n_c over the labeled images j of class c (Zhou et al., NIPS
2003; Iscen et al., CVPR 2019, section 4).  Without the label of i, of class y,

    z_iy ← (n_y z_iy − K_ii) / (n_y − 1)     0 where i is the only label of its class
    z_ic   as before for the other classes

which is the leave-one-out formula of linear smoothers (z_i − K_ii y_i; Craven & Wahba, Numerische
Mathematik 31, 1979) with the weights 1/n_c.  Solving for the unit vectors of the labeled images
gives all entries of K between labeled images, so that the sum is taken without image i, and nothing
is subtracted.

It is exact where the graph does not depend on the labels.  A graph of features that were trained on
the label of i still knows it.
"""

from typing import NamedTuple

import numpy as np

from semisup.class_masses import find_class_scales
from semisup.propagation_solvers import diffusion
from utils.arrays import as_numpy
from utils.diffusion import MAX_BLOCK_COLUMNS, Graph, prepare_diffusion

# Entries of K, relative to K_ii, that are rounding errors of the solver.
NEGLIGIBLE_ENTRY = 1e-6


def leave_one_out_scores(
    W: Graph, labels: np.ndarray, num_classes: int, *, alpha: float, images: np.ndarray
) -> np.ndarray:
    """Scores of labeled images from all labels but their own, before any balance of the classes.

    W: (N, N) from utils.graph.affinity; labels: (N,), -1 where unknown; images: (M,), some of the
    labeled ones.
    -> (M, C) float64, not scaled; a zero row where no other label reaches."""
    labeled = np.flatnonzero(labels >= 0)
    classes = labels[labeled]
    one_hot = np.eye(num_classes)[classes]  # (L, C)
    scores = np.zeros((len(images), num_classes))
    for start in range(0, len(images), MAX_BLOCK_COLUMNS):
        block = images[start : start + MAX_BLOCK_COLUMNS]
        weights = _kernel_columns(W, alpha, block)[labeled]  # (L, c)
        is_self = labeled[:, None] == block
        weights[weights < NEGLIGIBLE_ENTRY * weights.max(axis=0, initial=0, where=is_self)] = 0
        weights[is_self] = 0
        scores[start : start + len(block)] = weights.T @ one_hot
    members = one_hot.sum(axis=0) - np.eye(num_classes)[labels[images]]  # n_c without the image
    return np.divide(scores, members, out=np.zeros_like(scores), where=members > 0)


def _kernel_columns(W: Graph, alpha: float, images: np.ndarray) -> np.ndarray:
    """The columns of K of these images: (N, c) float64."""
    sides = np.zeros((W.shape[0], len(images)), dtype=np.float32)
    sides[images, np.arange(len(images))] = 1
    return as_numpy(prepare_diffusion(W, alpha).solve(sides), np.float64)


class LeaveOneOut(NamedTuple):
    """A propagation of the known labels, and its answers for labeled images without their own."""

    labels: np.ndarray  # (N,) int64, as from semisup.label_propagation; -1 where no label reaches
    scores: np.ndarray  # (N, C), rows sum to one; a zero row where no label reaches
    left_out: np.ndarray  # (M,) int64, the labels of the M images by the others; -1 as above


def leave_one_out(
    W: Graph,
    labels: np.ndarray,
    num_classes: int,
    images: np.ndarray,
    *,
    alpha: float,
    balance: str = "none",
) -> LeaveOneOut:
    """Propagate the known labels by diffusion, and leave each of some labeled images out.

    W, labels, images: as in `leave_one_out_scores`; balance: as in semisup.label_propagation.  The
    scales of a balance are those with all labels: leaving one image out would hardly move them."""
    members = np.bincount(labels[labels >= 0], minlength=num_classes)
    Z = diffusion.solve(W, labels, num_classes, alpha=alpha, prior=None)
    own = leave_one_out_scores(W, labels, num_classes, alpha=alpha, images=images)
    if balance != "none":
        scales = find_class_scales(Z, members > 0 if balance == "uniform" else members)
        if scales is not None:
            Z, own = scales.apply(Z), scales.apply(own)
    mass = Z.sum(axis=1, keepdims=True)
    scores = np.divide(Z, mass, out=np.zeros_like(Z), where=mass > 0)
    return LeaveOneOut(_best_classes(scores), scores, _best_classes(own))


def _best_classes(scores: np.ndarray) -> np.ndarray:
    """The class of the largest score of each row, -1 where all are zero: (N, C) -> (N,) int64."""
    return np.where(scores.any(axis=1), scores.argmax(axis=1), -1)
