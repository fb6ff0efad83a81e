"""The user's own features, from any encoder, in place of images: --data-root names an .npz file, or
a folder of .npy files, which are memory-mapped.

features (N, d), numbers; labels (N,), classes from 0 on, -1 where unknown; test_features and
test_labels.  Without these two, a fifth of each class forms the test part."""

import numpy as np

from data import npy_files
from data.custom import check_classes, count_classes, make_test_mask
from data.feature_vectors import Features, check_features
from data.spec import DatasetSpec, LoadedDataset
from utils.errors import UserError


def load(root: str) -> LoadedDataset:
    """Raises UserError naming the first invalid row or label."""
    arrays, source = npy_files.load_arrays(root, "features", "features")
    train = check_features(arrays["features"], arrays["labels"], source, allow_unknown=True)
    if "test_features" in arrays:
        test_source = f"the test part of {source}"
        test = check_features(arrays["test_features"], arrays["test_labels"], test_source)
        train_dim, test_dim = (part.features.shape[1] for part in (train, test))
        if train_dim != test_dim:
            raise UserError(
                f"{source}: the training features have {train_dim} dimensions, the test features "
                f"{test_dim}"
            )
    else:
        test_mask = make_test_mask(np.arange(len(train.labels)), train.labels)
        train, test = (
            Features(train.features[np.flatnonzero(mask)], train.labels[mask])
            for mask in (~test_mask, test_mask)
        )
    class_names = tuple(map(str, range(count_classes(train.labels, test.labels, source))))
    check_classes(train.labels, test.labels, class_names, source)
    fields = {
        "num_classes": len(class_names),
        "channels": train.features.shape[1],
        "size": 1,
        "max_shift": 0,
        "flip": False,
    }
    return LoadedDataset(train, test, fields, class_names)


SPEC = DatasetSpec(
    load,
    has_feature_vectors=True,
    list_files=npy_files.list_files,
    defaults={"arch": "linear", "lp_k": "auto"},
)
