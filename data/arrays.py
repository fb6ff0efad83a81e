"""The user's own images in numpy arrays: --data-root names a file of arrays, or a folder of .npy
files (data.array_files).

images (N, H, W), (N, H, W, C) or (N, C, H, W) and labels (data.array_labels) under the names of
several projects (data.array_roles), with or without a test part.  Without one, a fifth of each
class forms the test part; an index is always the row of the file.  Values become 8 bits by one
scale for all images (data.value_scale); images that are not square are cropped at their centre."""

import numpy as np
import torch

from data import array_files
from data.array_labels import read_labels
from data.array_roles import ArrayParts, find_parts
from data.array_rows import RowNumbers, hold_out_rows, make_loaded_dataset
from data.custom import (
    DEFAULT_OPTIONS,
    FlipOptions,
    ValueOptions,
    check_classes,
    infer_spec_fields,
    resolve_flip,
)
from data.images import Images, check_images
from data.memmap import MAX_IN_MEMORY_BYTES, MemmapImages
from data.spec import DatasetSpec, LoadedDataset
from data.value_scale import ValueScale, infer_scale, value_kind
from utils.errors import UserError

MAX_CHANNELS = 4  # of images that may be of any height and width
CHUNK_IMAGES = 4096  # images whose values are looked at at a time


def load(root: str, *, flip: FlipOptions, values: ValueOptions) -> LoadedDataset:
    """Raises UserError naming the first invalid image or label."""
    arrays, source = array_files.read_arrays(root, "arrays")
    parts = find_parts(arrays, "images", source)
    train, test, rows, scale, class_names = _read_parts(parts, values, source)
    _refuse_identical(train.pixels, source)
    check_classes(train.labels, test.labels, class_names, source)
    flips, warnings = resolve_flip(train.pixels, flip.flip)
    parts.notes += warnings
    return make_loaded_dataset(
        train,
        test,
        rows,
        parts,
        class_names,
        source,
        spec_fields=infer_spec_fields(train, test, class_names, flips, source),
        value_scales={} if scale.is_identity else {value_kind(parts.content.dtype): scale},
    )


def _read_parts(
    parts: ArrayParts, values: ValueOptions, source: str
) -> tuple[Images, Images, RowNumbers | None, ValueScale, tuple[str, ...]]:
    """The training and the test part, their rows where the file has no test part, the scale of all
    values, and the class names."""
    test_source, notes = f"the test part of {source}", parts.notes
    pixels = _as_channels_first(parts.content, parts.labels, source, notes)
    tests = pixels[:0]
    if parts.test_content is not None:
        tests = _as_channels_first(parts.test_content, parts.test_labels, test_source, notes)
    labels, test_labels, class_names = read_labels(
        parts.labels, len(pixels), parts.test_labels, len(tests), parts.class_names, source
    )
    pixels, tests = _crop_square(pixels, source, notes), _crop_square(tests, source, [])
    scale = _choose_scale({source: pixels, test_source: tests}, values.scale, source)
    if not scale.is_identity:
        notes.append(f"{source}: {scale.description}")
    train = _make_part(pixels, labels, scale, source)
    if parts.test_content is not None:
        return train, _make_part(tests, test_labels, scale, test_source), None, scale, class_names
    rows = hold_out_rows(labels)
    train, test = (_select_images(train, numbers) for numbers in rows)
    return train, test, rows, scale, class_names


def _as_channels_first(
    images: np.ndarray, labels: np.ndarray | None, source: str, notes: list[str]
) -> np.ndarray:
    """(N, H, W), (N, H, W, C), (N, C, H, W) or, as MATLAB has it, (H, W, C, N) -> (N, C, H, W), a
    view.

    labels: as stored, whose number tells whether the images are along the last axis."""
    if images.ndim not in (3, 4) or not all(images.shape):
        raise UserError(
            f"the images of {source} have shape {images.shape}, not (N, height, width) or "
            "(N, height, width, channels)"
        )
    count = None if labels is None else max(labels.shape, default=0)
    if count not in (None, len(images)) and count == images.shape[-1]:
        notes.append(f"{source}: images {images.shape} are read along the last axis")
        images = np.moveaxis(images, -1, 0)
    if images.ndim == 3:
        return images[:, None]
    channels, height, width = images.shape[1:]
    if channels <= MAX_CHANNELS < min(height, width) or channels < height == width:
        notes.append(f"{source}: images {images.shape} are read as (N, channels, height, width)")
        return images
    return images.transpose(0, 3, 1, 2)


def _crop_square(pixels: np.ndarray, source: str, notes: list[str]) -> np.ndarray:
    """The central squares (N, C, S, S) of images (N, C, H, W), a view."""
    height, width = pixels.shape[2:]
    side = min(height, width)
    if height != width:
        notes.append(
            f"{source}: images of {height} x {width} pixels are cropped to the central {side} x "
            f"{side}"
        )
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[:, :, top : top + side, left : left + side]


def _choose_scale(
    parts: dict[str, np.ndarray], given: ValueScale | None, source: str
) -> ValueScale:
    """The scale from stored values to 8 bits, one for all parts.

    parts: the name of each, for messages -> its pixels; given: the scale of the user, or None."""
    parts = {name: pixels for name, pixels in parts.items() if len(pixels)}
    kinds = {pixels.dtype.kind in "f" for pixels in parts.values()}
    if len(kinds) > 1:
        types = " and ".join(str(pixels.dtype) for pixels in parts.values())
        raise UserError(
            f"{source}: training and test images are of types {types}; store both in the same"
        )
    smallest, largest = np.inf, -np.inf
    for name, pixels in parts.items():
        if pixels.dtype.kind not in "biuf":
            raise UserError(
                f"the pixels of {name} are of type {pixels.dtype}, not numbers; store whole "
                "numbers 0 .. 255 or floats in [0, 1]"
            )
        for start in range(0, len(pixels), CHUNK_IMAGES):
            chunk = pixels[start : start + CHUNK_IMAGES]
            _refuse_not_finite(chunk, start, name)
            smallest = min(smallest, float(chunk.min()))
            largest = max(largest, float(chunk.max()))
    return given or infer_scale(
        np.result_type(*(pixels.dtype for pixels in parts.values())), smallest, largest
    )


def _refuse_not_finite(chunk: np.ndarray, start: int, source: str) -> None:
    if chunk.dtype.kind != "f":
        return
    invalid = ~np.isfinite(chunk).all(axis=(1, 2, 3))
    if invalid.any():
        row = start + int(invalid.argmax())
        raise UserError(
            f"image {row} of {source} has a pixel that is not a finite float (NaN or infinite); "
            "replace it, or leave the image out"
        )


def _make_part(pixels: np.ndarray, labels: np.ndarray, scale: ValueScale, source: str) -> Images:
    """Pixels (N, C, S, S) as stored and labels (N,) -> the part; large files stay in the file."""
    if scale.is_identity and pixels.dtype == np.uint8:
        if isinstance(pixels, np.memmap) and pixels.nbytes > MAX_IN_MEMORY_BYTES:
            return Images(MemmapImages(pixels), labels)
        return check_images(pixels, labels, source, allow_unknown=True)
    converted = np.empty(pixels.shape, np.uint8)
    for start in range(0, len(pixels), CHUNK_IMAGES):
        rows = slice(start, start + CHUNK_IMAGES)
        converted[rows] = scale.to_uint8(pixels[rows])
    return check_images(converted, labels, source, allow_unknown=True)


def _refuse_identical(pixels: torch.Tensor | MemmapImages, source: str) -> None:
    """Raises UserError where all images (N, C, S, S) are the same."""
    first = pixels[:1]
    for start in range(0, len(pixels), CHUNK_IMAGES):
        if (pixels[start : start + CHUNK_IMAGES] != first).any():
            return
    if len(pixels) > 1:
        raise UserError(
            f"all {len(pixels)} training images of {source} are identical, so that nothing can be "
            "learned; check how they were saved, or --value-range"
        )


def _select_images(part: Images, rows: np.ndarray) -> Images:
    """The images of these rows (n,)."""
    pixels = part.pixels
    selected = pixels.subset(rows) if isinstance(pixels, MemmapImages) else pixels[rows]
    return Images(selected, part.labels[rows])


SPEC = DatasetSpec(load, list_files=array_files.list_files, defaults=DEFAULT_OPTIONS)
