"""CEAL: the network's own confident predictions as labels for one cycle.

Source: Wang et al., "Cost-effective active learning for deep image classification", IEEE TCSVT
2017: after acquisition, every unlabeled image whose entropy is below a threshold δ
gets the network's class as its label; δ falls with the cycles; a cycle's end takes them back.
Here H is divided by log C and δ = threshold − decay · cycle.
"""

import numpy as np

from data.pool import Pool, Targets, targets_from_labels
from semisup.certainty import certainty
from semisup.log_once import log_if_no_pseudo_labels
from semisup.spec import Algorithm
from utils.arrays import as_numpy
from utils.options.converters import non_negative_float, positive_fraction
from utils.options.option import Option


def confident_predictions(
    *, probs, cycle: int, threshold: float = 0.1, decay: float = 0.00033
) -> dict[str, np.ndarray]:
    """The network's classes of the images that it is sure of, whether or not they are labeled.

    probs: (N, C) softmax, of the network of `cycle` -> "predicted": (N,) int64, -1 where
    H / log C is not below threshold − decay · cycle."""
    probs = as_numpy(probs)
    sure = 1 - certainty(probs) < threshold - decay * cycle
    return {"predicted": np.where(sure, probs.argmax(axis=1), -1)}


def initial_targets(pool: Pool, num_classes: int, carry_over: dict) -> Targets:
    """The known labels, and what the last cycle's network was sure of, all of weight 1."""
    given = targets_from_labels(pool, num_classes)
    if not carry_over:
        return given
    sure = (pool.labels < 0) & (carry_over["predicted"] >= 0)
    labels = np.where(sure, carry_over["predicted"], given.labels)
    targets = Targets(labels, (labels >= 0).astype(np.float32), given.class_weights)
    log_if_no_pseudo_labels(pool, targets, "the network is sure of none")
    return targets


def update_due(cycle: int, epoch: int, *, repeat: bool = False) -> bool:
    """After every epoch but the first cycle's, if asked for."""
    return repeat and cycle > 0 and epoch > 0


def update_targets(
    *,
    probs,
    pool: Pool,
    num_classes: int,
    rng: np.random.Generator,
    cycle: int,
    threshold: float = 0.1,
    decay: float = 0.00033,
) -> Targets:
    """The known labels, and what the network as it is is sure of."""
    found = confident_predictions(probs=probs, cycle=cycle, threshold=threshold, decay=decay)
    return initial_targets(pool, num_classes, found)


ALGORITHM = Algorithm(
    title="CEAL",
    summary="train on the network's confident predictions too",
    options=(
        Option(
            "ceal_th",
            0.1,
            "entropy / log C below which a prediction is used",
            kind=positive_fraction,
            keyword="threshold",
            later=True,
        ),
        Option(
            "ceal_decay",
            0.00033,
            "what the threshold loses a cycle",
            kind=non_negative_float,
            keyword="decay",
            later=True,
        ),
        Option(
            "ceal_repeat",
            False,
            "renew the predictions after every epoch",
            kind=bool,
            keyword="repeat",
            later=True,
        ),
    ),
    initial_targets=initial_targets,
    update_due=update_due,
    update_targets=update_targets,
    needs=("probs",),
    carry_over=confident_predictions,
    carry_over_needs=("probs",),
)
