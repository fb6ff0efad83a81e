"""Are the files those that were published?  Told by their md5, which is computed once.

What was computed is kept beside the files with their size and time, and holds for as long as these
do.  It only spares the time: nothing is believed more because of it.
"""

import contextlib
import hashlib
import json
from pathlib import Path

from data.download.published_files import below
from utils.errors import Refused
from utils.files import json_bytes, write_atomically
from utils.fingerprints import stamp

RIGHT, WRONG, MISSING, PRESENT = "right", "wrong", "missing", "present"
MEMORY = ".md5.json"  # file name -> [size, time in ns, md5], in the folder of the files


def notices(name: str, root: str, published: dict[str, str]) -> list[str]:
    """What the user should know of the files of the data set `name`: a line or none.

    published: files of one folder, below the data root -> the md5 with which they were published;
    what is not there is not told of."""
    found = states(root, published)
    others = [path for path in below(root, published) if found[path] == WRONG]
    if not others:
        return []
    names = ", ".join(path.name for path in others)
    return [f"{name} in {others[0].parent}: {names}: not the published files, by their md5"]


def states(root: str, published: dict[str, str], *, afresh: bool = False) -> dict[Path, str]:
    """RIGHT, WRONG or MISSING, for each of the published files of one folder.

    afresh: read them, whatever is remembered.  Raises OSError where one cannot be read."""
    paths = below(root, published)
    sums, found = _sums(paths, afresh), {}
    for path, md5 in zip(paths, published.values(), strict=True):
        state = RIGHT if sums.get(path) == md5 else WRONG
        found[path] = state if path in sums else MISSING
    return found


def _sums(paths: list[Path], afresh: bool) -> dict[Path, str]:
    """The md5 of the files of one folder, remembered where that can be."""
    if not paths:
        return {}
    memory, sums, now = paths[0].parent / MEMORY, {}, {}
    before = {} if afresh else _remembered(memory)
    for path in paths:
        if found := stamp(path):  # before it is read: what changes meanwhile is read again
            last = before.get(path.name)
            same = isinstance(last, list) and len(last) == 3 and last[:2] == found
            sums[path] = last[2] if same else md5_of(path)
            now[path.name] = [*found, sums[path]]
    if now != before:
        with contextlib.suppress(Refused):  # a folder that is not ours: computed again next time
            write_atomically(memory, json_bytes(now))
    return sums


def _remembered(memory: Path) -> dict:
    try:
        found = json.loads(memory.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def md5_of(path: Path) -> str:
    """Of a file, in hexadecimal digits.  Raises OSError."""
    found = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()
