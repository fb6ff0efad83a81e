"""How many images the training of a finished run has seen: what its batches would hold again.

A run does not count them.  They follow from its options, and from how many labels and
pseudo-labels its results.csv says it trained on.
"""

import numpy as np
import pandas as pd

import semisup
from data.pool import Pool, Targets
from experiment.config import SCHEMA
from semisup import ALGORITHMS
from utils.errors import UserError
from utils.options.option import kwargs_for
from utils.options.schema import fill_defaults


def count_images_seen(config: dict, results: pd.DataFrame) -> float:
    """With repetition, over all cycles, pre-training left out; NaN where it cannot be told.

    config: config.json of a run; results: its results.csv.  In a cycle whose pseudo-labels are made
    anew there count as many in each epoch as in the last."""
    try:
        args = fill_defaults(SCHEMA, config)
        algorithm = ALGORITHMS[semisup.algorithm_name(args)]
        if (
            len(algorithm.augmentations) > 1
        ):  # of images without even a pseudo-label, which nobody counted
            return float("nan")
        options = kwargs_for(args, algorithm.epoch_batches)
        pseudo = results["pseudo_labels"].fillna(0)
        counts = zip(results["labeled"].astype(int), pseudo.astype(int), strict=True)
        epochs = [_images_per_epoch(algorithm.epoch_batches, *count, options) for count in counts]
        return float(args.epochs * sum(epochs))
    except (UserError, KeyError, AttributeError, TypeError, ValueError):  # edited, or of another
        return float("nan")  # version


def _images_per_epoch(streams, labeled: int, pseudo: int, options: dict) -> int:
    """Images in the batches of an epoch on so many labels and pseudo-labels."""
    used = labeled + pseudo
    known = np.where(np.arange(used) < labeled, 0, -1)
    ones = np.ones(used, np.float32)
    targets = Targets(np.zeros(used, np.int64), ones, np.ones(1, np.float32), None)
    pool = Pool(known, np.arange(labeled))
    return sum(map(len, streams(targets, pool, np.random.default_rng(0), **options)))
