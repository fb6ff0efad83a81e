"""The images behind a finished run, for its report: read again as the run read them.

A run keeps indices and no images.  Where the data set is still there, and is the same, this gives
the images; else a reason in words, and the report shows the indices.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from data import DATASETS, splits
from data.images import data_fingerprint
from experiment.config import SCHEMA
from utils import fingerprints
from utils.errors import UserError
from utils.options.option import kwargs_for
from utils.options.schema import fill_defaults


class RunImages(NamedTuple):
    """images: pixels (N, C, H, W) uint8 that can be indexed, None for `why`; first: indices of the
    split's images, None where they are of no split or cannot be told; labels: (N,)."""

    images: object = None
    labels: np.ndarray | None = None
    initial_indices: np.ndarray | None = None
    reason_missing: str = ""


def load_run_images(config: dict) -> RunImages:
    """What config.json of a run leads to; never an error."""
    try:
        args = fill_defaults(SCHEMA, config)
        spec = DATASETS[args.dataset]
        options = kwargs_for(args, spec.load)
        train, content = _read_dataset(args.dataset, args.data_root, tuple(options.items()))
    except (UserError, OSError) as error:
        return RunImages(reason_missing=str(error))
    except (KeyError, AttributeError, TypeError, ValueError):  # of another version, or edited
        return RunImages(reason_missing="its data set is none that this version reads")
    who = config["identity"]
    if content != who["data"]:
        return RunImages(reason_missing="the data set that is there is another than the run's")
    images = getattr(train, "pixels", None)
    why = "" if images is not None else "its data set has features in place of images"
    folder = splits.split_folder_name(args.dataset, content if spec.is_custom else "")
    first = _initial_indices(args, folder, train.labels, who.get("initial"))
    return RunImages(images, train.labels, first, why)


@lru_cache(maxsize=1)  # runs of one data set follow each other
def _read_dataset(dataset: str, root: str, options: tuple):
    """-> the training part and the fingerprint."""
    found = DATASETS[dataset].load_and_check(root, **dict(options))
    return found.train, found.fingerprint or data_fingerprint(found.train, found.test)


def _initial_indices(args, folder: str, labels: np.ndarray, initial: str) -> np.ndarray | None:
    """The split's images, if they are those that the run began with."""
    classes, size = int(labels.max()) + 1, args.initial_size
    try:
        chosen = splits.read_or_draw_split(folder, labels, classes, size, args.split)
    except UserError:
        return None
    return chosen if fingerprints.array_digest(chosen, labels[chosen]) == initial else None
