"""The images of a data set as a pre-trained encoder sees them: files at their full size, or the
pixels of arrays, as RGB images of Pillow with 8 bits.

Files are decoded as for a run on pixels (data.image_decoding), with one scale for the values of the
whole folder (data.value_scale).  To know the scale, all files are looked at first: of JPEG and PNG
a few bytes say that they hold 8 bits, other files are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

from data.file_scales import IDENTITY, FileValues, choose_scales
from data.folder_listing import FolderListing
from data.image_decoding import START_BYTES, read_image
from data.image_formats import (
    PNG_START,
    UnreadableImage,
    open_regular_file,
)
from data.images import Images
from data.spec import LoadedDataset
from data.stored_image import UINT8, FittedImage, StoredImage
from data.value_scale import EIGHT_BITS, SMALL_VALUE, ValueScale
from utils.console import CountProgressBar
from utils.errors import UserError
from utils.fingerprints import array_digest, size_and_mtime

JPEG_START, PNG_DEPTH_BYTE = b"\xff\xd8\xff", 24


class ImageSource(Protocol):
    """Images by position."""

    def __len__(self) -> int: ...

    def read(self, position: int) -> Image.Image:
        """An RGB image; threads may call this at once.  Raises UnreadableImage."""

    def stamp(self, positions: range) -> str:
        """A text that changes whenever these images may have changed."""

    def describe(self, position: int) -> str:
        """The name of an image, for messages."""


class InputPart(NamedTuple):
    """One part of a data set.

    prefix: of the names of its arrays: "", "test_" or "val_"; labels: (N,), -1 where unknown.
    paths: of the N images, or none."""

    prefix: str
    images: ImageSource
    labels: np.ndarray
    paths: tuple[str, ...] = ()


class EncoderInputs(NamedTuple):
    """What is to be encoded.

    image_folder: to which the paths are relative; empty where they are no files.
    scales: kind of stored values -> scale; page: what is used of files with several pages.
    shown_pixels: (N, C, S, S) of the training part, where there are no files to show.
    listing: of the files, None for arrays."""

    parts: tuple[InputPart, ...]
    class_names: tuple[str, ...]
    source: str
    image_folder: str = ""
    scales: Mapping[str, ValueScale] = {}
    page: str = "first"
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    shown_pixels: Any = None
    listing: FolderListing | None = None

    @property
    def list_name(self) -> str:
        """A digest of which images there are, in which order, of which class, and how their values
        are scaled."""
        digest = hashlib.sha256(repr((self.class_names, self.page)).encode())
        digest.update(repr(sorted((k, s.to_dict()) for k, s in self.scales.items())).encode())
        for part in self.parts:
            digest.update(f"{part.prefix} {array_digest(part.labels)} {len(part.images)}".encode())
            for path in part.paths:
                digest.update(path.encode(errors="surrogateescape") + b"\0")
        return digest.hexdigest()[:16]

    @property
    def stamp(self) -> str:
        """A text that changes whenever an image may have changed."""
        stamps = [part.images.stamp(range(len(part.images))) for part in self.parts]
        return hashlib.sha256(repr(stamps).encode()).hexdigest()[:16]


class FileSource:
    """Image files, decoded at their full size."""

    def __init__(self, paths: Sequence[Path], page: str, scales: Mapping[str, ValueScale]):
        self.paths, self.page, self.scales = paths, page, scales

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, position: int) -> Image.Image:
        return render_image(read_image(self.paths[position], self.page, grey=None), self.scales)

    def stamp(self, positions: range) -> str:
        stamps = [size_and_mtime(self.paths[position]) for position in positions]
        return hashlib.sha256(repr(stamps).encode()).hexdigest()[:16]

    def describe(self, position: int) -> str:
        return str(self.paths[position])


class PixelSource:
    """Images of a data set in arrays."""

    def __init__(self, pixels: Any, fingerprint: str, source: str):
        """pixels: (N, 1 or 3, S, S) uint8, a tensor or data.memmap.MemmapImages; fingerprint: of
        the data set.  Raises UserError for other numbers of channels."""
        if pixels.shape[1] not in (1, 3):
            raise UserError(
                f"{source} has images of {pixels.shape[1]} channels; an encoder needs 1 (grey) or "
                "3 (red, green and blue)"
            )
        self.pixels, self.fingerprint, self.source = pixels, fingerprint, source

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, position: int) -> Image.Image:
        pixels = self.pixels[position : position + 1][0].numpy().transpose(1, 2, 0)
        return Image.fromarray(np.repeat(pixels, 3 // pixels.shape[2], axis=2))

    def stamp(self, positions: range) -> str:
        return self.fingerprint

    def describe(self, position: int) -> str:
        return f"image {position} of {self.source}"


def render_image(image: StoredImage, scales: Mapping[str, ValueScale]) -> Image.Image:
    """An image as its file stores it -> RGB of 8 bits, of the same size.

    scales: kind of values -> scale.  Raises UnreadableImage for a kind without a scale."""
    scale = scales.get(image.kind, IDENTITY if image.kind == EIGHT_BITS else None)
    if scale is None:
        raise UnreadableImage("it has changed while the images were read")
    if isinstance(image.values, Image.Image) and scale.is_identity:
        return image.values.convert("RGB")
    values = np.asarray(image.values, np.float32)
    planes = values[None] if image.is_grey else values.transpose(2, 0, 1)
    if image.opacity is not None:
        planes = np.concatenate([planes, image.opacity[None]])
    fitted = FittedImage(planes, image.kind, image.opacity is not None, image.is_white_zero)
    return Image.fromarray(fitted.render(scale, grey=False).transpose(1, 2, 0))


def find_scales(
    paths: Sequence[Path], page: str, value_range: ValueScale | None, executor: Executor
) -> tuple[dict[str, ValueScale], list[str]]:
    """Kind of values -> scale, from all files; and lines for the user.

    Files that cannot be read are left out here.  Raises UserError where the scale is not clear."""
    values: list[FileValues | None] = []
    with CountProgressBar("looking at the images", len(paths)) as progress:
        for one in executor.map(lambda path: _look_at_file(path, page), paths):
            values.append(one)
            progress.update(1)
    known = [one for one in values if one is not None]
    eight_bits = [n for n, one in enumerate(known) if one.dtype == UINT8]
    largest = -1.0
    for number in eight_bits:  # usually the first image shows that these are no masks
        if largest > SMALL_VALUE:
            break
        try:
            largest = max(largest, read_image(known[number].path, page).find_largest())
        except UnreadableImage:
            continue
        known[number] = known[number]._replace(largest=largest)
    return choose_scales(known, value_range)


def _look_at_file(path: Path, page: str) -> FileValues | None:
    """What the file holds; None where it cannot be read."""
    try:
        with open_regular_file(path) as file:
            start = file.read(START_BYTES)
        is_png = start.startswith(PNG_START) and len(start) > PNG_DEPTH_BYTE
        if start.startswith(JPEG_START) or (is_png and start[PNG_DEPTH_BYTE] <= 8):
            return FileValues(path, UINT8, 0, 255)
        image = read_image(path, page)
    except UnreadableImage:
        return None
    return FileValues(path, image.dtype, image.smallest, image.largest)


def part_masks(listing: FolderListing) -> dict[str, np.ndarray]:
    """Prefix of a part -> which files of the listing belong to it, (N,) bool."""
    return {
        "": ~listing.is_test & ~listing.is_validation,
        "test_": listing.is_test,
        "val_": listing.is_validation,
    }


def inputs_of_listing(
    listing: FolderListing, page: str, scales: Mapping[str, ValueScale], lines: Sequence[str]
) -> EncoderInputs:
    """The images of a folder.  lines: about the scales."""
    parts = []
    for prefix, mask in part_masks(listing).items():
        rows = np.flatnonzero(mask)
        paths = tuple(listing.image_paths[row] for row in rows)
        source = FileSource([listing.root / path for path in paths], page, scales)
        if len(rows):
            parts.append(InputPart(prefix, source, listing.labels[rows], paths))
    return EncoderInputs(
        tuple(parts),
        listing.class_names,
        str(listing.root),
        image_folder=str(listing.root.absolute()),
        scales=scales,
        page=page,
        warnings=(*listing.warnings, *lines),
        listing=listing,
    )


def inputs_of_loaded(loaded: LoadedDataset, fingerprint: str, source: str) -> EncoderInputs:
    """The images of a data set whose reader gives pixels.

    Where both parts are rows of one file, they stay one part in the order of the file, so that an
    index is still its row.  fingerprint: of the data."""
    train, test = loaded.train, loaded.test
    assert isinstance(train, Images) and isinstance(test, Images)
    sources = [PixelSource(part.pixels, fingerprint, source) for part in (train, test)]
    parts = [
        InputPart("", sources[0], train.labels, loaded.image_paths),
        InputPart("test_", sources[1], test.labels, loaded.test_paths),
    ]
    if loaded.row_numbers is not None:
        assert loaded.test_row_numbers is not None
        rows = np.concatenate([loaded.row_numbers, loaded.test_row_numbers])
        order = np.argsort(rows)
        labels = np.concatenate([train.labels, test.labels])[order]
        paths = (*loaded.image_paths, *loaded.test_paths)
        chosen = tuple(paths[position] for position in order) if paths else ()
        parts = [InputPart("", _RowSource(sources[0], sources[1], order), labels, chosen)]
    return EncoderInputs(
        tuple(parts),
        loaded.class_names,
        source,
        scales=loaded.value_scales,
        warnings=loaded.warnings,
        notes=loaded.notes,
        shown_pixels=train.pixels,
    )


class _RowSource:
    """The images of two parts in another order."""

    def __init__(self, train: PixelSource, test: PixelSource, order: np.ndarray):
        """order: (N,) position among the training and then the test images of each row."""
        self.train, self.test, self.order = train, test, order

    def __len__(self) -> int:
        return len(self.order)

    def read(self, position: int) -> Image.Image:
        place = int(self.order[position])
        if place < len(self.train):
            return self.train.read(place)
        return self.test.read(place - len(self.train))

    def stamp(self, positions: range) -> str:
        return self.train.fingerprint

    def describe(self, position: int) -> str:
        return self.train.describe(position)
