"""What a report says of its runs before it averages any: what is doubled, missing or mixed."""

import json
from collections import defaultdict

from reports.group_names import pluralize
from reports.runs import RunGroup, RunResult, find_duplicates, group_runs


def deduplicate_and_check(samples: list[RunResult]) -> tuple[list[RunResult], list[str]]:
    """The runs to report, and a line for each thing that is doubled, missing or mixed."""
    samples, notes = drop_duplicates(samples)
    return samples, notes + find_inconsistencies(group_runs(samples))


def drop_duplicates(samples: list[RunResult]) -> tuple[list[RunResult], list[str]]:
    """The runs that are there once, and in words those that are not.

    Of copies with the same results the first counts; where the results differ nobody can say which
    is right, and none does."""
    out, notes = set(), []
    for first, *others in find_duplicates(samples):
        places = ", ".join(str(other.folder) for other in others)
        if all(first.results.equals(other.results) for other in others):
            notes.append(f"doubled: {first.folder} has the same results as {places}: counted once")
        else:
            out.add(first.folder)
            notes.append(f"doubled: {first.folder} has other results than {places}: left out")
        out.update(other.folder for other in others)
    return [sample for sample in samples if sample.folder not in out], notes


def find_inconsistencies(groups: list[RunGroup]) -> list[str]:
    """A line for each thing that is missing or mixed."""
    datasets = defaultdict(list)
    for group in groups:
        datasets[group.display_name.dataset].append(group)
    notes = []
    for name, some in datasets.items():
        notes += _note_mixed_data(name, some)
        for group in some:
            notes += (
                _note_missing_runs(group, some)
                + _note_uneven_lengths(group)
                + _note_mixed_machines(group)
            )
    return notes


def _note_missing_runs(group: RunGroup, others: list[RunGroup]) -> list[str]:
    """The splits and seeds that other rows of the data set and budget have."""
    there = {(sample.split, sample.seed) for sample in group.runs}
    budget = group.identity["options"].get("al_budget")
    like = [other for other in others if other.identity["options"].get("al_budget") == budget]
    wanted = {(sample.split, sample.seed) for other in like for sample in other.runs}
    lacking = sorted(wanted - there)
    if not lacking:
        return []
    seeds = len({seed for _, seed in wanted}) > 1
    words = [f"{split} (seed {seed})" if seeds else f"{split}" for split, seed in lacking]
    noun = "split" if len(words) == 1 else "splits"
    return [
        f"missing: {group.full_name} has no run of {noun} {', '.join(words)}, which other rows have"
    ]


def _note_uneven_lengths(group: RunGroup) -> list[str]:
    lengths = sorted({len(sample.results) for sample in group.runs})
    if len(lengths) == 1:
        return []
    return [f"mixed: {group.full_name} has runs of {lengths[0]} to {lengths[-1]} cycles"]


def _note_mixed_data(dataset: str, groups: list[RunGroup]) -> list[str]:
    notes = []
    for key, thing in (("data", "version"), ("results", "number")):
        values = sorted({str(group.identity.get(key)) for group in groups})
        if len(values) > 1:
            what = f"{pluralize(len(values), thing)} of the {key} ({', '.join(values)})"
            notes.append(f"mixed: {dataset} has runs with {what}; they are rows of their own")
    return notes


def _note_mixed_machines(group: RunGroup) -> list[str]:
    """Runs of one row that were made by other code or on another device."""
    notes = []
    starts = [_last_environment(sample) for sample in group.runs]
    for key, thing in (("git_revision", "code revision"), ("device_name", "kind of device")):
        values = sorted({str(start[key]) for start in starts if key in start})
        if len(values) > 1:
            words = pluralize(len(values), thing).replace("kind of devices", "kinds of device")
            notes.append(f"mixed: {group.full_name} was run with {words} ({', '.join(values)})")
    return notes


def _last_environment(sample: RunResult) -> dict:
    """The last entry of environment.json; empty where there is none to read."""
    try:
        return dict(json.loads((sample.folder / "environment.json").read_text())["starts"][-1])
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return {}
