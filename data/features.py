"""The user's own features, from any encoder, in place of images: --data-root names a file of
arrays, or a folder of .npy files, which are memory-mapped (data.array_files).

features (N, d) and labels (data.array_labels) under the names of several projects
(data.array_roles), with or without a test part.  Without one, a fifth of each class forms the test
part; an index is always the row of the file.  Features are centred and scaled (data.feature_scale).
The images that the features came from are shown where `paths` of the file lead to them.  A folder
that embed.py wrote says where they are, and its validation part is evaluated as well."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data import array_files
from data.array_labels import read_labels
from data.array_roles import ArrayParts, find_parts
from data.array_rows import RowNumbers, hold_out_rows, make_loaded_dataset
from data.custom import check_classes
from data.feature_files import read_description
from data.feature_images import find_image_files
from data.feature_scale import fit_feature_scale
from data.feature_vectors import Features, check_features
from data.spec import DatasetSpec, LoadedDataset
from utils.errors import UserError
from utils.options.converters import non_empty_text
from utils.options.option import OptionGroup, option


@dataclass(frozen=True)
class FeatureOptions(OptionGroup):
    """Where the images are from which features were computed."""

    section = "data"
    images: str | None = option(
        None,
        "Folder of the images that the features were computed from, to which the array paths of "
        "the file is relative. They are only shown.",
        type=non_empty_text,
        metavar="FOLDER",
        identity=False,
    )


def load(root: str, *, files: FeatureOptions) -> LoadedDataset:
    """Raises UserError naming the first invalid row or label."""
    arrays, source = array_files.read_arrays(root, "features")
    description = read_description(Path(source))
    validation_arrays: dict[str, np.ndarray] = {}
    if description is not None:
        names = [name for name in arrays if name.startswith("val_")]
        validation_arrays = {name: arrays.pop(name) for name in names}
    parts = find_parts(arrays, "features", source)
    train, test, rows, class_names = _read_parts(parts, source)
    check_classes(train.labels, test.labels, class_names, source)
    validation = None
    if validation_arrays:
        validation = check_features(
            validation_arrays["val_features"],
            validation_arrays["val_labels"],
            f"the validation part of {source}",
            num_classes=len(class_names),
        )
    scale = fit_feature_scale(train.features, source)
    parts.notes.append(f"{source}: {scale.description}")
    fields = {
        "num_classes": len(class_names),
        "channels": scale.dimension,
        "size": 1,
        "max_shift": 0,
        "flip": False,
    }
    loaded = make_loaded_dataset(
        train,
        test,
        rows,
        parts,
        class_names,
        source,
        spec_fields=fields,
        preprocessing={"feature_scale": scale.to_dict()},
        feature_scale=scale,
    )
    recorded = description["image_folder"] if description else ""
    image_files = find_image_files(
        loaded.image_paths, files.images, Path(source), source, recorded_folder=recorded
    )
    return loaded._replace(image_files=image_files, validation=validation)


def _read_parts(
    parts: ArrayParts, source: str
) -> tuple[Features, Features, RowNumbers | None, tuple[str, ...]]:
    """The training and the test part, their rows where the file has no test part, and the class
    names."""
    test_source, notes = f"the test part of {source}", parts.notes
    stored = _as_rows(parts.content, parts.labels, source, notes)
    tests = stored[:0]
    if parts.test_content is not None:
        tests = _as_rows(parts.test_content, parts.test_labels, test_source, notes)
        if stored.shape[1] != tests.shape[1]:
            raise UserError(
                f"{source}: the training features have {stored.shape[1]} dimensions, the test "
                f"features {tests.shape[1]}"
            )
    labels, test_labels, class_names = read_labels(
        parts.labels, len(stored), parts.test_labels, len(tests), parts.class_names, source
    )
    train = check_features(stored, labels, source, allow_unknown=True)
    if parts.test_content is not None:
        return train, check_features(tests, test_labels, test_source), None, class_names
    rows = hold_out_rows(labels)
    train, test = (Features(train.features[part], train.labels[part]) for part in rows)
    return train, test, rows, class_names


def _as_rows(
    features: np.ndarray, labels: np.ndarray | None, source: str, notes: list[str]
) -> np.ndarray:
    """Features as stored -> (N, d).

    labels: as stored, whose number tells whether the rows are along the last axis."""
    if features.ndim < 2 or not all(features.shape[1:]):
        raise UserError(
            f"the features of {source} have shape {features.shape}, not (N, d); a single number "
            "per row is a column: features[:, None]"
        )
    count = None if labels is None else max(labels.shape, default=0)
    if features.ndim == 2 and count not in (None, len(features)) and count == features.shape[1]:
        notes.append(f"{source}: features {features.shape} are read along the last axis")
        return features.T
    if features.ndim > 2:
        notes.append(f"{source}: features {features.shape} are read as one vector per row")
        return features.reshape(len(features), -1)
    return features


SPEC = DatasetSpec(
    load,
    has_feature_vectors=True,
    list_files=array_files.list_files,
    defaults={"arch": "linear", "lp_k": "auto"},
)
