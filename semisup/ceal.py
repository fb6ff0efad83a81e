"""CEAL: the network's own confident predictions as labels for one cycle.

Source: Wang et al., "Cost-effective active learning for deep image classification", IEEE TCSVT
2017.  After acquisition, every unlabeled image whose entropy H is below a threshold δ receives the
network's class as its label, until the end of the cycle; δ decreases from cycle to cycle.  Here H
is divided by log C, and δ = threshold − decay · cycle.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from data.pool import Pool, Targets, targets_from_labels
from semisup.label_propagation import certainty
from semisup.log_once import log_if_no_pseudo_labels
from semisup.spec import Algorithm
from utils.arrays import as_numpy
from utils.options.converters import non_negative_float, positive_fraction
from utils.options.option import OptionGroup, option


@dataclass(frozen=True)
class CealOptions(OptionGroup):
    """When a prediction becomes a label."""

    section = "CEAL"
    add_ceal: bool = option(
        False, "Also train on the network's confident predictions of the previous cycle (CEAL)."
    )
    ceal_th: float = option(
        0.1,
        "Normalised entropy (entropy / log C) below which a prediction is used.",
        type=positive_fraction,
        after_first_cycle=True,
    )
    ceal_decay: float = option(
        0.00033,
        "How much --ceal-th decreases per cycle.",
        type=non_negative_float,
        after_first_cycle=True,
    )
    ceal_repeat: bool = option(
        False, "Update the predictions after every epoch.", after_first_cycle=True
    )


def confident_predictions(
    *, probs: np.ndarray | torch.Tensor, cycle: int, ceal: CealOptions
) -> dict[str, np.ndarray]:
    """The classes that the network predicts with confidence, for labeled images too.

    probs: (N, C) softmax of the network of `cycle` -> "predicted": (N,) int64, -1 where
    H / log C is not below --ceal-th − --ceal-decay · cycle."""
    class_probs = as_numpy(probs)
    confident = 1 - certainty(class_probs) < ceal.ceal_th - ceal.ceal_decay * cycle
    return {"predicted": np.where(confident, class_probs.argmax(axis=1), -1)}


def initial_targets(pool: Pool, num_classes: int, carry_over: dict[str, Any]) -> Targets:
    """The known labels, and the confident predictions of the previous cycle, all with weight 1."""
    known = targets_from_labels(pool, num_classes)
    if not carry_over:
        return known
    confident = (pool.labels < 0) & (carry_over["predicted"] >= 0)
    labels = np.where(confident, carry_over["predicted"], known.labels)
    targets = Targets(labels, (labels >= 0).astype(np.float32), known.class_weights)
    log_if_no_pseudo_labels(pool, targets, "the network is confident about no unlabeled image")
    return targets


def update_due(cycle: int, epoch: int, *, ceal: CealOptions) -> bool:
    """After every epoch with --ceal-repeat, except in the first cycle."""
    return ceal.ceal_repeat and cycle > 0 and epoch > 0


def update_targets(
    *,
    probs: np.ndarray | torch.Tensor,
    pool: Pool,
    num_classes: int,
    rng: np.random.Generator,
    cycle: int,
    ceal: CealOptions,
) -> Targets:
    """The known labels, and the confident predictions of the network as it is now."""
    predictions = confident_predictions(probs=probs, cycle=cycle, ceal=ceal)
    return initial_targets(pool, num_classes, predictions)


ALGORITHM = Algorithm(
    initial_targets=initial_targets,
    update_due=update_due,
    update_targets=update_targets,
    needs=("probs",),
    carry_over=confident_predictions,
    carry_over_needs=("probs",),
)
