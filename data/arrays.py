"""Images of the user's own in numpy arrays: --data-root names the .npz file, or a folder of .npy
files.

images (N, H, W) or (N, H, W, C), uint8, or floats in [0, 1]; labels (N,), classes from 0 on, -1
where unknown; test_images and test_labels, or a fifth of each class is the test part."""

import numpy as np

from data import npy_files
from data.custom import (
    DEFAULT_OPTIONS,
    FlipOptions,
    check_classes,
    count_classes,
    infer_spec_fields,
    make_test_mask,
    resolve_flip,
)
from data.images import Images, check_images, check_labels
from data.memmap import MAX_IN_MEMORY_BYTES, MemmapImages
from data.spec import DatasetSpec, LoadedDataset
from utils.errors import UserError


def load(root: str, *, flip: FlipOptions) -> LoadedDataset:
    """Raises UserError naming the first image or label that is not what it has to be."""
    arrays, where = npy_files.load_arrays(root, "images", "arrays")
    train = _check_part(arrays["images"], arrays["labels"], where, allow_unknown=True)
    if "test_images" in arrays:
        test = _check_part(
            arrays["test_images"], arrays["test_labels"], f"the test part of {where}"
        )
    else:
        out = make_test_mask(np.arange(len(train.labels)), train.labels)
        train, test = _subset(train, ~out), _subset(train, out)
    classes = tuple(map(str, range(count_classes(train.labels, test.labels, where))))
    check_classes(train.labels, test.labels, classes, where)
    flips, said = resolve_flip(train.pixels, flip.flip)
    found = infer_spec_fields(train, test, classes, flips, where)
    return LoadedDataset(train, test, found, classes, warnings=said)


def _check_part(
    images: np.ndarray, labels: np.ndarray, where: str, allow_unknown: bool = False
) -> Images:
    if images.ndim not in (3, 4) or not all(images.shape):
        raise UserError(
            f"the images of {where} are of shape {images.shape}, not (N, height, width) or "
            "(N, height, width, channels)"
        )
    pixels = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    if (
        isinstance(images, np.memmap)
        and images.dtype == np.uint8
        and images.nbytes > MAX_IN_MEMORY_BYTES
    ):
        return Images(
            MemmapImages(pixels),
            check_labels(labels, len(images), where, allow_unknown=allow_unknown),
        )
    if images.dtype.kind == "f":
        pixels = _floats_to_uint8(pixels, where)
    return check_images(pixels, labels, where, allow_unknown=allow_unknown)


def _floats_to_uint8(pixels: np.ndarray, where: str) -> np.ndarray:
    """Floats in [0, 1] as uint8."""
    found = np.empty(pixels.shape, np.uint8)
    for image, values in enumerate(pixels):
        if not (values.min() >= 0 and values.max() <= 1):  # NaN is not
            raise UserError(
                f"image {image} of {where} has a float outside [0, 1]: floats in [0, 1] are "
                "right, or uint8"
            )
        found[image] = np.round(values * 255)
    return found


def _subset(part: Images, chosen: np.ndarray) -> Images:
    ids, pixels = np.flatnonzero(chosen), part.pixels
    return Images(
        pixels.subset(ids) if isinstance(pixels, MemmapImages) else pixels[ids], part.labels[ids]
    )


SPEC = DatasetSpec(load, list_files=npy_files.list_files, defaults=DEFAULT_OPTIONS)
