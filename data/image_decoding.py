"""Decode image files with PIL to one size, one number of channels and 8 bits.

Of several frames the first is used.  The image is rotated as its EXIF data say; 16 bits are reduced
to the upper 8; palettes, CMYK and other colour spaces become RGB; transparency is dropped.  Then
the longer side is cropped equally at both ends, and the square is resized.
"""

import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

T = TypeVar("T")

MAX_DEFAULT_SIDE = 64  # pixels, unless --image-size is given
GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
SIXTEEN_BIT_MODES = {mode for mode in GREY_MODES if mode.startswith("I")}


class UnreadableImage(Exception):
    """A file is not an image that can be used; the text says why."""


def scan_headers(paths: Iterable[Path]) -> tuple[Counter[int], bool, dict[int, str]]:
    """What the headers alone say: how often each length of the shorter side occurs, whether all
    images are grey, and position -> why a file cannot be read."""
    sides: Counter[int] = Counter()
    all_grey = True
    unreadable = {}
    for number, path in enumerate(paths):
        try:
            side, is_grey = _process_image_file(
                path, lambda image: (min(image.size), image.mode in GREY_MODES)
            )
        except UnreadableImage as error:
            unreadable[number] = str(error)
            continue
        sides[side] += 1
        all_grey = all_grey and is_grey
    return sides, all_grey, unreadable


def most_common_side(sides: Counter[int]) -> int:
    """The most common side, up to MAX_DEFAULT_SIDE; of equally common ones the smallest."""
    capped: Counter[int] = Counter()
    for side, count in sides.items():
        capped[min(side, MAX_DEFAULT_SIDE)] += count
    return min(capped, key=lambda side: (-capped[side], side))


def decode_image(path: Path, size: int, grey: bool) -> np.ndarray:
    """-> (1 or 3, size, size) uint8.  Raises UnreadableImage."""
    pixels = _process_image_file(path, lambda image: _crop_and_resize(image, size, grey))
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _crop_and_resize(image: Image.Image, size: int, grey: bool) -> np.ndarray:
    image.load()  # the first frame
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floats")
    if image.mode in SIXTEEN_BIT_MODES:
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray(np.uint8(np.clip(values, 0, 2**16 - 1) >> 8))
    image = image.convert("L" if grey else "RGB")
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))


def _process_image_file(path: Path, process: Callable[[Image.Image], T]) -> T:
    """The result of `process` for the image in a file.

    Raises UnreadableImage for whatever PIL raises."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("not a regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return process(image)
    except Exception as error:  # PIL's formats raise many kinds
        raise UnreadableImage(_failure_reason(error)) from None


def _failure_reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    return str(error) or type(error).__name__
