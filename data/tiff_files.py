"""TIFF files, whose tags say how the samples are stored.

Pillow reads some kinds wrongly and without an error: 16 bits stored plane by plane or with white as
zero, signed bytes, signed and floating samples that are compressed and big-endian, differences of
samples (a predictor) in a compression whose format has none.  Of 16 bits in colour it keeps the
upper 8.  Only kinds for which it gives the stored samples are left to it (a
test compares them); the others are read by tifffile.
"""

import os
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from PIL import TiffImagePlugin

from data.image_formats import UnreadableImage, check_pixel_count, require_package
from data.stored_image import ImagePage

SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
ORIENTATION, SAMPLES, PLANAR, PREDICTOR, EXTRA_SAMPLES, FORMAT = 274, 277, 284, 317, 338, 339
WEBP = 50001
PILLOW_COMPRESSIONS = {*TiffImagePlugin.COMPRESSION_INFO} - {WEBP}  # without which it may be built
WITH_PREDICTOR = (5, 8, 32946, 34925, 50000)  # LZW, Deflate under two numbers, LZMA, ZSTD
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, SEPARATED = 0, 1, 2, 5
GREY = (WHITE_IS_ZERO, BLACK_IS_ZERO)
UNSIGNED, SIGNED, FLOATING = 1, 2, 3
ALPHA_EXTRA_SAMPLES = (1, 2)  # values of ExtraSamples: premultiplied or not
PREMULTIPLIED = 1
REDUCED_OR_MASK = 5  # bits of NewSubfileType: a smaller copy, or a mask, of another page
MAX_PAGES_SEARCHED = 1000

Tags = TiffImagePlugin.ImageFileDirectory_v2


def read_tags(file: IO[bytes]) -> list[Tags]:
    """The tags of every page that is as large as the first; copies in other sizes are no pages.

    Raises UnreadableImage where the file is damaged."""
    file.seek(0)
    header = file.read(8)
    header += file.read(8) if header[2:3] == b"+" or header[3:4] == b"+" else b""
    pages: list[Tags] = []
    offsets: set[int] = set()
    tags = Tags(header)
    offset = tags.next
    while offset and offset not in offsets and len(offsets) < MAX_PAGES_SEARCHED:
        offsets.add(offset)
        tags = Tags(header)
        file.seek(offset)
        tags.load(file)
        offset = tags.next
        if not pages or (
            (tags.get(WIDTH), tags.get(HEIGHT)) == (pages[0].get(WIDTH), pages[0].get(HEIGHT))
            and not int(tags.get(SUBFILE_TYPE, 0)) & REDUCED_OR_MASK
        ):
            pages.append(tags)
    if not pages:
        raise UnreadableImage("a TIFF without a page")
    return pages


def is_read_by_pillow(tags: Tags) -> bool:
    """Whether Pillow gives the samples as they are stored, or colours of 8 bits."""
    compression, has_predictor = tags.get(COMPRESSION, 1), tags.get(PREDICTOR, 1) != 1
    if compression not in PILLOW_COMPRESSIONS:
        return False
    if has_predictor and compression not in (1, *WITH_PREDICTOR):
        return False
    bits, kind = _bits(tags), _sample_format(tags)
    photometric = tags.get(PHOTOMETRIC, WHITE_IS_ZERO)
    if max(bits) <= 8:
        return kind == UNSIGNED and (len(bits) <= 2 or photometric not in GREY)
    if photometric == SEPARATED:  # CMYK; its 16 bits are always full
        return tags.get(PLANAR, 1) == 1
    if photometric != BLACK_IS_ZERO or len(bits) > 1:
        return False
    is_simple = tags.prefix == b"II" or compression == 1
    return {
        UNSIGNED: bits == (16,),
        SIGNED: is_simple and bits in ((16,), (32,)),
        FLOATING: is_simple and bits == (32,),
    }.get(kind, False)


def describe_tags(tags: Tags) -> str:
    """The kind of file, for messages."""
    bits = _bits(tags)
    words = [f"a TIFF of {max(bits)} bits"]
    if len(bits) > 1:
        words.append(f"with {len(bits)} samples")
    if tags.get(PLANAR, 1) == 2:
        words.append("stored plane by plane")
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        words.append("with white as zero")
    words += {SIGNED: ["below zero too"], FLOATING: ["as floats"]}.get(_sample_format(tags), [])
    return " ".join(words)


def read_with_tifffile(file: IO[bytes], tags: Tags, first_only: bool) -> Iterator[ImagePage]:
    """The pages; several bands that are not colours count as pages.

    Raises UnreadableImage where tifffile is not installed or cannot read the file."""
    tifffile = require_package("tifffile", "tifffile", describe_tags(tags))
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        first = tiff.pages[0]
        check_pixel_count(first.imagewidth, first.imagelength)
        file_size = file.seek(0, os.SEEK_END)
        for number, page in enumerate(tiff.pages):
            if first_only and number:
                return
            if page.shape == first.shape and not int(page.subfiletype) & REDUCED_OR_MASK:
                _check_segments(page, file_size)
                yield from _pages_of(page, first_only)


def _check_segments(page: Any, file_size: int) -> None:
    """Raises UnreadableImage where pixels are missing, for which tifffile would give zeros."""
    offsets, counts = page.dataoffsets, page.databytecounts
    ends = [offset + count for offset, count in zip(offsets, counts, strict=False)]
    if not ends or len(offsets) != len(counts) or max(ends) > file_size or not max(counts):
        raise UnreadableImage("image file is truncated or damaged")


def _pages_of(page: Any, first_only: bool) -> Iterator[ImagePage]:
    """A page of tifffile as one image, or as one per band."""
    try:
        values = page.asarray()
    except ValueError as error:  # a compression for which imagecodecs is needed
        if "imagecodecs" not in str(error):
            raise
        require_package("imagecodecs", "imagecodecs", f"the compression {page.compression.name}")
        raise
    axes = page.axes
    if set(axes) - set("YXS") or values.dtype.kind not in "biuf":
        raise UnreadableImage(f"a TIFF with the axes {axes} of {values.dtype} is not read")
    if "S" not in axes:
        values, axes = values[..., None], axes + "S"
    values = _turn_upright(
        np.moveaxis(values, axes.index("S"), -1), int(page.tags.valueof(ORIENTATION, default=1))
    )
    photometric, extra = int(page.photometric), tuple(map(int, page.extrasamples))
    alpha_kind = extra[0] if extra and extra[0] in ALPHA_EXTRA_SAMPLES else 0
    if photometric not in (*GREY, RGB):
        raise UnreadableImage(f"a TIFF of {page.bitspersample} bits in {page.photometric.name}")
    colours = 3 if photometric == RGB else 1
    alpha = values[..., colours] if alpha_kind else None
    is_white_zero = photometric == WHITE_IS_ZERO
    if photometric == RGB or alpha_kind:
        colour = values[..., :colours] if colours == 3 else values[..., 0]
        yield ImagePage(colour, alpha, is_white_zero, alpha_kind == PREMULTIPLIED)
        return
    for band in range(1 if first_only else values.shape[-1]):
        yield ImagePage(values[..., band], None, is_white_zero)


def count_bands(tags: Tags) -> int:
    """The number of bands of a page that are not colours."""
    is_grey = tags.get(PHOTOMETRIC, WHITE_IS_ZERO) in GREY
    return len(_bits(tags)) if is_grey and not _has_alpha(tags) else 1


def _turn_upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, S) as stored -> as it is to be seen."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _bits(tags: Tags) -> tuple[int, ...]:
    """Per sample; some writers give one number for all samples."""
    bits = tuple(tags.get(BITS, (1,)))
    samples = int(tags.get(SAMPLES, 1))
    return bits * samples if len(bits) == 1 else bits


def _sample_format(tags: Tags) -> int:
    """Of the samples, which all have the same; 0 where they differ."""
    formats = set(tags.get(FORMAT, (UNSIGNED,)))
    return formats.pop() if len(formats) == 1 else 0


def _has_alpha(tags: Tags) -> bool:
    return bool(set(tags.get(EXTRA_SAMPLES, ())) & set(ALPHA_EXTRA_SAMPLES))
