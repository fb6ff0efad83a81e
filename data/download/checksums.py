"""Are the files those that were published?  Told by their md5, which is computed once.

What was computed is kept beside the files with their size and time, and holds for as long as these
do.  It only spares the time: nothing is believed more because of it.
"""

import contextlib
import hashlib
import json
from pathlib import Path

from data.download.published_files import paths_under_root
from utils.errors import SystemRefusal
from utils.files import json_bytes, write_atomically
from utils.fingerprints import size_and_mtime

MD5_RIGHT, MD5_WRONG, FILE_MISSING, FILE_PRESENT = "right", "wrong", "missing", "present"
MD5_CACHE_FILE = ".md5.json"  # file name -> [size, time in ns, md5], in the folder of the files


def checksum_warnings(name: str, root: str, published: dict[str, str]) -> list[str]:
    """What the user should know of the files of the data set `name`: a line or none.

    published: files of one folder, below the data root -> the md5 with which they were published;
    what is not there is not told of."""
    found = file_statuses(root, published)
    others = [path for path in paths_under_root(root, published) if found[path] == MD5_WRONG]
    if not others:
        return []
    names = ", ".join(path.name for path in others)
    return [f"{name} in {others[0].parent}: {names}: not the published files, by their md5"]


def file_statuses(
    root: str, published: dict[str, str], *, recompute: bool = False
) -> dict[Path, str]:
    """RIGHT, WRONG or MISSING, for each of the published files of one folder.

    afresh: read them, whatever is remembered.  Raises OSError where one cannot be read."""
    paths = paths_under_root(root, published)
    sums, found = _md5_sums(paths, recompute), {}
    for path, md5 in zip(paths, published.values(), strict=True):
        state = MD5_RIGHT if sums.get(path) == md5 else MD5_WRONG
        found[path] = state if path in sums else FILE_MISSING
    return found


def _md5_sums(paths: list[Path], recompute: bool) -> dict[Path, str]:
    """The md5 of the files of one folder, remembered where that can be."""
    if not paths:
        return {}
    memory, sums, now = paths[0].parent / MD5_CACHE_FILE, {}, {}
    before = {} if recompute else _read_md5_cache(memory)
    for path in paths:
        if found := size_and_mtime(path):  # before it is read: what changes meanwhile is read again
            last = before.get(path.name)
            same = isinstance(last, list) and len(last) == 3 and last[:2] == found
            sums[path] = last[2] if same else file_md5(path)
            now[path.name] = [*found, sums[path]]
    if now != before:
        with contextlib.suppress(
            SystemRefusal
        ):  # a folder that is not ours: computed again next time
            write_atomically(memory, json_bytes(now))
    return sums


def _read_md5_cache(memory: Path) -> dict:
    try:
        found = json.loads(memory.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def file_md5(path: Path) -> str:
    """Of a file, in hexadecimal digits.  Raises OSError."""
    found = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()
