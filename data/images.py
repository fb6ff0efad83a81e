"""The checks that all images and labels pass, whatever read them.

A reader passes arrays as it read them.  Shape, type and range are checked here; nothing is rounded,
clipped or wrapped around when it is converted to the types of Images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from data.memmap import MemmapImages
from utils.errors import UserError
from utils.fingerprints import array_digest

if TYPE_CHECKING:
    from data.feature_vectors import Features

NUMERIC_KINDS = "iuf"  # numpy's codes: signed, unsigned, floating


class Images(NamedTuple):
    """One part (training or test) of a data set."""

    pixels: torch.Tensor | MemmapImages  # (N, C, H, W) uint8
    labels: np.ndarray  # (N,) int64


def check_images(
    pixels: Any,
    labels: Any,
    source: str = "the data",
    *,
    labels_source: str | None = None,
    num_classes: int | None = None,
    shape: tuple[int, int, int] | None = None,
    allow_unknown: bool = False,
) -> Images:
    """Pixels (N, C, H, W) and labels (N,) as a reader has them, in the types of Images.

    pixels, labels: anything that numpy makes an array of.
    source: what they were read from, for messages; labels_source: the file of the labels, where it
    is another one.
    num_classes: the number of classes, where known; shape: an image's (C, H, W), where known.
    allow_unknown: whether a label may be -1.
    Raises UserError naming the first invalid image or label."""
    pixels = np.asarray(pixels)
    _check_image_shape(pixels, source, shape)
    labels = check_labels(
        labels,
        len(pixels),
        source,
        labels_source=labels_source,
        num_classes=num_classes,
        allow_unknown=allow_unknown,
    )
    _check_pixel_values(pixels, source)
    pixels = np.require(pixels.astype(np.uint8, copy=False), requirements=["C", "W"])
    return Images(torch.from_numpy(pixels), labels)


def check_labels(
    labels: Any,
    count: int,
    source: str,
    *,
    labels_source: str | None = None,
    num_classes: int | None = None,
    allow_unknown: bool = False,
) -> np.ndarray:
    """Labels as a reader has them -> (count,) int64; for the arguments, see `check_images`.

    Raises UserError naming the first invalid label."""
    labels = _as_label_array(labels, labels_source or source)
    if count != len(labels) or not len(labels):
        files = f"{source} and {labels_source}" if labels_source else source
        raise UserError(
            f"{files}: {count} images but {len(labels)} labels; one label per image is needed, "
            "and at least one image"
        )
    _check_label_values(labels, labels_source or source, num_classes, -1 if allow_unknown else 0)
    return np.require(labels.astype(np.int64, copy=False), requirements=["C", "W"])


def data_fingerprint(*parts: Images | Features) -> str:
    """A digest of the contents of the parts (training, test) of a data set."""
    arrays = (array for part in parts for array in (part[0], part.labels))
    return array_digest(*(a.numpy() if isinstance(a, torch.Tensor) else a for a in arrays))


def concatenate_images(parts: list[Images]) -> Images:
    """The images of several files, in their order."""
    if len(parts) == 1:
        return parts[0]
    pixels = torch.cat([part.pixels[:] for part in parts])
    return Images(pixels, np.concatenate([part.labels for part in parts]))


def _as_label_array(labels: Any, source: str) -> np.ndarray:
    try:
        array = np.asarray(labels)
    except ValueError:  # lists of different lengths
        array = np.empty(())
    if array.ndim != 1:
        raise UserError(f"the labels of {source} are not one number per image")
    return array


def _check_image_shape(pixels: np.ndarray, source: str, shape: tuple[int, int, int] | None) -> None:
    if pixels.ndim != 4 or (shape and pixels.shape[1:] != shape):
        expected = ", ".join(str(n) for n in shape) if shape else "channels, height, width"
        raise UserError(f"the images of {source} have shape {pixels.shape}, not (N, {expected})")


def _check_label_values(
    labels: np.ndarray, source: str, num_classes: int | None, minimum: int
) -> None:
    expected = f"a class 0 .. {num_classes - 1}" if num_classes else "a whole number from 0 on"
    expected += ", or -1 where it is unknown" if minimum < 0 else ""
    if labels.dtype.kind not in NUMERIC_KINDS:
        raise UserError(f"the labels of {source} are of type {labels.dtype}, not {expected}")
    maximum = num_classes - 1 if num_classes else np.iinfo(np.int64).max
    invalid = _invalid_integer_mask(labels, maximum, minimum)
    if invalid.any():
        first = invalid.argmax()
        raise UserError(f"label {first} of {source} is {labels[first]}, not {expected}")


def _check_pixel_values(pixels: np.ndarray, source: str) -> None:
    if pixels.dtype == np.uint8:
        return
    if pixels.dtype.kind not in NUMERIC_KINDS:
        raise UserError(f"the pixels of {source} are of type {pixels.dtype}, not numbers 0 .. 255")
    invalid = _invalid_integer_mask(pixels, 255)
    if invalid.any():
        first = tuple(np.argwhere(invalid)[0])
        raise UserError(
            f"image {first[0]} of {source} has a pixel of {pixels[first]}, "
            "not a whole number 0 .. 255"
        )
    if pixels.dtype.kind == "f" and pixels.max() <= 1:  # in [0, 1]; as 0 .. 255 almost black
        raise UserError(
            f"the largest of the pixels of {source} is {pixels.max()}, although floats must be in "
            "0 .. 255; multiply them by 255"
        )


def _invalid_integer_mask(values: np.ndarray, maximum: int, minimum: int = 0) -> np.ndarray:
    """Which values are not whole numbers minimum .. maximum; NaN is not."""
    invalid = ~((values >= minimum) & (values <= maximum))
    return invalid | (values != np.floor(values)) if values.dtype.kind == "f" else invalid
