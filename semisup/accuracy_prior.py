"""What confidences and leave-one-out say about the accuracy of a propagation, without an audit.

On a graph that is the same in all cycles:

    ĉ   mean over the unlabeled images of the largest share of their scores, sharpened with the
        temperature TEMPERATURE, times the share of the classes that have a label
    ℓ   leave-one-out accuracy of the labels that were not drawn at random, (right + ĉ) / (M + 1) of
        M labels
    r   labels per class

    μ = β_0 + β_1 logit ĉ + β_2 logit ℓ + β_3 log r        σ = exp(γ_0 + γ_1 log r)

Chosen labels are typical, or hard, so that leave-one-out is off by 5 to 20 points, and confidences
are too high where labels are few.  A graph that is built from the features of a network that has
been trained on the labels agrees with them nearly everywhere, right or wrong, and so do the
confidences of the network: WITHOUT_GRAPH asks neither.  β and γ were fitted to runs on the tables
of the KEEL repository, whose accuracies are from 30 to 100 %; docs/estimate.md says how, and how
often the interval contains the truth on data that were not used.
"""

from typing import NamedTuple

import numpy as np
import scipy.special

from semisup.accuracy_posterior import AccuracyPrior, AccuracyShift

TEMPERATURE = 0.3


class PriorWeights(NamedTuple):
    """β and γ of the module's docstring."""

    constant: float
    confidence: float
    left_out: float
    labels_per_class: float
    log_scale: float
    log_scale_labels: float


PROPAGATION = PriorWeights(-0.77, 0.85, 0.35, 0.13, -0.53, -0.01)
WITHOUT_GRAPH = AccuracyPrior(0.0, 1.4)  # as wide as if all accuracies were equally likely
# Of a network against the diffusion, and against the network of an earlier cycle.
SHIFT = AccuracyShift(0.15, 0.36)
SHIFT_EARLIER = AccuracyShift(0.45, 0.35)


# The share of the error that goes when the number of labels doubles: equally likely values, over
# the tables.
ERROR_REDUCTIONS = (
    *(-0.29, -0.13, -0.05, -0.02, 0.0, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.13, 0.15, 0.17, 0.21, 0.25, 0.29, 0.35, 0.41, 0.51, 0.68),
)


def confidence_at_temperature(scores: np.ndarray, temperature: float = TEMPERATURE) -> np.ndarray:
    """The largest of p_c^(1/T) / Σ p^(1/T) of each row: (N, C) -> (N,); 0 for a zero row."""
    largest = scores.max(axis=1, keepdims=True)
    ratios = np.divide(scores, largest, out=np.zeros(scores.shape), where=largest > 0)
    sums = (ratios ** (1 / temperature)).sum(axis=1)
    return np.divide(1, sums, out=np.zeros(len(scores)), where=sums > 0)


def accuracy_prior(
    weights: PriorWeights,
    confidence: float,
    num_labels: int,
    num_labeled_classes: int,
    num_classes: int,
    left_out: tuple[int, int],
) -> AccuracyPrior:
    """μ and σ.

    confidence: the mean largest share, not yet times the share of the classes that have a label.
    num_labeled_classes: of num_classes, those that have a label.
    left_out: how many answers of leave-one-out are right, and of how many."""
    confidence = _clip(confidence * num_labeled_classes / num_classes)
    per_class = np.log(num_labels / num_classes)
    center = weights.constant + weights.confidence * scipy.special.logit(confidence)
    center += weights.labels_per_class * per_class
    share = _clip((left_out[0] + confidence) / (left_out[1] + 1))
    center += weights.left_out * scipy.special.logit(share)
    scale = np.exp(weights.log_scale + weights.log_scale_labels * per_class)
    return AccuracyPrior(float(center), float(scale))


def _clip(share: float) -> float:
    return float(np.clip(share, 0.005, 0.995))
