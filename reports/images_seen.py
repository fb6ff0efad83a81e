"""The number of images that a finished run saw in training, recomputed from its files.

A run does not count them.  They follow from its options and from the numbers of labels and
pseudo-labels in its results.csv.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import semisup
from data.pool import Pool, Targets
from experiment.config import SCHEMA
from semisup import ALGORITHMS
from utils.errors import UserError
from utils.options.option import OptionGroup, kwargs_for
from utils.options.schema import fill_defaults

MAX_IMAGES = 10**8  # with labels or pseudo-labels; more were not written by a run


def count_images_seen(config: dict[str, Any], results: pd.DataFrame) -> float:
    """Images with repetition over all cycles, without pre-training; NaN if unknown.

    config: config.json of a run; results: its results.csv, one row per cycle.  Where pseudo-labels
    are updated during a cycle, every epoch is assumed to have as many as the last one."""
    try:
        options = fill_defaults(SCHEMA, config)
        algorithm = ALGORITHMS[semisup.algorithm_name(options)]
        if len(algorithm.augmentations) > 1:  # it also shows images without a pseudo-label
            return float("nan")
        groups = kwargs_for(options, algorithm.epoch_batches)
        pseudo = results["pseudo_labels"].fillna(0)
        counts = zip(results["labeled"].astype(int), pseudo.astype(int), strict=True)
        per_epoch = [_images_per_epoch(algorithm.epoch_batches, *count, groups) for count in counts]
        return float(options.epochs * sum(per_epoch))
    except (UserError, KeyError, AttributeError, TypeError, ValueError):
        return float("nan")  # the file was edited, or another version wrote it


def _images_per_epoch(
    epoch_batches: Callable[..., list[np.ndarray]],
    labeled: int,
    pseudo: int,
    groups: dict[str, OptionGroup],
) -> int:
    """The images in all batches of one epoch.

    labeled, pseudo: numbers of labels and of pseudo-labels; groups: the option groups that
    epoch_batches takes."""
    used = labeled + pseudo
    if used > MAX_IMAGES:
        raise ValueError(f"{used} labels and pseudo-labels")
    known = np.where(np.arange(used) < labeled, 0, -1)
    ones = np.ones(used, np.float32)
    targets = Targets(np.zeros(used, np.int64), ones, np.ones(1, np.float32), None)
    pool = Pool(known, np.arange(labeled))
    return sum(map(len, epoch_batches(targets, pool, np.random.default_rng(0), **groups)))
