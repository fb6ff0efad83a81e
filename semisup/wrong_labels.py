"""Which labels may be wrong: those that the other labels contradict.

Each label is compared with two predictions for its image that do not know it:

    diffusion   z_ic, what the diffusion of all other labels says (semisup.leave_one_out); margin
                log max_{c ≠ y_i} z_ic − log z_iy_i
    kernel      f_i, kernel ridge regression on the other labeled images alone; margin
                max_{c ≠ y_i} f_ic − f_iy_i.  With the kernel matrix k of the L labeled images and
                Y (L, C) the one-hot labels minus 1/C, G = (k + λI)⁻¹, all L predictions together:
                f_i = Y_i − (G Y)_i / G_ii (Rifkin & Lippert, MIT-CSAIL-TR-2007-025, section 3)

The first uses all images, the second only the labels: where both disagree with a label, it is
wrong more often than where one does.  The suspicion is the sum of the two ranks.

A label that is the only one of its class cannot be compared: its suspicion is −∞.  Of few labels
most are such, and wrong ones are found where a class has got one too many.

To rank labels by the margin of a prediction that does not know them is the normalized margin of
confident learning (Northcutt, Jiang & Chuang, JAIR 70, 2021, section 3.2); there the predictions
come from the cross-validation of a classifier.
"""

from typing import NamedTuple

import numpy as np
import torch

from semisup.leave_one_out import leave_one_out_scores
from utils.arrays import as_numpy
from utils.diffusion import Graph

ALPHA = 0.99  # of the diffusion, as --lp-alpha by default
# Chosen on five tables that docs/wrong_labels.md does not report, with the combination of the two.
KERNEL_RIDGE = 0.5  # λ
KERNEL_WIDTH = 0.5  # the squared distance at which the kernel is 1/e, in median squared distances


class LabelComparison(NamedTuple):
    """What the other labels say about each label.  L: number of labels."""

    images: np.ndarray  # (L,) int64, the labeled images, ascending
    suspicion: np.ndarray  # (L,) float64, larger where more doubtful; −∞ without a comparison
    suggested: np.ndarray  # (L,) int64, the best of the other classes


def compare_with_others(
    W: Graph, features: np.ndarray | torch.Tensor, labels: np.ndarray, num_classes: int
) -> LabelComparison:
    """Compare each label with all others.

    W: (N, N) from utils.graph.affinity; features: (N, d); labels: (N,) int64, -1 where unknown."""
    images = np.flatnonzero(labels >= 0)
    own = labels[images]
    z = leave_one_out_scores(W, labels, num_classes, alpha=ALPHA, images=images)
    f = predict_by_kernel(as_numpy(features[images], np.float64), own, num_classes)
    suspicion = np.full(len(images), -np.inf)
    can_compare = np.bincount(own, minlength=num_classes)[own] > 1
    ranks = [
        average_ranks(margins[can_compare])
        for margins in (diffusion_margins(z, own), kernel_margins(f, own))
    ]
    suspicion[can_compare] = np.sum(ranks, axis=0)
    others, by_kernel = _without_own(z, own, 0), _without_own(f, own, -np.inf)
    is_reached = others.max(axis=1, initial=0) > 0
    suggested = np.where(is_reached, others.argmax(axis=1), by_kernel.argmax(axis=1))
    return LabelComparison(images, suspicion, suggested)


def average_ranks(values: np.ndarray) -> np.ndarray:
    """1 for the smallest value, and so on; equal values share the mean of their ranks: (L,)."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def diffusion_margins(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How much the diffusion of the other labels prefers another class: (L,); 0 where no label
    reaches the image.

    z: (L, C) scores without the label itself; labels: (L,)."""
    tiny = np.finfo(np.float64).tiny
    best = np.maximum(_without_own(z, labels, 0).max(axis=1), tiny)
    return np.asarray(np.log(best) - np.log(np.maximum(z[np.arange(len(z)), labels], tiny)))


def kernel_margins(f: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How much kernel ridge regression on the other labels prefers another class: (L,).

    f: (L, C) predictions without the label itself; labels: (L,)."""
    best = _without_own(f, labels, -np.inf).max(axis=1)
    return np.asarray(best - f[np.arange(len(f)), labels])


def predict_by_kernel(features: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The predictions f_i of the module's docstring: (L, C).

    features: (L, d) of the labeled images; labels: (L,)."""
    squares = np.square(features).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * features @ features.T, 0)
    between = distances[~np.eye(len(labels), dtype=bool)]
    scale = np.median(between) if len(between) else 0.0
    kernel = np.exp(-distances / (KERNEL_WIDTH * scale or 1))
    inverse = np.linalg.inv(kernel + KERNEL_RIDGE * np.eye(len(labels)))
    targets = np.eye(num_classes)[labels] - 1 / num_classes
    return np.asarray(targets - inverse @ targets / np.diag(inverse)[:, None])


def _without_own(scores: np.ndarray, labels: np.ndarray, fill: float) -> np.ndarray:
    """The scores (L, C) with those of each row's own class replaced."""
    others = scores.copy()
    others[np.arange(len(labels)), labels] = fill
    return others
