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
RESULTS_VERSION = 34


def make_identity(options: dict[str, Any], fingerprint: str, **parts: Any) -> dict[str, Any]:
    """The identity of a run or of pre-trained weights, a dict of plain types.

    options: those that the active components read.
    fingerprint: of the data.
    parts: what else distinguishes two runs, such as a digest of the initial labels."""
    return {"options": options, "data": fingerprint, "results": RESULTS_VERSION, **parts}


def identity_digest(run_identity: dict[str, Any], without: tuple[str, ...] = ()) -> str:
    """A short name for an identity, optionally without some of its options.

    Without the split, the initial labels that follow from it are left out too."""
    options = {
        name: value for name, value in run_identity["options"].items() if name not in without
    }
    parts = {**run_identity, "options": options}
    if "split" in without:
        parts.pop("initial", None)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]


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
    if before["data"] != now["data"]:
        return f"on other data (fingerprint {before['data']}, not {now['data']})"
    if before["results"] != now["results"]:
        return (
            f"with results version {before['results']}, not {now['results']} "
            '(see "Changes results" in CHANGELOG.md)'
        )
    for name in sorted(set(before) | set(now)):
        if before.get(name) != now.get(name):
            return f"with other {name} labels"
    return None


def check_same_identity(
    before: dict[str, Any] | None, now: dict[str, Any], thing: str, cure: str
) -> None:
    """Raises UserError unless `thing`, made with identity `before`, has the identity `now`.

    cure: what the user can do about a difference."""
    if not isinstance(before, dict) or not {"options", "data", "results"} <= set(before):
        raise UserError(f"{thing} does not record which run it belongs to: {cure}")
    if difference := identity_difference(before, now):
        raise UserError(f"{thing} was made {difference}: {cure}")
