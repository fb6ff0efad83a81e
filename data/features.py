"""Features of the user's own, any encoder's output, in place of images: --data-root names the .npz
file, or a folder of .npy files, which then are memory-mapped.

features (N, d), numbers; labels (N,), classes from 0 on, -1 where unknown; test_features and
test_labels, or a fifth of each class is the test part."""

import numpy as np

from data import npy_files
from data.custom import check_classes, count_classes, make_test_mask
from data.feature_vectors import Features, check_features
from data.spec import DatasetSpec, LoadedDataset
from utils.errors import UserError


def load(root: str) -> LoadedDataset:
    """Raises UserError naming the first row or label that is not what it has to be."""
    arrays, where = npy_files.load_arrays(root, "features", "features")
    train = check_features(arrays["features"], arrays["labels"], where, allow_unknown=True)
    if "test_features" in arrays:
        part = f"the test part of {where}"
        test = check_features(arrays["test_features"], arrays["test_labels"], part)
        widths = [part.features.shape[1] for part in (train, test)]
        if widths[0] != widths[1]:
            raise UserError(f"{where} has features of {widths[0]} numbers, to test on {widths[1]}")
    else:
        out = make_test_mask(np.arange(len(train.labels)), train.labels)
        train, test = (
            Features(train.features[np.flatnonzero(part)], train.labels[part])
            for part in (~out, out)
        )
    classes = tuple(map(str, range(count_classes(train.labels, test.labels, where))))
    check_classes(train.labels, test.labels, classes, where)
    found = {"num_classes": len(classes), "channels": train.features.shape[1], "size": 1}
    return LoadedDataset(train, test, found | {"max_shift": 0, "flip": False}, classes)


SPEC = DatasetSpec(
    load,
    has_feature_vectors=True,
    list_files=npy_files.list_files,
    defaults={"arch": "linear", "lp_k": "auto"},
)
