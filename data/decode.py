"""Image files to pixels, by PIL: one size, one number of channels, 8 bits.

Turned as EXIF says; 16 bits by their upper 8; of the longer side as much is cut off at both ends,
and the square is resized.
"""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


class Unreadable(Exception):
    """A file that holds no image that can be used; says why."""


def decoded(path: Path, size: int, grey: bool) -> np.ndarray:
    """-> (1 or 3, size, size) uint8.  Raises Unreadable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                pixels = np.asarray(_fitted(image, size, grey))
    except Exception as error:  # PIL's formats raise many kinds
        raise Unreadable(str(error) or type(error).__name__) from None
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _fitted(image: Image.Image, size: int, grey: bool) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # convert("L") would make white of all that is above 255
        wide = np.asarray(image).clip(0, 2**16 - 1).astype(np.uint16)
        image = Image.fromarray((wide // 256).astype(np.uint8))
    image = image.convert("L" if grey else "RGB")
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
