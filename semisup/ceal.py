"""CEAL: the network's own confident predictions as labels for one cycle.

Source: Wang et al., "Cost-effective active learning for deep image classification", IEEE TCSVT
2017: after acquisition, every unlabeled image whose entropy is below a threshold δ
gets the network's class as its label; δ falls with the cycles; a cycle's end takes them back.
Here H is divided by log C and δ = threshold − decay · cycle.
"""

import numpy as np

from data.pool import Pool, Targets, supervised_targets
from semisup.certainty import certainty
from semisup.log_once import tell_if_none
from semisup.spec import Algorithm
from utils.arrays import as_numpy
from utils.options.converters import not_negative, portion
from utils.options.option import Option


def confident(
    *, probs, cycle: int, threshold: float = 0.1, decay: float = 0.00033
) -> dict[str, np.ndarray]:
    """The network's classes of the images that it is sure of, whether or not they are labeled.

    probs: (N, C) softmax, of the network of `cycle` -> "predicted": (N,) int64, -1 where
    H / log C is not below threshold − decay · cycle."""
    probs = as_numpy(probs)
    sure = 1 - certainty(probs) < threshold - decay * cycle
    return {"predicted": np.where(sure, probs.argmax(axis=1), -1)}


def start(pool: Pool, num_classes: int, carried: dict) -> Targets:
    """The known labels, and what the last cycle's network was sure of, all of weight 1."""
    given = supervised_targets(pool, num_classes)
    if not carried:
        return given
    sure = (pool.labels < 0) & (carried["predicted"] >= 0)
    labels = np.where(sure, carried["predicted"], given.labels)
    targets = Targets(labels, (labels >= 0).astype(np.float32), given.class_weights)
    tell_if_none(pool, targets, "the network is sure of none")
    return targets


def due(cycle: int, epoch: int, *, repeat: bool = False) -> bool:
    """After every epoch but the first cycle's, if asked for."""
    return repeat and cycle > 0 and epoch > 0


def renew(
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
    found = confident(probs=probs, cycle=cycle, threshold=threshold, decay=decay)
    return start(pool, num_classes, found)


ROW = Algorithm(
    title="CEAL",
    summary="train on the network's confident predictions too",
    options=(
        Option(
            "ceal_th",
            0.1,
            "entropy / log C below which a prediction is used",
            kind=portion,
            keyword="threshold",
            later=True,
        ),
        Option(
            "ceal_decay",
            0.00033,
            "what the threshold loses a cycle",
            kind=not_negative,
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
    start=start,
    due=due,
    renew=renew,
    needs=("probs",),
    carry=confident,
    carries_from=("probs",),
)
