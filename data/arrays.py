"""Images of the user's own in numpy arrays: --data-root names the .npz file, or a folder of .npy
files.

images (N, H, W) or (N, H, W, C), uint8, or floats in [0, 1]; labels (N,), classes from 0 on, -1
where unknown; test_images and test_labels, or a fifth of each class is the test part."""

import numpy as np

from data import npy_files
from data.custom import DEFAULTS, FLIP, check_classes, count_classes, facts, held_out, mirrored
from data.images import Images, checked_labels, images_of
from data.memmap import HELD, Mapped
from data.spec import DatasetSpec, Found
from utils.errors import UserError


def load(root: str, *, flip: bool | str = "auto") -> Found:
    """Raises UserError naming the first image or label that is not what it has to be."""
    arrays, where = npy_files.read(root, "images", "arrays")
    train = _part(arrays["images"], arrays["labels"], where, unknown=True)
    if "test_images" in arrays:
        test = _part(arrays["test_images"], arrays["test_labels"], f"the test part of {where}")
    else:
        out = held_out(np.arange(len(train.labels)), train.labels)
        train, test = _some(train, ~out), _some(train, out)
    classes = tuple(map(str, range(count_classes(train.labels, test.labels, where))))
    check_classes(train.labels, test.labels, classes, where)
    flip, said = mirrored(train.pixels, flip)
    found = facts(train, test, classes, flip, where)
    return Found(train, test, found, classes, notices=said)


def _part(images: np.ndarray, labels: np.ndarray, where: str, unknown: bool = False) -> Images:
    if images.ndim not in (3, 4) or not all(images.shape):
        raise UserError(
            f"the images of {where} are of shape {images.shape}, not (N, height, width) or "
            "(N, height, width, channels)"
        )
    pixels = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    if isinstance(images, np.memmap) and images.dtype == np.uint8 and images.nbytes > HELD:
        return Images(Mapped(pixels), checked_labels(labels, len(images), where, unknown=unknown))
    if images.dtype.kind == "f":
        pixels = _bytes(pixels, where)
    return images_of(pixels, labels, where, unknown=unknown)


def _bytes(pixels: np.ndarray, where: str) -> np.ndarray:
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


def _some(part: Images, chosen: np.ndarray) -> Images:
    ids, pixels = np.flatnonzero(chosen), part.pixels
    return Images(pixels.some(ids) if isinstance(pixels, Mapped) else pixels[ids], part.labels[ids])


SPEC = DatasetSpec(load, files=npy_files.files, options=(FLIP,), defaults=DEFAULTS)
