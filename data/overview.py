"""A look at a user's own data before training: what they hold, in a few lines and one picture.

It is there to show mistakes while they are cheap: images that all look alike, classes that were
mixed up, or test images that are also training images.

    distinct images     by their pixels, exactly
    near-duplicates     two images whose pixels differ by at most NEAR_LEVELS of 255 levels (root
                        mean square), and by at most NEAR_SHARE of what two random images differ by
                        (data.duplicates)
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from data.duplicates import digest_rows, near_threshold, reduce_images
from data.images import Images
from data.memmap import MemmapImages
from utils.console import pluralize, to_one_line
from utils.errors import UserError
from utils.torch_faiss import faiss

CONTACT_SHEET_FILE = "data.png"  # in the run folder
DESCRIPTION_KEY = "Description"  # a keyword of the PNG specification, section 11.3.3.2
CHUNK_IMAGES = 4096
MAX_COMPARED = 5_000  # images of each part that are compared with each other
MAX_CLASSES_LISTED = 10
SHEET_CLASSES, SHEET_IMAGES, SHEET_SIDE = 20, 12, 40  # rows, images per row, pixels per image
LABEL_WIDTH, GAP = 150, 2  # pixels of the contact sheet


class DataOverview(NamedTuple):
    """lines: for the log; warnings: what may be wrong; contact_sheet: a PNG, images per class."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    contact_sheet: bytes


def look_at_images(
    train: Images,
    test: Images,
    class_names: Sequence[str],
    train_digests: Sequence[bytes] | None = None,
) -> DataOverview:
    """What the images of the training and the test part are.

    train_digests: from `digest_rows`, where they have been computed already.
    Raises UserError where all images are identical."""
    hashes = train_digests or digest_rows(train), digest_rows(test)
    distinct = len(set(hashes[0]) | set(hashes[1]))
    count = len(hashes[0]) + len(hashes[1])
    if distinct == 1 and count > 1:
        raise UserError(
            f"all {count} images have the same pixels; check the files, or the range of their "
            "values (--value-range)"
        )
    levels = _count_levels(train.pixels)
    near_train, near_test, compared = _count_near_duplicates(train.pixels, test.pixels)
    sample = f" (of {compared} compared)" if compared < len(hashes[0]) else ""
    near = (f"data: {near_train} training images have a near-duplicate{sample}",)
    lines = (
        f"data: {len(hashes[0])} training and {len(hashes[1])} test images, {distinct} distinct, "
        f"{levels} of 256 levels used",
        *(near if near_train else ()),
        f"data: {_describe_classes(train.labels, class_names)}",
    )
    warnings = tuple(_find_leaks(hashes, near_test))
    sheet = draw_contact_sheet(train, class_names, "\n".join((*lines, *warnings)))
    return DataOverview(lines, warnings, sheet)


def _find_leaks(hashes: tuple[Sequence[bytes], list[bytes]], near_test: int) -> Iterator[str]:
    known = set(hashes[0])
    shared = sum(value in known for value in hashes[1])
    if shared:
        yield (
            f"{shared} of {len(hashes[1])} test images are also training images: the test accuracy "
            "will be too high; remove them from one part"
        )
    if near_test > shared:
        yield (
            f"{near_test} test images are near-duplicates of training images: the test accuracy "
            "may be too high"
        )


def _describe_classes(labels: np.ndarray, class_names: Sequence[str]) -> str:
    sizes = np.bincount(labels[labels >= 0], minlength=len(class_names))
    unknown = int((labels < 0).sum())
    end = f", {unknown} of unknown class" if unknown else ""
    if len(class_names) <= MAX_CLASSES_LISTED:
        parts = (f"{to_one_line(n)} {size}" for n, size in zip(class_names, sizes, strict=True))
        return f"training images per class: {', '.join(parts)}{end}"
    smallest, largest = int(sizes.argmin()), int(sizes.argmax())
    return (
        f"{len(class_names)} classes of {sizes[smallest]} ({to_one_line(class_names[smallest])}) "
        f"to {sizes[largest]} ({to_one_line(class_names[largest])}) training images{end}"
    )


def _chunks(pixels: torch.Tensor | MemmapImages) -> Iterator[np.ndarray]:
    for chunk in pixels.split(CHUNK_IMAGES):
        yield chunk.numpy()


def _count_levels(pixels: torch.Tensor | MemmapImages) -> int:
    """How many of the 256 values occur."""
    counts = np.zeros(256, np.int64)
    for chunk in _chunks(pixels):
        counts += np.bincount(chunk.reshape(-1), minlength=256)
    return int((counts > 0).sum())


def _count_near_duplicates(
    train: torch.Tensor | MemmapImages, test: torch.Tensor | MemmapImages
) -> tuple[int, int, int]:
    """Training images with a near-duplicate among the others, test images with one among the
    training images, and how many training images were compared."""
    parts = [_small_images(pixels) for pixels in (train, test)]
    threshold = near_threshold(parts[0])
    within, _ = faiss.knn(parts[0], parts[0], min(2, len(parts[0])), metric=faiss.METRIC_L2)
    across, _ = faiss.knn(parts[1], parts[0], 1, metric=faiss.METRIC_L2)
    near = int((within[:, -1] <= threshold).sum()) if len(parts[0]) > 1 else 0
    return near, int((across[:, 0] <= threshold).sum()), len(parts[0])


def _small_images(pixels: torch.Tensor | MemmapImages) -> np.ndarray:
    """Up to MAX_COMPARED images, spread over all, reduced: (n, d) float32."""
    chosen = np.linspace(0, len(pixels) - 1, min(MAX_COMPARED, len(pixels))).astype(np.int64)
    return reduce_images(pixels, chosen)


def draw_contact_sheet(train: Images, class_names: Sequence[str], description: str = "") -> bytes:
    """A PNG with one row per class: its name, its number of training images and some of them.

    description: stored in the file, for the page of a report."""
    labels = train.labels
    rows = [(name, np.flatnonzero(labels == c)) for c, name in enumerate(class_names)]
    unknown = np.flatnonzero(labels < 0)
    hidden = len(rows) - SHEET_CLASSES
    rows = rows[:SHEET_CLASSES] + ([("(unknown class)", unknown)] if len(unknown) else [])
    height = (SHEET_SIDE + GAP) * len(rows) + (20 if hidden > 0 else 0)
    sheet = Image.new("RGB", (LABEL_WIDTH + (SHEET_SIDE + GAP) * SHEET_IMAGES, height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, members) in enumerate(rows):
        top = number * (SHEET_SIDE + GAP)
        draw.text((4, top + 6), _printable(name), fill="black")
        draw.text((4, top + 20), pluralize(len(members), "image"), fill="gray")
        spread = np.linspace(0, len(members) - 1, min(SHEET_IMAGES, len(members)))
        for column, index in enumerate(members[spread.astype(np.int64)]):
            tile = _to_picture(torch.as_tensor(train.pixels[np.array([index])])[0].numpy())
            sheet.paste(tile, (LABEL_WIDTH + column * (SHEET_SIDE + GAP), top))
    if hidden > 0:
        draw.text((4, height - 16), f"and {hidden} more classes", fill="gray")
    file = io.BytesIO()
    text = PngInfo()
    text.add_itxt(DESCRIPTION_KEY, description)
    sheet.save(file, "PNG", pnginfo=text)
    return file.getvalue()


def _to_picture(pixels: np.ndarray) -> Image.Image:
    """An image (C, H, W) uint8 as a tile; two channels become red and green."""
    if len(pixels) == 1:
        picture = Image.fromarray(pixels[0]).convert("RGB")
    else:
        rgb = np.zeros((3, *pixels.shape[1:]), np.uint8)
        rgb[: min(len(pixels), 3)] = pixels[:3]
        picture = Image.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)))
    is_enlarged = pixels.shape[1] < SHEET_SIDE
    how = Image.Resampling.NEAREST if is_enlarged else Image.Resampling.BILINEAR
    return picture.resize((SHEET_SIDE, SHEET_SIDE), how)


def _printable(name: str) -> str:
    """The name as the picture's font can draw it, shortened to the space beside the images."""
    text = to_one_line(name).encode("latin-1", "replace").decode("latin-1")
    return text if len(text) <= 22 else text[:20] + "..."
