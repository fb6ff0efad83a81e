"""CEAL: the network's own confident predictions as labels for one cycle.

Source: Wang et al., "Cost-effective active learning for deep image classification", IEEE TCSVT
2017: after acquisition, every unlabeled image whose entropy is below a threshold δ
gets the network's class as its label; δ falls with the cycles; a cycle's end takes them back.
Here H is divided by log C and δ = threshold − decay · cycle.
"""

import numpy as np

from data.pool import Pool, Targets, supervised_targets
from semisup.label_propagation import certainty


def confident_targets(
    probs: np.ndarray, pool: Pool, *, cycle: int, threshold: float = 0.1, decay: float = 0.00033
) -> Targets:
    """The known labels and the confident predictions, all of weight 1.

    probs: (N, C) softmax over the whole training set, of the network of `cycle`; an image is used
    where H / log C < threshold − decay · cycle and its label is unknown."""
    given = supervised_targets(pool, probs.shape[1])
    sure = (pool.labels < 0) & (1 - certainty(probs) < threshold - decay * cycle)
    labels = np.where(sure, probs.argmax(axis=1), given.labels)
    weights = np.where(sure, 1, given.weights).astype(np.float32)
    return Targets(labels, weights, given.class_weights)
