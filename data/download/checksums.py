"""Compares files with their published MD5.

The MD5 of a file is computed once and stored beside it with the file's size and time; it is used as
long as these stay the same.  This only saves time; stored MD5 are no more trusted than the files.
"""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from data.download.published_files import paths_under_root
from utils.errors import SystemRefusal
from utils.files import json_bytes, read_json, write_atomically
from utils.fingerprints import size_and_mtime

MD5_RIGHT, MD5_WRONG, FILE_MISSING, FILE_PRESENT = "right", "wrong", "missing", "present"
MD5_CACHE_FILE = ".md5.json"  # file name -> [size, time in ns, md5], in the folder of the files


def checksum_warnings(name: str, root: str, published: dict[str, str]) -> list[str]:
    """A line where files of the data set `name` are not the published ones; otherwise none.

    published: files of one folder, below the data root -> their published MD5.  Missing files are
    not mentioned."""
    statuses = file_statuses(root, published)
    wrong = [path for path in paths_under_root(root, published) if statuses[path] == MD5_WRONG]
    if not wrong:
        return []
    names = ", ".join(path.name for path in wrong)
    return [f"{name} in {wrong[0].parent}: {names}: not the published files (other MD5)"]


def file_statuses(
    root: str, published: dict[str, str], *, recompute: bool = False
) -> dict[Path, str]:
    """MD5_RIGHT, MD5_WRONG or FILE_MISSING for each of the published files of one folder.

    recompute: read the files, and use no stored MD5.  Raises OSError where one cannot be read."""
    paths = paths_under_root(root, published)
    md5_by_path = _compute_md5s(paths, recompute)
    statuses = {}
    for path, md5 in zip(paths, published.values(), strict=True):
        if path not in md5_by_path:
            statuses[path] = FILE_MISSING
        else:
            statuses[path] = MD5_RIGHT if md5_by_path[path] == md5 else MD5_WRONG
    return statuses


def _compute_md5s(paths: list[Path], recompute: bool) -> dict[Path, str]:
    """The MD5 of those files of one folder that exist; stored beside them where possible."""
    if not paths:
        return {}
    cache_file = paths[0].parent / MD5_CACHE_FILE
    cached = {} if recompute else _read_md5_cache(cache_file)
    md5s: dict[Path, str] = {}
    entries: dict[str, list[Any]] = {}
    for path in paths:
        stat = size_and_mtime(path)  # before reading, so that a later change is noticed
        if stat is None:
            continue
        entry = cached.get(path.name)
        if isinstance(entry, list) and len(entry) == 3 and entry[:2] == stat:
            md5s[path] = entry[2]
        else:
            md5s[path] = file_md5(path)
        entries[path.name] = [*stat, md5s[path]]
    if entries != cached:
        # Where the folder is read-only, they are computed again the next time.
        with contextlib.suppress(SystemRefusal):
            write_atomically(cache_file, json_bytes(entries))
    return md5s


def _read_md5_cache(cache_file: Path) -> dict[str, Any]:
    """The stored entries; empty where the file is missing or damaged."""
    try:
        entries = read_json(cache_file)
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def file_md5(path: Path) -> str:
    """The MD5 of a file, as hexadecimal digits.  Raises OSError."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
