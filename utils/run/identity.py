"""Who a run is: what can change its results, and nothing else.

Two runs of one identity give the same numbers; a folder never holds two.  Not part of it: where a
run is done, how it is displayed, how many cycles it is asked for.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from utils.errors import UserError

# The number of the results' arithmetic: how many entries stand under "Changes results" in
# CHANGELOG.md.  Raised with each, so that what was computed before is not taken for the same.
RESULTS = 21
ROWS = 4096  # read together of what stays in a file
MANY = 100  # files that are told one by one


def identity(options: dict, fingerprint: str, **more) -> dict:
    """options: those that the active parts read; fingerprint: of the data; more: what else tells
    two runs apart, the initial labels for one.  -> a dict of plain types."""
    return {"options": options, "data": fingerprint, "results": RESULTS, **more}


def array_digest(*arrays) -> str:
    """A name for the contents of arrays: types, shapes and values.

    An array that stays in a file gives its rows by `split`, as data.mapped.Mapped does."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        for part in array.split(ROWS) if hasattr(array, "split") else [array]:
            part = np.ascontiguousarray(part)
            found.update(part.data if part.size else b"")
    return found.hexdigest()[:16]


def digest(who: dict, without: tuple[str, ...] = ()) -> str:
    """A name for an identity, or for what is left of it without some of its options.

    Without the split, the initial labels that follow from it are left out too."""
    kept = {**who, "options": {k: v for k, v in who["options"].items() if k not in without}}
    if "split" in without:
        kept.pop("initial", None)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:10]


def difference(before: dict, now: dict) -> str | None:
    """How the identity of what is there differs from what is wanted, in words; None if not."""
    then, wanted = before["options"], now["options"]
    for name in sorted(set(then) | set(wanted)):
        if name not in wanted:
            return f"with {name} = {then[name]}, which this run does not read"
        if name not in then:
            return f"without {name}, which this run reads"
        if then[name] != wanted[name]:
            return f"with {name} = {then[name]}, not {wanted[name]}"
    if before["data"] != now["data"]:
        return f"on other data (fingerprint {before['data']}, not {now['data']})"
    if before["results"] != now["results"]:
        return (
            f"with results number {before['results']}, not {now['results']} "
            "(CHANGELOG.md, Changes results)"
        )
    for name in sorted(set(before) | set(now)):
        if before.get(name) != now.get(name):
            return f"with other {name} labels"
    return None


def require_same(before: dict | None, now: dict, thing: str, cure: str) -> None:
    """Raises UserError unless `thing`, made as `before`, is what is wanted `now`; cure: what the
    user can do about it."""
    if not isinstance(before, dict) or not {"options", "data", "results"} <= set(before):
        raise UserError(f"{thing} does not say whose it is: {cure}")
    if words := difference(before, now):
        raise UserError(f"{thing} was made {words}: {cure}")


def stamps(paths) -> dict:
    """What is told of files without reading them: absolute path -> `stamp`; of more than MANY
    together a digest of all."""
    found = {str(Path(path).absolute()): stamp(path) for path in paths}
    if len(found) <= MANY:
        return found
    whole = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
    return {f"{len(found)} files": whole}


def stamp(path) -> list[int] | None:
    """Size in bytes and time in nanoseconds of a file; None where there is none."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
