"""Which labels may be wrong: those that the other labels contradict.

Each label is compared with what the diffusion of all other labels says about its image
(semisup.leave_one_out):

    z_ic (L, C)   score of labeled image i for class c, from the labels of the other images
    s_i           log max_{c ≠ y_i} z_ic − log z_iy_i, the suspicion: above zero if another class
                  fits better than the label y_i

A label that is the only one of its class cannot be compared: its suspicion is −∞.  Of few labels
most are such, and wrong ones are found where a class has got one too many.

To rank labels by the margin of a prediction that does not know them is the normalized margin of
confident learning (Northcutt, Jiang & Chuang, JAIR 70, 2021, section 3.2); there the predictions
come from the cross-validation of a classifier.
"""

from typing import NamedTuple

import numpy as np

from semisup.leave_one_out import leave_one_out_scores
from utils.diffusion import Graph

ALPHA = 0.99  # of the diffusion, as --lp-alpha by default


class LabelComparison(NamedTuple):
    """What the other labels say about each label.  L: number of labels."""

    images: np.ndarray  # (L,) int64, the labeled images, ascending
    suspicion: np.ndarray  # (L,) float64, s_i; −∞ where there is nothing to compare with
    suggested: np.ndarray  # (L,) int64, the best of the other classes; -1 where none reaches


def compare_with_others(W: Graph, labels: np.ndarray, num_classes: int) -> LabelComparison:
    """Compare each label with the diffusion of all others.

    W: (N, N) from utils.graph.affinity; labels: (N,) int64, -1 where unknown."""
    images = np.flatnonzero(labels >= 0)
    z = leave_one_out_scores(W, labels, num_classes, alpha=ALPHA, images=images)
    z = np.maximum(z, 0)  # rounding errors of the solver
    rows, own = np.arange(len(images)), labels[images]
    others = z.copy()
    others[rows, own] = 0
    best = others.max(axis=1, initial=0)
    has_companion = np.bincount(own, minlength=num_classes)[own] > 1
    with np.errstate(divide="ignore"):
        suspicion = np.log(best) - np.where(z[rows, own] > 0, np.log(z[rows, own]), -np.inf)
    suspicion[~has_companion | (best <= 0)] = -np.inf
    return LabelComparison(images, suspicion, np.where(best > 0, others.argmax(axis=1), -1))
