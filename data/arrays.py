"""The user's own images in numpy arrays: --data-root names an .npz file, or a folder of .npy files.

images (N, H, W) or (N, H, W, C), uint8 or floats in [0, 1]; labels (N,), classes from 0 on, -1
where unknown; test_images and test_labels.  Without these two, a fifth of each class forms the test
part."""

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
    """Raises UserError naming the first invalid image or label."""
    arrays, source = npy_files.load_arrays(root, "images", "arrays")
    train = _check_part(arrays["images"], arrays["labels"], source, allow_unknown=True)
    if "test_images" in arrays:
        test = _check_part(
            arrays["test_images"], arrays["test_labels"], f"the test part of {source}"
        )
    else:
        test_mask = make_test_mask(np.arange(len(train.labels)), train.labels)
        train, test = _select_images(train, ~test_mask), _select_images(train, test_mask)
    class_names = tuple(map(str, range(count_classes(train.labels, test.labels, source))))
    check_classes(train.labels, test.labels, class_names, source)
    flips, warnings = resolve_flip(train.pixels, flip.flip)
    fields = infer_spec_fields(train, test, class_names, flips, source)
    return LoadedDataset(train, test, fields, class_names, warnings=warnings)


def _check_part(
    images: np.ndarray, labels: np.ndarray, source: str, allow_unknown: bool = False
) -> Images:
    if images.ndim not in (3, 4) or not all(images.shape):
        raise UserError(
            f"the images of {source} have shape {images.shape}, not (N, height, width) or "
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
            check_labels(labels, len(images), source, allow_unknown=allow_unknown),
        )
    if images.dtype.kind == "f":
        pixels = _floats_to_uint8(pixels, source)
    return check_images(pixels, labels, source, allow_unknown=allow_unknown)


def _floats_to_uint8(pixels: np.ndarray, source: str) -> np.ndarray:
    """Floats in [0, 1] -> uint8."""
    converted = np.empty(pixels.shape, np.uint8)
    for index, image in enumerate(pixels):
        if not (image.min() >= 0 and image.max() <= 1):  # also refuses NaN
            raise UserError(
                f"image {index} of {source} has a float outside [0, 1]; use floats in [0, 1] or "
                "uint8"
            )
        converted[index] = np.round(image * 255)
    return converted


def _select_images(part: Images, mask: np.ndarray) -> Images:
    """The images where `mask` (N,) is true."""
    indices, pixels = np.flatnonzero(mask), part.pixels
    selected = pixels.subset(indices) if isinstance(pixels, MemmapImages) else pixels[indices]
    return Images(selected, part.labels[indices])


SPEC = DatasetSpec(load, list_files=npy_files.list_files, defaults=DEFAULT_OPTIONS)
