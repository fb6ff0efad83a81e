"""The identity of a run: everything that can change its results, and nothing else.

Two runs with the same identity give the same numbers, and a folder never holds two identities.
Where a run is computed, how it is displayed and how many cycles it has are not part of it.
"""

import hashlib
import json
from typing import Any

from utils.errors import UserError

# The version of the arithmetic: the number of entries under "Changes results" in CHANGELOG.md.
# Raised with each entry, so that earlier runs are not continued with different arithmetic.
RESULTS_VERSION = 39

# What else may distinguish two runs, for messages.
PART_WORDS = {"initial": "initial labels", "encoder": "weights or preprocessing of its encoder"}


def make_identity(options: dict[str, Any], fingerprint: str, **parts: Any) -> dict[str, Any]:
    """The identity of a run or of pre-trained weights, a dict of plain types.

    options: those that the active components read.
    fingerprint: of the data.
    parts: what else distinguishes two runs, such as a digest of the initial labels.  `classes`, the
    names of the data's classes, may only grow (`missing_classes`)."""
    return {"options": options, "data": fingerprint, "results": RESULTS_VERSION, **parts}


def identity_digest(run_identity: dict[str, Any], without: tuple[str, ...] = ()) -> str:
    """A short name for an identity, optionally without some of its options.

    Without the split, the initial labels that follow from it are left out too.  The names of the
    classes are never part of it, because a run may get more of them."""
    options = {
        name: value for name, value in run_identity["options"].items() if name not in without
    }
    parts = {**run_identity, "options": options}
    parts.pop("classes", None)
    if "split" in without:
        parts.pop("initial", None)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]


def missing_classes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The classes that the data had for one identity and lack now; none where either does not
    record them."""
    names = now.get("classes", before.get("classes", ()))
    return [name for name in before.get("classes", ()) if name not in names]


def identity_difference(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """The first difference between two identities, worded to follow "was made"; None if equal."""
    old, new = before["options"], now["options"]
    for name in sorted(set(old) | set(new)):
        if name not in new:
            return f"with {name} = {old[name]}, which this run does not read"
        if name not in old:
            return f"without {name}, which this run reads"
        if old[name] != new[name]:
            return f"with {name} = {old[name]}, not {new[name]}"
    if missing := missing_classes(before, now):
        return f"with the class {missing[0]!r}, which the data no longer have"
    if before["data"] != now["data"]:
        added = f"without the class {new[0]!r}, " if (new := missing_classes(now, before)) else ""
        return f"on other data ({added}fingerprint {before['data']}, not {now['data']})"
    if before["results"] != now["results"]:
        return (
            f"with results version {before['results']}, not {now['results']} "
            '(see "Changes results" in CHANGELOG.md)'
        )
    for name in sorted((set(before) | set(now)) - {"classes"}):
        if before.get(name) != now.get(name):
            return f"with other {PART_WORDS.get(name, name)}"
    return None


def check_same_identity(
    before: dict[str, Any] | None, now: dict[str, Any], thing: str, cure: str
) -> None:
    """Raises UserError unless `thing`, made with identity `before`, has the identity `now`.

    cure: what the user can do about a difference."""
    if not isinstance(before, dict) or not {"options", "data", "results"} <= set(before):
        raise UserError(f"{thing} does not record which run it belongs to: {cure}")
    if difference := identity_difference(before, now):
        if missing_classes(before, now):
            cure = f"give the class its name back, or {cure}"
        elif missing_classes(now, before):
            cure = f"a new class needs an empty folder: move its images back, or {cure}"
        elif difference.startswith("on other data"):
            cure = f"put the data back as they were, or {cure}"
        raise UserError(f"{thing} was made {difference}: {cure}")
