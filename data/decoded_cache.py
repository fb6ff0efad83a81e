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

from data.image_decoding import Unreadable, commonest, decoded, surveyed
from data.memmap import HELD, Mapped
from utils.console import Bar, say
from utils.errors import UserError
from utils.files import json_bytes, make_folder, told, write_atomically
from utils.fingerprints import array_digest, stamp
from utils.lease_wait import lease_of

VERSION = 1  # raised when the same files would give other pixels
PIXELS, META = "pixels.bin", "meta.json"


class Decoded(NamedTuple):
    """The images of a folder that can be read."""

    pixels: Mapped  # (N - len(bad), C, S, S)
    bad: dict[int, str]  # those that cannot, by their place in the list of N, and why


def opened(paths: Sequence[Path], size: int | None, cache: str | None) -> Decoded:
    """Decode these files into the cache, or take what is there of them.

    size: pixels a side, None for the commonest; cache: a folder, None for a temporary file.  Raises
    UserError where not one can be read, Refused where the cache cannot be written."""
    if cache is None:
        with tempfile.TemporaryFile() as file:
            return _mapped(file, *_decode(paths, size, file))
    folder = Path(cache, _name(paths, size))
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return _kept(folder)
    with lease_of(folder, "cache of images", lambda who: say(f"waiting for them: {who}")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return _kept(folder)  # another process has made it meanwhile
        return _made(folder, paths, size)


def _name(paths: Sequence[Path], size: int | None) -> str:
    known = [VERSION, size, *((os.fsencode(path.absolute()).hex(), stamp(path)) for path in paths)]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def _kept(folder: Path) -> Decoded:
    """What is in the cache.  Raises ValueError, or another of many, where that is not whole."""
    meta = json.loads((folder / META).read_text())
    bad = {int(number): why for number, why in meta["bad"]}
    with open(folder / PIXELS, "rb") as file:
        found = _mapped(file, tuple(meta["shape"]), bad)
    if array_digest(found.pixels) != meta["pixels"]:
        say(f"{folder / PIXELS} has changed since it was made, and is made anew")
        raise ValueError
    return found


def _made(folder: Path, paths: Sequence[Path], size: int | None) -> Decoded:
    say(f"reading {len(paths)} images into {folder}")
    with told(folder / PIXELS):
        make_folder(folder)
        for left in folder.glob(f".{PIXELS}.*"):  # of one that was killed
            left.unlink()
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{PIXELS}.")
        try:
            with os.fdopen(handle, "w+b") as file:
                shape, bad = _decode(paths, size, file)
                os.fsync(file.fileno())
                found = _mapped(file, shape, bad)
            os.chmod(temporary, 0o644)
            os.replace(temporary, folder / PIXELS)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    meta = {"shape": shape, "bad": list(bad.items()), "pixels": array_digest(found.pixels)}
    write_atomically(folder / META, json_bytes(meta))
    return found


def _decode(paths: Sequence[Path], size: int | None, file) -> tuple[tuple[int, ...], dict]:
    """Write the pixels to the open file; -> their shape, and what could not be read."""
    sides, grey, bad = surveyed(paths)
    if not sides:
        raise UserError(f"none of {len(paths)} images can be read: {paths[0]} is {bad[0]}")
    size = size or commonest(sides)
    with Bar(range(len(paths)), "reading images") as shown:
        for number in shown:
            if number in bad:
                continue
            try:
                pixels = decoded(paths[number], size, grey)
            except Unreadable as error:
                bad[number] = str(error)
                continue
            file.write(pixels.tobytes())
    file.flush()
    return (len(paths) - len(bad), 1 if grey else 3, size, size), bad


def _mapped(file, shape: tuple[int, ...], bad: dict[int, str]) -> Decoded:
    if os.fstat(file.fileno()).st_size != np.prod(shape, dtype=object) or not shape[0]:
        raise ValueError("not so many pixels")
    return Decoded(Mapped(np.memmap(file, np.uint8, "r", shape=shape)), bad)


def held(pixels: Mapped):
    """In memory where they are few, else as they are; as a tensor or Mapped."""
    return pixels[:] if np.prod(pixels.shape, dtype=object) <= HELD else pixels
