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

import numpy as np

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
