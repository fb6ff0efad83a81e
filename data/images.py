"""The one door through which images and labels come in, whoever read them.

A reader hands over arrays as it found them; here shape, type and range are checked, and nothing is
rounded, cut off or wrapped around on the way into the types of Images.
"""

from typing import NamedTuple

import numpy as np
import torch

from utils.errors import UserError
from utils.fingerprints import array_digest

NUMERIC_KINDS = "iuf"  # numpy's kinds: signed, unsigned, floating


class Images(NamedTuple):
    """One part (training or test) of a data set."""

    pixels: torch.Tensor  # (N, C, H, W) uint8; or data.memmap.Mapped, pixels that stay in a file
    labels: np.ndarray  # (N,) int64


def check_images(
    pixels,
    labels,
    source: str = "the data",
    *,
    labels_source: str | None = None,
    num_classes: int | None = None,
    shape: tuple[int, int, int] | None = None,
    allow_unknown: bool = False,
) -> Images:
    """Pixels (N, C, H, W) and labels (N,) as they come from a reader, in the types of Images.

    where: what they were read from, for the user; labels_in: the labels' file, where that is
    another; num_classes, shape: what the labels are below and an image's (C, H, W), where known;
    unknown: may a label be -1?
    Raises UserError naming the first image or label that is not what it has to be."""
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
    pixels = np.require(pixels.astype(np.uint8, copy=False), requirements="CW")
    return Images(torch.from_numpy(pixels), labels)


def check_labels(
    labels,
    count: int,
    source: str,
    *,
    labels_source: str | None = None,
    num_classes: int | None = None,
    allow_unknown: bool = False,
) -> np.ndarray:
    """Labels as they come from a reader as (count,) int64; the arguments are those of images_of."""
    labels = _as_label_array(labels, labels_source or source)
    if count != len(labels) or not len(labels):
        beside = f" and {labels_source}" if labels_source else ""
        raise UserError(
            f"{source}{beside} holds {count} images and {len(labels)} labels: "
            "one label an image is right, and at least one of both"
        )
    _check_label_values(labels, labels_source or source, num_classes, -1 if allow_unknown else 0)
    return np.require(labels.astype(np.int64, copy=False), requirements="CW")


def data_fingerprint(*parts) -> str:
    """A name for the contents of training and test part, Images or data.feature_vectors.Vectors."""
    arrays = (array for part in parts for array in (part[0], part.labels))
    return array_digest(*(a.numpy() if isinstance(a, torch.Tensor) else a for a in arrays))


def concatenate_images(parts: list[Images]) -> Images:
    """The images of several files, in their order."""
    if len(parts) == 1:
        return parts[0]
    pixels, labels = zip(*parts, strict=True)
    return Images(torch.cat(pixels), np.concatenate(labels))


def _as_label_array(labels, where: str) -> np.ndarray:
    try:
        found = np.asarray(labels)
    except ValueError:  # lists of different lengths
        found = np.empty(())
    if found.ndim != 1:
        raise UserError(f"the labels of {where} are not one number an image")
    return found


def _check_image_shape(pixels: np.ndarray, where: str, shape) -> None:
    if pixels.ndim != 4 or (shape and pixels.shape[1:] != shape):
        right = ", ".join(str(n) for n in shape) if shape else "channels, height, width"
        raise UserError(f"the images of {where} are of shape {pixels.shape}, not (N, {right})")


def _check_label_values(
    labels: np.ndarray, where: str, num_classes: int | None, least: int
) -> None:
    right = f"a class 0 .. {num_classes - 1}" if num_classes else "a whole number from 0 on"
    right += ", or -1 where it is unknown" if least < 0 else ""
    if labels.dtype.kind not in NUMERIC_KINDS:
        raise UserError(f"the labels of {where} are of type {labels.dtype}, each must be {right}")
    wrong = _invalid_integer_mask(
        labels, num_classes - 1 if num_classes else np.iinfo(np.int64).max, least
    )
    if wrong.any():
        first = wrong.argmax()
        raise UserError(f"label {first} of {where} is {labels[first]}, not {right}")


def _check_pixel_values(pixels: np.ndarray, where: str) -> None:
    if pixels.dtype == np.uint8:
        return
    if pixels.dtype.kind not in NUMERIC_KINDS:
        raise UserError(f"the pixels of {where} are of type {pixels.dtype}, not numbers 0 .. 255")
    wrong = _invalid_integer_mask(pixels, 255)
    if wrong.any():
        first = tuple(np.argwhere(wrong)[0])
        raise UserError(
            f"image {first[0]} of {where} has a pixel of {pixels[first]}, "
            "not a whole number 0 .. 255"
        )
    if pixels.dtype.kind == "f" and pixels.max() <= 1:  # black and white, and would be all black
        raise UserError(
            f"the pixels of {where} are floats that end at {pixels.max()}, not at 255: "
            "multiply them by 255"
        )


def _invalid_integer_mask(values: np.ndarray, most: int, least: int = 0) -> np.ndarray:
    """Which are not whole numbers least .. most; NaN is not."""
    wrong = ~((values >= least) & (values <= most))
    return wrong | (values != np.floor(values)) if values.dtype.kind == "f" else wrong
