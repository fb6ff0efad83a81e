"""Checks of the runs before any of them are averaged: repeated, missing and mixed runs."""

from collections import defaultdict
from typing import Any

from reports.runs import RunGroup, RunResult, find_duplicates, group_runs, read_run_file
from utils.console import pluralize
from utils.errors import UserError
from utils.files import parse_json


def deduplicate_and_check(runs: list[RunResult]) -> tuple[list[RunResult], list[str]]:
    """The runs to report, and one note per repeated run and per inconsistency."""
    runs, notes = drop_duplicates(runs)
    return runs, notes + find_inconsistencies(group_runs(runs))


def drop_duplicates(runs: list[RunResult]) -> tuple[list[RunResult], list[str]]:
    """The runs to keep, and a note on each set of duplicates.

    Of duplicates with equal results the first is kept.  If their results differ, it is unknown
    which are right, and none is kept."""
    dropped, notes = set(), []
    for first, *others in find_duplicates(runs):
        folders = ", ".join(str(other.folder) for other in others)
        if all(first.results.equals(other.results) for other in others):
            outcome = f"has the same results as {folders}; counted once"
        else:
            dropped.add(first.folder)
            outcome = f"has other results than {folders}; all left out"
        notes.append(f"repeated: {first.folder} {outcome}")
        dropped.update(other.folder for other in others)
    return [run for run in runs if run.folder not in dropped], notes


def find_inconsistencies(groups: list[RunGroup]) -> list[str]:
    """One note per missing run and per mixture within a data set or group."""
    by_dataset = defaultdict(list)
    for group in groups:
        by_dataset[group.display_name.dataset].append(group)
    notes = []
    for dataset, members in by_dataset.items():
        notes += _note_mixed_data(dataset, members)
        for group in members:
            notes += _note_missing_runs(group, members)
            notes += _note_uneven_lengths(group)
            notes += _note_mixed_machines(group)
    return notes


def _note_missing_runs(group: RunGroup, others: list[RunGroup]) -> list[str]:
    """Names the splits and seeds that only other groups of the data set and budget have."""
    present = {(run.split, run.seed) for run in group.runs}
    budget = group.identity["options"].get("al_budget")
    similar = [other for other in others if other.identity["options"].get("al_budget") == budget]
    expected = {(run.split, run.seed) for other in similar for run in other.runs}
    missing = sorted(expected - present)
    if not missing:
        return []
    several_seeds = len({seed for _, seed in expected}) > 1
    words = [f"{split} (seed {seed})" if several_seeds else f"{split}" for split, seed in missing]
    noun = "split" if len(words) == 1 else "splits"
    return [
        f"missing: {group.full_name} has no run of {noun} {', '.join(words)}, which other rows have"
    ]


def _note_uneven_lengths(group: RunGroup) -> list[str]:
    lengths = sorted({len(run.results) for run in group.runs})
    if len(lengths) == 1:
        return []
    return [f"mixed: {group.full_name} has runs of {lengths[0]} to {lengths[-1]} cycles"]


def _note_mixed_data(dataset: str, groups: list[RunGroup]) -> list[str]:
    notes = []
    for key, noun in (("data", "version of the data"), ("results", "results version")):
        values = sorted({str(group.identity.get(key)) for group in groups})
        if len(values) > 1:
            versions = f"{len(values)} {noun.replace('version', 'versions')} ({', '.join(values)})"
            notes.append(f"mixed: {dataset} has runs with {versions}; they are in separate rows")
    return notes


def _note_mixed_machines(group: RunGroup) -> list[str]:
    """Notes on runs of one group that were made by different code or on different devices."""
    notes = []
    starts = [_last_environment(run) for run in group.runs]
    for key, noun in (("git_revision", "code revision"), ("device_name", "kind of device")):
        values = sorted({str(start[key]) for start in starts if key in start})
        if len(values) > 1:
            words = pluralize(len(values), noun).replace("kind of devices", "kinds of device")
            notes.append(f"mixed: {group.full_name} was run with {words} ({', '.join(values)})")
    return notes


def _last_environment(run: RunResult) -> dict[str, Any]:
    """The last entry of environment.json; empty if the file is missing or damaged."""
    try:
        return dict(parse_json(read_run_file(run.folder / "environment.json"))["starts"][-1])
    except (UserError, ValueError, TypeError, KeyError, IndexError):
        return {}
