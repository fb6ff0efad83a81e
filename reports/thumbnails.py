"""Combines the images of a run in one PNG (a sprite), at their original size."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

IMAGES_PER_ROW = 32
_SAMPLE_SIZE = 64  # number of images from which the bytes of all are estimated


def allot_images(counts: list[int], room: int) -> list[int]:
    """Number of images to show for each cycle: all, or equally many where they do not fit.

    counts: images of each cycle; room: number of images that can be shown in total."""
    allotted, left = [0] * len(counts), room
    order = sorted(range(len(counts)), key=counts.__getitem__)
    for position, cycle in enumerate(order):
        allotted[cycle] = min(counts[cycle], left // (len(order) - position))
        left -= allotted[cycle]
    return allotted


def images_that_fit(images: Any, indices: Sequence[int], max_bytes: int) -> int:
    """Estimated number of these images that a sprite of max_bytes holds.

    images: (N, C, H, W) uint8, anything that can be indexed."""
    positions = np.linspace(0, len(indices) - 1, min(_SAMPLE_SIZE, len(indices))).astype(int)
    sample = np.asarray(indices)[positions]
    bytes_per_image = len(make_sprite(images, sample)) / max(len(sample), 1)
    return int(max_bytes / bytes_per_image)


def make_sprite(images: Any, indices: ArrayLike) -> bytes:
    """A PNG with the images in rows of IMAGES_PER_ROW, in the order of the indices.

    images: (N, C, H, W) uint8, anything that can be indexed.  One channel becomes grey; otherwise
    the first three channels are red, green and blue, and a missing third one is zero."""
    pixels = np.asarray(images[np.asarray(indices, np.int64)], np.uint8)
    n, channels, height, width = pixels.shape
    if channels != 1:
        rgb = np.zeros((n, 3, height, width), np.uint8)
        rgb[:, : min(channels, 3)] = pixels[:, :3]
        pixels = rgb
    rows = -(-n // IMAGES_PER_ROW)
    sheet = np.zeros((rows * IMAGES_PER_ROW, *pixels.shape[1:]), np.uint8)
    sheet[:n] = pixels
    sheet = sheet.reshape(rows, IMAGES_PER_ROW, -1, height, width).transpose(0, 3, 1, 4, 2)
    sheet = sheet.reshape(rows * height, IMAGES_PER_ROW * width, -1)
    file = io.BytesIO()
    Image.fromarray(sheet.squeeze(2) if sheet.shape[2] == 1 else sheet).save(
        file, "PNG", optimize=True
    )
    return file.getvalue()
