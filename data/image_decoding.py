"""Image files to pixels, by PIL: one size, one number of channels, 8 bits.

The first picture of several; turned as its EXIF says; 16 bits by their upper 8; palettes, CMYK and
other colours as RGB; transparency is dropped.  Then the longer side is cut off evenly at both ends,
and the square resized.
"""

import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

MAX_DEFAULT_SIDE = 64  # where no size is asked for
GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
SIXTEEN_BIT_MODES = {mode for mode in GREY_MODES if mode.startswith("I")}


class UnreadableImage(Exception):
    """A file that holds no image that can be used."""


def scan_headers(paths: Iterable[Path]) -> tuple[Counter, bool, dict[int, str]]:
    """From the headers alone: how often each shorter side comes, are all images grey, and why which
    file cannot be read."""
    sides, grey, bad = Counter(), True, {}
    for number, path in enumerate(paths):
        try:
            side, is_grey = _process_image_file(
                path, lambda image: (min(image.size), image.mode in GREY_MODES)
            )
        except UnreadableImage as error:
            bad[number] = str(error)
            continue
        sides[side] += 1
        grey = grey and is_grey
    return sides, grey, bad


def most_common_side(sides: Counter) -> int:
    """The commonest side, up to LARGEST_SIDE; the smaller of two."""
    capped = Counter()
    for side, count in sides.items():
        capped[min(side, MAX_DEFAULT_SIDE)] += count
    return min(capped, key=lambda side: (-capped[side], side))


def decode_image(path: Path, size: int, grey: bool) -> np.ndarray:
    """-> (1 or 3, size, size) uint8.  Raises Unreadable."""
    pixels = _process_image_file(path, lambda image: _crop_and_resize(image, size, grey))
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _crop_and_resize(image: Image.Image, size: int, grey: bool) -> np.ndarray:
    image.load()  # of several pictures the first
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floats")
    if image.mode in SIXTEEN_BIT_MODES:
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray(np.uint8(np.clip(values, 0, 2**16 - 1) >> 8))
    image = image.convert("L" if grey else "RGB")
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))


def _process_image_file(path: Path, use: Callable):
    """What is made of an image file; whatever PIL has to say against it is Unreadable."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is no file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return use(image)
    except Exception as error:  # PIL's formats raise many kinds
        raise UnreadableImage(_failure_reason(error)) from None


def _failure_reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    if isinstance(error, Image.UnidentifiedImageError):
        return "no image"
    return str(error) or type(error).__name__
