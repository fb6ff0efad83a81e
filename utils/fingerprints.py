"""Fingerprints of arrays and of files, to detect that data have changed."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

ROWS_PER_CHUNK = 4096  # of an array in a file
MAX_LISTED_FILES = 100


def array_digest(*arrays: Any) -> str:
    """16 hexadecimal digits that depend on the types, shapes and values of arrays.

    arrays: numpy arrays, or arrays in a file that yield their rows in chunks by `split`
    (data.memmap)."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for chunk in array.split(ROWS_PER_CHUNK) if hasattr(array, "split") else [array]:
            chunk = np.ascontiguousarray(chunk)
            digest.update(chunk.data if chunk.size else b"")
    return digest.hexdigest()[:16]


def file_stats(paths: Iterable[str | os.PathLike[str]]) -> dict[str, Any]:
    """What is known of files without reading them: absolute path -> `size_and_mtime`.

    More than MAX_LISTED_FILES are replaced by one digest of all."""
    stats = {str(Path(path).absolute()): size_and_mtime(path) for path in paths}
    if len(stats) <= MAX_LISTED_FILES:
        return stats
    digest = hashlib.sha256(json.dumps(stats, sort_keys=True).encode()).hexdigest()
    return {f"{len(stats)} files": digest}


def size_and_mtime(path: str | os.PathLike[str]) -> list[int] | None:
    """Size in bytes and modification time in nanoseconds; None if there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
