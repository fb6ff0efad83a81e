"""A cache of decoded images: the pixels of a folder of images in one file.

Each entry is a folder <cache>/<key> with two files.  pixels.bin: (N, C, S, S) uint8 and nothing
else.  meta.json: the shape, which images could not be read and why, the scales of their values, and
a digest of the pixels that is compared whenever they are used.  The key follows from the images'
names, sizes and times, so a folder that has changed gets a new entry.

Every file is read once.  The side that most images will turn out to have is guessed from a few
headers; where the guess was wrong, the images are read again.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch

from data.file_scales import choose_scales, usual_scale
from data.image_decoding import most_common_side, sample_side
from data.image_formats import ignore_warnings
from data.image_spool import ImageSpool
from data.memmap import MAX_IN_MEMORY_BYTES, MemmapImages
from data.value_scale import EIGHT_BITS, ValueScale, scale_from_dict
from utils.console import print_line, to_one_line
from utils.errors import UserError
from utils.files import (
    json_bytes,
    make_folder,
    os_errors_refused,
    read_json,
    write_atomically,
)
from utils.fingerprints import array_digest, size_and_mtime
from utils.lease import wait_for_lease

CACHE_VERSION = 2  # to be raised when the same files would give other pixels
PIXELS_FILE, META_FILE = "pixels.bin", "meta.json"
HEADERS_SAMPLED = 64
# What is raised where an entry is missing or its description is not one.
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError)


class DecodeSettings(NamedTuple):
    """How images are decoded.

    size: side in pixels, None for the most common side.
    page: one of data.stored_image.PAGE_CHOICES; value_range: of --value-range, None to infer it."""

    size: int | None = None
    page: str = "first"
    value_range: ValueScale | None = None


class ImageFacts(NamedTuple):
    """What was found out about N image files while they were decoded.

    unreadable: position in the list -> the reason; scales: kind of values -> scale.
    warnings: for the user, one line each."""

    unreadable: dict[int, str]
    scales: dict[str, ValueScale]
    warnings: tuple[str, ...]


class DecodedImages(NamedTuple):
    """The images of a list of N files that could be read."""

    pixels: MemmapImages  # (N - len(unreadable), C, S, S)
    facts: ImageFacts


def load_or_decode(
    paths: Sequence[Path], settings: DecodeSettings, cache: str | None
) -> DecodedImages:
    """Decode these files into the cache, or load what the cache already has of them.

    cache: a folder, None for a temporary file.
    Raises UserError where no image can be read or their values have no clear scale, SystemRefusal
    where the cache cannot be written."""
    if cache is None:
        with tempfile.TemporaryFile() as file:
            return _map_pixels(file, *_decode_to_file(paths, settings, file, None))
    folder = Path(cache, _cache_key(paths, settings))
    with contextlib.suppress(*DAMAGE):
        return _load_entry(folder)
    with wait_for_lease(folder, "cache of images", lambda holder: print_line(f"waiting: {holder}")):
        with contextlib.suppress(*DAMAGE):
            return _load_entry(folder)  # another process has written it meanwhile
        return _write_entry(folder, paths, settings)


def _cache_key(paths: Sequence[Path], settings: DecodeSettings) -> str:
    value_range = settings.value_range
    facts = [
        CACHE_VERSION,
        settings.size,
        settings.page,
        value_range and (value_range.low, value_range.high),
        *((os.fsencode(path.absolute()).hex(), size_and_mtime(path)) for path in paths),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _load_entry(folder: Path) -> DecodedImages:
    """Raises one of DAMAGE where the entry is missing or damaged."""
    meta = read_json(folder / META_FILE)
    facts = ImageFacts(
        {int(number): reason for number, reason in meta["bad"]},
        {kind: scale_from_dict(plain) for kind, plain in meta["scales"].items()},
        tuple(meta["warnings"]),
    )
    with open(folder / PIXELS_FILE, "rb") as file:
        images = _map_pixels(file, tuple(meta["shape"]), facts)
    if array_digest(images.pixels) != meta["pixels"]:
        print_line(f"{folder / PIXELS_FILE} has changed since it was written; decoding again")
        raise ValueError
    return images


def _write_entry(folder: Path, paths: Sequence[Path], settings: DecodeSettings) -> DecodedImages:
    print_line(f"reading {len(paths)} images into {folder}")
    with os_errors_refused(folder / PIXELS_FILE):
        make_folder(folder)
        for leftover in folder.glob(f".{PIXELS_FILE}.*"):  # of a process that was killed
            leftover.unlink()
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{PIXELS_FILE}.")
        try:
            with os.fdopen(handle, "w+b") as file:
                shape, facts = _decode_to_file(paths, settings, file, folder)
                os.fsync(file.fileno())
                images = _map_pixels(file, shape, facts)
            os.chmod(temporary, 0o644)
            os.replace(temporary, folder / PIXELS_FILE)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    meta: dict[str, Any] = {
        "shape": shape,
        "bad": list(facts.unreadable.items()),
        "scales": {kind: scale.to_dict() for kind, scale in facts.scales.items()},
        "warnings": facts.warnings,
        "pixels": array_digest(images.pixels),
    }
    write_atomically(folder / META_FILE, json_bytes(meta))
    return images


def _decode_to_file(
    paths: Sequence[Path], settings: DecodeSettings, file: IO[bytes], folder: Path | None
) -> tuple[tuple[int, ...], ImageFacts]:
    """Write the pixels to the open file; -> their shape, and what was found out.

    folder: where a temporary file may be created, None for the system's own folder."""
    with ignore_warnings():
        spool = ImageSpool(file, settings.size or sample_side(paths, HEADERS_SAMPLED))
        spool.read_files(paths, settings.page)
        if not spool.records:
            reason = spool.unreadable[0]
            raise UserError(f"none of {len(paths)} images can be read: {paths[0]} ({reason})")
        scales, warnings = choose_scales(spool.values, settings.value_range)
        size = settings.size or most_common_side(spool.sides)
        has_scaled_bytes = not usual_scale(scales, EIGHT_BITS).is_identity
        if size != spool.size or has_scaled_bytes:
            spool = ImageSpool(file, size, bytes_as_values=has_scaled_bytes)
            spool.read_files(paths, settings.page)
    grey = all(record.is_grey for record in spool.records)
    spool.render(scales, grey, folder)
    if spool.several_pages:
        warnings.append(_describe_pages(spool.several_pages, len(paths), settings.page))
    shape = (len(spool.records), 1 if grey else 3, size, size)
    return shape, ImageFacts(spool.unreadable, scales, tuple(warnings))


def _describe_pages(paths: list[Path], count: int, page: str) -> str:
    used = {"first": "the first is used (--page mean or max combines them)"}
    return (
        f"{len(paths)} of {count} images have several pages, frames or bands "
        f"({to_one_line(str(paths[0]))}): "
        + used.get(page, f"the {'mean' if page == 'mean' else 'largest value'} of all is used")
    )


def _map_pixels(file: IO[bytes], shape: tuple[int, ...], facts: ImageFacts) -> DecodedImages:
    """Raises ValueError where the file's size does not fit the shape."""
    if os.fstat(file.fileno()).st_size != np.prod(shape, dtype=object) or not shape[0]:
        raise ValueError(f"wrong size for {shape}")
    pixels = np.memmap(file, np.uint8, "r", shape=shape)
    return DecodedImages(MemmapImages(pixels), facts)


def load_if_small(pixels: MemmapImages) -> torch.Tensor | MemmapImages:
    """In memory up to MAX_IN_MEMORY_BYTES, otherwise unchanged."""
    small = np.prod(pixels.shape, dtype=object) <= MAX_IN_MEMORY_BYTES
    return pixels[:] if small else pixels
