"""Image files as pixels of one size, one number of channels and 8 bits.

An image is turned upright as its EXIF data say.  Palettes, CMYK and other colour spaces become RGB;
what is transparent becomes the background that the file names, else white (data.stored_image).
Values of more than 8 bits, below zero or with fractions are kept until the scale of the whole data
set is known (data.value_scale).  Then the longer side is cropped equally at both ends, and the
square is resized.
"""

import os
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from data.dicom_files import read_dicom
from data.image_formats import (
    DICOM_EXTENSIONS,
    PNG_START,
    TIFF_STARTS,
    UnreadableImage,
    ignore_warnings,
    open_regular_file,
    open_with_pillow,
)
from data.stored_image import ImagePage, StoredImage, combine_pages
from data.tiff_files import count_bands, is_read_by_pillow, read_tags, read_with_tifffile
from data.transparency import composite

MAX_DEFAULT_SIDE = 64  # pixels, unless --image-size is given
GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
SIXTEEN_BIT_MODES = {mode for mode in GREY_MODES if mode.startswith("I")}
ALPHA_MODES = {"LA", "La", "RGBA", "RGBa", "PA"}
ORIENTATION_TAG = 0x0112
DICOM_ENDINGS = tuple(f".{extension}" for extension in DICOM_EXTENSIONS)
START_BYTES = 32  # by which a format is recognised
DICOM_MARK_OFFSET, DICOM_MARK = 128, b"DICM"
# Of 16 bits in colour Pillow keeps the upper 8.  Its other byte order gives the lower 8.
PNG_16_BIT_COLOUR = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
PNG_16_BIT_GREY_ALPHA = "LA;16B"


def read_image(path: Path, page: str = "first", grey: bool | None = None) -> StoredImage:
    """The image in a file.

    page: what becomes of several pages, frames or bands: one of data.stored_image.PAGE_CHOICES.
    grey: whether to make it grey, None to leave it as it is.
    Raises UnreadableImage."""
    with open_regular_file(path) as file:
        start = file.read(START_BYTES)
        if _is_dicom(file, path):
            return combine_pages(*read_dicom(file, page == "first"), page, grey)
        if start[:4] in TIFF_STARTS:
            return combine_pages(*_read_tiff(file, start, page == "first", grey), page, grey)
        image = open_with_pillow(file, start)
        several = getattr(image, "is_animated", False)
        pages = _read_with_pillow(image, file, page == "first", grey)
        return combine_pages(several, pages, page, grey)


def sample_side(paths: Sequence[Path], count: int) -> int:
    """The most common side as the headers of at most `count` files show it, up to MAX_DEFAULT_SIDE:
    a guess of the side that all files will have shown."""
    sides: Counter[int] = Counter()
    for path in paths[:: -(-len(paths) // count)]:
        try:
            with open_regular_file(path) as file:
                image = open_with_pillow(file, file.read(START_BYTES))
                sides[min(image.size)] += 1
        except UnreadableImage:
            continue
    return most_common_side(sides) if sides else MAX_DEFAULT_SIDE


def most_common_side(sides: Counter[int]) -> int:
    """The most common side, up to MAX_DEFAULT_SIDE; of equally common ones the smallest."""
    capped: Counter[int] = Counter()
    for side, count in sides.items():
        capped[min(side, MAX_DEFAULT_SIDE)] += count
    return min(capped, key=lambda side: (-capped[side], side))


def decode_without_scale(path: Path, size: int, grey: bool) -> np.ndarray:
    """-> (1 or 3, size, size) uint8, as runs were trained before there was a scale: the upper 8 of
    16 bits, and transparency dropped.  Raises UnreadableImage."""
    with ignore_warnings(), open_regular_file(path) as file:
        image = open_with_pillow(file, file.read(START_BYTES))
        image.load()
        image = _turn_upright(image)
        if image.mode == "F":
            raise UnreadableImage("its pixels are floats")
        if image.mode in SIXTEEN_BIT_MODES:
            values = np.asarray(image).astype(np.int64)
            image = Image.fromarray(np.uint8(np.clip(values, 0, 2**16 - 1) >> 8))
        image = image.convert("L" if grey else "RGB")
        pixels = np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _is_dicom(file: IO[bytes], path: Path) -> bool:
    if not str(path).lower().endswith(DICOM_ENDINGS):
        return False
    file.seek(DICOM_MARK_OFFSET)
    return file.read(len(DICOM_MARK)) == DICOM_MARK


def _read_tiff(
    file: IO[bytes], start: bytes, first_only: bool, grey: bool | None
) -> tuple[bool, Iterator[ImagePage]]:
    """Whether there are several pages or bands, and the pages."""
    tags = read_tags(file)
    bands = count_bands(tags[0])
    several = len(tags) > 1 or bands > 1
    read = tags[:1] if first_only else tags
    if all(is_read_by_pillow(one) for one in read) and (first_only or bands == 1):
        image = open_with_pillow(file, start)
        return several, _read_with_pillow(image, file, first_only, grey)
    return several, read_with_tifffile(file, tags[0], first_only)


def _read_with_pillow(
    image: Image.Image, file: IO[bytes], first_only: bool, grey: bool | None
) -> Iterator[ImagePage]:
    if first_only:
        yield _read_frame(image, file, grey)
        return
    for frame in range(getattr(image, "n_frames", 1)):
        image.seek(frame)
        page = _read_frame(image, file, grey)
        yield page._replace(values=page.values.copy())  # the next frame may take its memory


def _read_frame(image: Image.Image, file: IO[bytes], grey: bool | None) -> ImagePage:
    """The frame at which the image stands."""
    if isinstance(image, PngImageFile) and image.tile:
        raw_mode = str(image.tile[0][3])
        if raw_mode in PNG_16_BIT_COLOUR or raw_mode == PNG_16_BIT_GREY_ALPHA:
            return _read_png_16_bit(image, file, raw_mode)
    image.load()
    file_info = image.info
    upright = _turn_upright(image)
    mode = upright.mode
    if mode in SIXTEEN_BIT_MODES or mode == "F":
        values = np.asarray(upright)
        key = file_info.get("transparency")
        return ImagePage(values, values != key if isinstance(key, int) else None)
    is_grey = grey if grey is not None else mode in GREY_MODES
    target = "L" if is_grey else "RGB"
    if mode in ALPHA_MODES or "transparency" in file_info:
        return ImagePage(composite(upright, target, _file_background(image, file)))
    return ImagePage(upright if mode == target else upright.convert(target))


def _turn_upright(image: Image.Image) -> Image.Image:
    has_metadata = bool(image.info) or isinstance(image, TiffImageFile)
    if not has_metadata or image.getexif().get(ORIENTATION_TAG, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _read_png_16_bit(image: Image.Image, file: IO[bytes], raw_mode: str) -> ImagePage:
    """A PNG of 16 bits in colour or with transparency, all bits of it."""
    if raw_mode == PNG_16_BIT_GREY_ALPHA:  # two bytes of grey and two of alpha
        stored = _load_png_as(image, "RGBA").astype(np.uint16)
        grey_and_alpha = stored[..., ::2] << 8 | stored[..., 1::2]
        return ImagePage(grey_and_alpha[..., 0], grey_and_alpha[..., 1])
    again = open_with_pillow(file, PNG_START)
    lower = _load_png_as(again, PNG_16_BIT_COLOUR[raw_mode])
    upper = _load_png_as(open_with_pillow(file, PNG_START), raw_mode)
    values = upper.astype(np.uint16) << 8 | lower
    return ImagePage(values[..., :3], values[..., 3] if values.shape[2] == 4 else None)


def _load_png_as(image: Image.Image, raw_mode: str) -> np.ndarray:
    """(H, W, C) uint8: the image upright, its bytes taken for those of another raw mode."""
    image.tile = [(*tile[:3], raw_mode) for tile in image.tile]  # type: ignore[attr-defined]
    image.load()
    return np.asarray(_turn_upright(image))


def _file_background(image: Image.Image, file: IO[bytes]) -> tuple[int, int, int] | None:
    """The background colour that a PNG or GIF names; None where it names none.

    Many programs write 0 into a GIF without a background, so that number does not count."""
    if image.format == "GIF":
        index = image.info.get("background", 0)
        if not index or index == image.info.get("transparency") or image.mode != "P":
            return None
        palette = (image.getpalette() or [])[3 * index : 3 * index + 3]
        return (palette[0], palette[1], palette[2]) if len(palette) == 3 else None
    if image.format != "PNG":
        return None
    position = file.tell()  # an animation is read on from here
    try:
        return _png_background(image, file)
    finally:
        file.seek(position)


def _png_background(image: Image.Image, file: IO[bytes]) -> tuple[int, int, int] | None:
    """The colour of a chunk bKGD, which stands before the pixels."""
    file.seek(len(PNG_START))
    depth = 8
    while len(header := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        if kind in (b"IDAT", b"IEND"):
            return None
        if kind not in (b"IHDR", b"bKGD"):
            file.seek(length + 4, os.SEEK_CUR)
            continue
        content = file.read(length)
        file.seek(4, os.SEEK_CUR)
        if kind == b"IHDR":
            depth = content[8]
        elif length == 1:
            palette = (image.getpalette() or [])[3 * content[0] : 3 * content[0] + 3]
            return (palette[0], palette[1], palette[2]) if len(palette) == 3 else None
        else:
            full = 2**depth - 1
            levels = [
                255 * min(v, full) // full for v in struct.unpack(f">{length // 2}H", content)
            ]
            red, green, blue = levels * 3 if len(levels) == 1 else levels
            return red, green, blue
    return None
