"""The images of a finished run, read again from its data set for the report.

A run stores only indices.  If the data set is still there and unchanged, the images are read from
it; otherwise the reason is given, and the report shows the indices.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from data import DATASETS, splits
from data.images import data_fingerprint
from experiment.config import SCHEMA
from utils import fingerprints
from utils.errors import UserError
from utils.options.option import OptionValues, kwargs_for
from utils.options.schema import fill_defaults


class RunImages(NamedTuple):
    """images: (N, C, H, W) uint8, anything that can be indexed; None if they cannot be shown.
    labels: (N,).  initial_indices: images of the split, None if the first labels are not of a
    split or are unknown.  reason_missing: why there are no images."""

    images: Any = None
    labels: np.ndarray | None = None
    initial_indices: np.ndarray | None = None
    reason_missing: str = ""


ImageLoader = Callable[[dict[str, Any]], RunImages]  # from config.json of a run


def load_run_images(config: dict[str, Any]) -> RunImages:
    """The images behind config.json of a run; every failure becomes a reason_missing."""
    try:
        options = fill_defaults(SCHEMA, config)
        spec = DATASETS[options.dataset]
        groups = kwargs_for(options, spec.load)
        train, fingerprint = _read_dataset(
            options.dataset, options.data_root, tuple(groups.items())
        )
    except (UserError, OSError) as error:
        return RunImages(reason_missing=str(error))
    except (KeyError, AttributeError, TypeError, ValueError):  # edited, or of another version
        return RunImages(reason_missing="this version cannot read its data set")
    identity = config["identity"]
    if fingerprint != identity["data"]:
        return RunImages(reason_missing="the data set has changed since the run")
    images = getattr(train, "pixels", None)
    reason_missing = "" if images is not None else "its data set has features instead of images"
    folder = splits.split_folder_name(options.dataset, fingerprint if spec.is_custom else "")
    initial_indices = _initial_indices(options, folder, train.labels, identity.get("initial"))
    return RunImages(images, train.labels, initial_indices, reason_missing)


@lru_cache(maxsize=1)  # the runs of one data set follow each other in a report
def _read_dataset(dataset: str, root: str, groups: tuple) -> tuple[Any, str]:
    """The training part and the fingerprint; groups: items of the reader's option groups."""
    content = DATASETS[dataset].load_and_check(root, **dict(groups))
    return content.train, content.fingerprint or data_fingerprint(content.train, content.test)


def _initial_indices(
    options: OptionValues, folder: str, labels: np.ndarray, initial: str | None
) -> np.ndarray | None:
    """The images of the split, if the run began with exactly these.

    initial: digest of the first labels, from the run's identity."""
    num_classes, size = int(labels.max()) + 1, options.initial_size
    try:
        path = splits.split_path(folder, size, options.split, options.out)
        indices = splits.read_or_draw_split(path, labels, num_classes, size, options.split)
    except UserError:
        return None
    return indices if fingerprints.array_digest(indices, labels[indices]) == initial else None
