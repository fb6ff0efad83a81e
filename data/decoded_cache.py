"""A cache of decoded images: the pixels of a folder of images in one file.

Each entry is a folder <cache>/<key> with two files.  pixels.bin: (N, C, S, S) uint8 and nothing
else.  meta.json: the shape, which images could not be read and why, and a digest of the pixels that
is compared whenever they are used.  The key follows from the images' names, sizes and times, so a
folder that has changed gets a new entry.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch

from data.image_decoding import UnreadableImage, decode_image, most_common_side, scan_headers
from data.memmap import MAX_IN_MEMORY_BYTES, MemmapImages
from utils.console import EpochProgressBar, print_line
from utils.errors import UserError
from utils.files import json_bytes, make_folder, os_errors_refused, write_atomically
from utils.fingerprints import array_digest, size_and_mtime
from utils.lease import wait_for_lease

CACHE_VERSION = 1  # to be raised when the same files would give other pixels
PIXELS_FILE, META_FILE = "pixels.bin", "meta.json"


class DecodedImages(NamedTuple):
    """The images of a list of N files that could be read."""

    pixels: MemmapImages  # (N - len(unreadable), C, S, S)
    unreadable: dict[int, str]  # position in the list -> the reason


def load_or_decode(paths: Sequence[Path], size: int | None, cache: str | None) -> DecodedImages:
    """Decode these files into the cache, or load what the cache already has of them.

    size: side in pixels, None for the most common side; cache: a folder, None for a temporary file.
    Raises UserError where no image can be read, SystemRefusal where the cache cannot be written."""
    if cache is None:
        with tempfile.TemporaryFile() as file:
            return _map_pixels(file, *_decode_to_file(paths, size, file))
    folder = Path(cache, _cache_key(paths, size))
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return _load_entry(folder)
    with wait_for_lease(folder, "cache of images", lambda holder: print_line(f"waiting: {holder}")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return _load_entry(folder)  # another process has written it meanwhile
        return _write_entry(folder, paths, size)


def _cache_key(paths: Sequence[Path], size: int | None) -> str:
    facts = [
        CACHE_VERSION,
        size,
        *((os.fsencode(path.absolute()).hex(), size_and_mtime(path)) for path in paths),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _load_entry(folder: Path) -> DecodedImages:
    """Raises OSError, ValueError, KeyError or TypeError where the entry is missing or damaged."""
    meta = json.loads((folder / META_FILE).read_text())
    unreadable = {int(number): reason for number, reason in meta["bad"]}
    with open(folder / PIXELS_FILE, "rb") as file:
        images = _map_pixels(file, tuple(meta["shape"]), unreadable)
    if array_digest(images.pixels) != meta["pixels"]:
        print_line(f"{folder / PIXELS_FILE} has changed since it was written; decoding again")
        raise ValueError
    return images


def _write_entry(folder: Path, paths: Sequence[Path], size: int | None) -> DecodedImages:
    print_line(f"reading {len(paths)} images into {folder}")
    with os_errors_refused(folder / PIXELS_FILE):
        make_folder(folder)
        for leftover in folder.glob(f".{PIXELS_FILE}.*"):  # of a process that was killed
            leftover.unlink()
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{PIXELS_FILE}.")
        try:
            with os.fdopen(handle, "w+b") as file:
                shape, unreadable = _decode_to_file(paths, size, file)
                os.fsync(file.fileno())
                images = _map_pixels(file, shape, unreadable)
            os.chmod(temporary, 0o644)
            os.replace(temporary, folder / PIXELS_FILE)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    meta = {
        "shape": shape,
        "bad": list(unreadable.items()),
        "pixels": array_digest(images.pixels),
    }
    write_atomically(folder / META_FILE, json_bytes(meta))
    return images


def _decode_to_file(
    paths: Sequence[Path], size: int | None, file: IO[bytes]
) -> tuple[tuple[int, ...], dict[int, str]]:
    """Write the pixels to the open file; -> their shape, and position -> why it cannot be read."""
    sides, grey, unreadable = scan_headers(paths)
    if not sides:
        raise UserError(f"none of {len(paths)} images can be read: {paths[0]} ({unreadable[0]})")
    size = size or most_common_side(sides)
    with EpochProgressBar(range(len(paths)), "reading images") as progress:
        for number in progress:
            if number in unreadable:
                continue
            try:
                pixels = decode_image(paths[number], size, grey)
            except UnreadableImage as error:
                unreadable[number] = str(error)
                continue
            file.write(pixels.tobytes())
    file.flush()
    return (len(paths) - len(unreadable), 1 if grey else 3, size, size), unreadable


def _map_pixels(
    file: IO[bytes], shape: tuple[int, ...], unreadable: dict[int, str]
) -> DecodedImages:
    """Raises ValueError where the file's size does not fit the shape."""
    if os.fstat(file.fileno()).st_size != np.prod(shape, dtype=object) or not shape[0]:
        raise ValueError(f"wrong size for {shape}")
    pixels = np.memmap(file, np.uint8, "r", shape=shape)
    return DecodedImages(MemmapImages(pixels), unreadable)


def load_if_small(pixels: MemmapImages) -> torch.Tensor | MemmapImages:
    """In memory up to MAX_IN_MEMORY_BYTES, otherwise unchanged."""
    small = np.prod(pixels.shape, dtype=object) <= MAX_IN_MEMORY_BYTES
    return pixels[:] if small else pixels
