"""Who a run is: what can change its results, and nothing else.

Two runs of one identity give the same numbers; a folder never holds two.  Not part of it: where a
run is done, how it is displayed, how many cycles it is asked for.
"""

import hashlib
import json

from utils.errors import UserError

# The number of the results' arithmetic: how many entries stand under "Changes results" in
# CHANGELOG.md.  Raised with each, so that what was computed before is not taken for the same.
RESULTS_VERSION = 21


def make_identity(options: dict, fingerprint: str, **more) -> dict:
    """options: those that the active parts read; fingerprint: of the data; more: what else tells
    two runs apart, the initial labels for one.  -> a dict of plain types."""
    return {"options": options, "data": fingerprint, "results": RESULTS_VERSION, **more}


def identity_digest(run_identity: dict, without: tuple[str, ...] = ()) -> str:
    """A name for an identity, or for what is left of it without some of its options.

    Without the split, the initial labels that follow from it are left out too."""
    kept = {
        **run_identity,
        "options": {k: v for k, v in run_identity["options"].items() if k not in without},
    }
    if "split" in without:
        kept.pop("initial", None)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:10]


def identity_difference(before: dict, now: dict) -> str | None:
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


def check_same_identity(before: dict | None, now: dict, thing: str, cure: str) -> None:
    """Raises UserError unless `thing`, made as `before`, is what is wanted `now`; cure: what the
    user can do about it."""
    if not isinstance(before, dict) or not {"options", "data", "results"} <= set(before):
        raise UserError(f"{thing} does not say whose it is: {cure}")
    if words := identity_difference(before, now):
        raise UserError(f"{thing} was made {words}: {cure}")
