"""A data set: the even digits, upright or upside down."""

import dataclasses

from data import digits
from data.spec import DatasetSpec, check_images
from utils.options.option import Option


def load(root: str, upside_down: bool = False):
    """Five classes of 8 x 8 images."""
    parts = []
    for part in digits.load(root):
        even = part.labels % 2 == 0
        pixels = part.pixels[even]
        pixels = pixels.flip(2) if upside_down else pixels
        parts.append(check_images(pixels.numpy(), part.labels[even] // 2))
    return tuple(parts)


ROW = DatasetSpec(
    load, num_classes=5, channels=1, size=8, max_shift=1, flip=False,
    defaults={"arch": "guest"}, list_files=digits.SPEC.list_files,
)  # fmt: skip
UPSIDE_DOWN = Option(
    "guest_upside_down", False, "turn the images", kind=bool, keyword="upside_down"
)
WITH_OPTION = dataclasses.replace(ROW, options=(UPSIDE_DOWN,))
