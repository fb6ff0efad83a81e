"""The images of a finished run, read again from its data set for the report.

A run stores only indices.  If the data set is still there and unchanged, the images are read from
it; otherwise the reason is given, and the report shows the indices.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from data import DATASETS, splits
from data.feature_images import FileImages
from data.images import data_fingerprint
from data.spec import LoadedDataset
from experiment import encoding
from experiment.config import SCHEMA
from utils import fingerprints
from utils.errors import UserError
from utils.options.option import OptionValues, kwargs_for
from utils.options.schema import fill_defaults


class RunImages(NamedTuple):
    """images: (N, C, H, W) uint8, anything that can be indexed by an image's index in the run's
    tables; None if they cannot be shown.  labels: (N,), by the same index.  initial_indices: images
    of the split, None if the first labels are not of a split or are unknown.  reason_missing: why
    there are no images."""

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
        if options.encoder:
            loaded = encoding.load_encoded_dataset(options, only_cached=True)
        else:
            groups = kwargs_for(options, spec.load)
            loaded = _read_dataset(options.dataset, options.data_root, tuple(groups.items()))
    except (UserError, OSError) as error:
        return RunImages(reason_missing=str(error))
    except (KeyError, AttributeError, TypeError, ValueError):  # edited, or of another version
        return RunImages(reason_missing="this version cannot read its data set")
    identity = config["identity"]
    train = loaded.train
    fingerprint = loaded.fingerprint or data_fingerprint(train, loaded.test)
    if identity["data"] == fingerprint:
        rows = loaded.row_numbers
    elif identity["data"] == loaded.contents_fingerprint:  # of an earlier version, which counted
        rows, fingerprint = None, loaded.contents_fingerprint  # the training images
    else:
        return RunImages(reason_missing="the data set has changed since the run")
    images: Any = getattr(train, "pixels", loaded.shown_pixels)
    if images is None and loaded.image_files:
        images = FileImages(loaded.image_files)
    reason_missing = "" if images is not None else "its data set has features instead of images"
    folder = splits.split_folder_name(options.dataset, fingerprint if spec.is_custom else "")
    initial_indices = _initial_indices(options, folder, train.labels, rows, identity.get("initial"))
    labels = train.labels
    if rows is not None:
        labels = np.full(int(rows.max()) + 1, -1)
        labels[rows] = train.labels
        images = None if images is None else ImagesByRow(images, rows)
    return RunImages(images, labels, initial_indices, reason_missing)


class ImagesByRow:
    """Images that are indexed by the row of the user's file instead of by their position."""

    def __init__(self, images: Any, rows: np.ndarray):
        """rows: (N,), ascending, of the N images."""
        self.images, self.rows = images, rows

    def __len__(self) -> int:
        return int(self.rows[-1]) + 1

    def __getitem__(self, rows: np.ndarray) -> Any:
        """(n,) -> (n, C, H, W); of a row that is not among them, the one before."""
        return self.images[np.maximum(np.searchsorted(self.rows, rows, side="right") - 1, 0)]


@lru_cache(maxsize=1)  # the runs of one data set follow each other in a report
def _read_dataset(dataset: str, root: str, groups: tuple) -> LoadedDataset:
    """The data; groups: items of the reader's option groups."""
    return DATASETS[dataset].load_and_check(root, **dict(groups))


def _initial_indices(
    options: OptionValues,
    folder: str,
    labels: np.ndarray,
    rows: np.ndarray | None,
    initial: str | None,
) -> np.ndarray | None:
    """The images of the split, if the run began with exactly these, by their index in its tables.

    rows: (N,), the index of each image; None for 0 .. N - 1; initial: digest of the first labels,
    from the run's identity."""
    num_classes, size = int(labels.max()) + 1, options.initial_size
    try:
        path = splits.split_path(folder, size, options.split, options.out)
        positions = splits.read_or_draw_split(path, labels, num_classes, size, options.split, rows)
    except UserError:
        return None
    indices = positions if rows is None else rows[positions]
    return indices if fingerprints.array_digest(indices, labels[positions]) == initial else None
