"""Decoded images, kept: the pixels of a folder of images in one file, made once.

A folder <cache>/<name>: pixels.bin, (N, C, S, S) uint8 and nothing else; meta.json, the shape,
which files could not be read and why, and a fingerprint of the pixels, which is compared whenever
they are used.  The name follows from the files' names, sizes and times: a changed folder is read
anew.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.image_decoding import UnreadableImage, decode_image, most_common_side, scan_headers
from data.memmap import MAX_IN_MEMORY_BYTES, MemmapImages
from utils.console import EpochProgressBar, print_line
from utils.errors import UserError
from utils.files import json_bytes, make_folder, os_errors_refused, write_atomically
from utils.fingerprints import array_digest, size_and_mtime
from utils.lease_wait import wait_for_lease

CACHE_VERSION = 1  # raised when the same files would give other pixels
PIXELS_FILE, META_FILE = "pixels.bin", "meta.json"


class DecodedImages(NamedTuple):
    """The images of a folder that can be read."""

    pixels: MemmapImages  # (N - len(bad), C, S, S)
    unreadable: dict[int, str]  # those that cannot, by their place in the list of N, and why


def load_or_decode(paths: Sequence[Path], size: int | None, cache: str | None) -> DecodedImages:
    """Decode these files into the cache, or take what is there of them.

    size: pixels a side, None for the commonest; cache: a folder, None for a temporary file.  Raises
    UserError where not one can be read, Refused where the cache cannot be written."""
    if cache is None:
        with tempfile.TemporaryFile() as file:
            return _map_pixels(file, *_decode_to_file(paths, size, file))
    folder = Path(cache, _cache_key(paths, size))
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return _load_cache(folder)
    with wait_for_lease(
        folder, "cache of images", lambda who: print_line(f"waiting for them: {who}")
    ):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return _load_cache(folder)  # another process has made it meanwhile
        return _build_cache(folder, paths, size)


def _cache_key(paths: Sequence[Path], size: int | None) -> str:
    known = [
        CACHE_VERSION,
        size,
        *((os.fsencode(path.absolute()).hex(), size_and_mtime(path)) for path in paths),
    ]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def _load_cache(folder: Path) -> DecodedImages:
    """What is in the cache.  Raises ValueError, or another of many, where that is not whole."""
    meta = json.loads((folder / META_FILE).read_text())
    bad = {int(number): why for number, why in meta["bad"]}
    with open(folder / PIXELS_FILE, "rb") as file:
        found = _map_pixels(file, tuple(meta["shape"]), bad)
    if array_digest(found.pixels) != meta["pixels"]:
        print_line(f"{folder / PIXELS_FILE} has changed since it was made, and is made anew")
        raise ValueError
    return found


def _build_cache(folder: Path, paths: Sequence[Path], size: int | None) -> DecodedImages:
    print_line(f"reading {len(paths)} images into {folder}")
    with os_errors_refused(folder / PIXELS_FILE):
        make_folder(folder)
        for left in folder.glob(f".{PIXELS_FILE}.*"):  # of one that was killed
            left.unlink()
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{PIXELS_FILE}.")
        try:
            with os.fdopen(handle, "w+b") as file:
                shape, bad = _decode_to_file(paths, size, file)
                os.fsync(file.fileno())
                found = _map_pixels(file, shape, bad)
            os.chmod(temporary, 0o644)
            os.replace(temporary, folder / PIXELS_FILE)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    meta = {"shape": shape, "bad": list(bad.items()), "pixels": array_digest(found.pixels)}
    write_atomically(folder / META_FILE, json_bytes(meta))
    return found


def _decode_to_file(paths: Sequence[Path], size: int | None, file) -> tuple[tuple[int, ...], dict]:
    """Write the pixels to the open file; -> their shape, and what could not be read."""
    sides, grey, bad = scan_headers(paths)
    if not sides:
        raise UserError(f"none of {len(paths)} images can be read: {paths[0]} is {bad[0]}")
    size = size or most_common_side(sides)
    with EpochProgressBar(range(len(paths)), "reading images") as shown:
        for number in shown:
            if number in bad:
                continue
            try:
                pixels = decode_image(paths[number], size, grey)
            except UnreadableImage as error:
                bad[number] = str(error)
                continue
            file.write(pixels.tobytes())
    file.flush()
    return (len(paths) - len(bad), 1 if grey else 3, size, size), bad


def _map_pixels(file, shape: tuple[int, ...], bad: dict[int, str]) -> DecodedImages:
    if os.fstat(file.fileno()).st_size != np.prod(shape, dtype=object) or not shape[0]:
        raise ValueError("not so many pixels")
    return DecodedImages(MemmapImages(np.memmap(file, np.uint8, "r", shape=shape)), bad)


def load_if_small(pixels: MemmapImages):
    """In memory where they are few, else as they are; as a tensor or Mapped."""
    return pixels[:] if np.prod(pixels.shape, dtype=object) <= MAX_IN_MEMORY_BYTES else pixels
