"""The images of a run in one picture, as small as they are."""

import io

import numpy as np
from PIL import Image

IMAGES_PER_ROW = 32
_SIZE_SAMPLE_IMAGES = 64  # images by which the bytes of all are estimated


def allot_images(counts: list[int], room: int) -> list[int]:
    """How many of each cycle's images are shown: all, or as many first ones of each as fit.

    counts: images of each cycle; room: how many there is room for in all."""
    shown, left = [0] * len(counts), room
    order = sorted(range(len(counts)), key=counts.__getitem__)
    for place, cycle in enumerate(order):
        shown[cycle] = min(counts[cycle], left // (len(order) - place))
        left -= shown[cycle]
    return shown


def images_that_fit(images, indices: np.ndarray, limit: int) -> int:
    """How many of these images a sprite of `limit` bytes holds, about.

    images: (N, C, H, W) uint8 that can be indexed."""
    some = indices[
        np.linspace(0, len(indices) - 1, min(_SIZE_SAMPLE_IMAGES, len(indices))).astype(int)
    ]
    each = len(make_sprite(images, some)) / max(len(some), 1)
    return int(limit / each)


def make_sprite(images, indices: np.ndarray) -> bytes:
    """A PNG with the images in rows of COLUMNS, in their order.

    images: (N, C, H, W) uint8; of one channel grey, of others the first three (or two and black)
    as red, green and blue."""
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
