"""Fingerprints of arrays and of files, to tell whether data have changed."""

import hashlib
import json
from pathlib import Path

import numpy as np

ROWS_PER_CHUNK = 4096  # read together of what stays in a file
MAX_LISTED_FILES = 100  # files that are told one by one


def array_digest(*arrays) -> str:
    """A name for the contents of arrays: types, shapes and values.

    An array that stays in a file gives its rows by `split`, as data.memmap.Mapped does."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        for part in array.split(ROWS_PER_CHUNK) if hasattr(array, "split") else [array]:
            part = np.ascontiguousarray(part)
            found.update(part.data if part.size else b"")
    return found.hexdigest()[:16]


def file_stats(paths) -> dict:
    """What is told of files without reading them: absolute path -> `stamp`; of more than MANY
    together a digest of all."""
    found = {str(Path(path).absolute()): size_and_mtime(path) for path in paths}
    if len(found) <= MAX_LISTED_FILES:
        return found
    whole = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
    return {f"{len(found)} files": whole}


def size_and_mtime(path) -> list[int] | None:
    """Size in bytes and time in nanoseconds of a file; None where there is none."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
