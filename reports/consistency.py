"""What a report says of its runs before it averages any: what is doubled, missing or mixed."""

import json
from collections import defaultdict

from reports.group_names import counted
from reports.runs import Group, Sample, groups_of, same


def once(samples: list[Sample]) -> tuple[list[Sample], list[str]]:
    """The runs to report, and a line for each thing that is doubled, missing or mixed."""
    samples, notes = without_doubles(samples)
    return samples, notes + remarks(groups_of(samples))


def without_doubles(samples: list[Sample]) -> tuple[list[Sample], list[str]]:
    """The runs that are there once, and in words those that are not.

    Of copies with the same results the first counts; where the results differ nobody can say which
    is right, and none does."""
    out, notes = set(), []
    for first, *others in same(samples):
        places = ", ".join(str(other.folder) for other in others)
        if all(first.results.equals(other.results) for other in others):
            notes.append(f"doubled: {first.folder} has the same results as {places}: counted once")
        else:
            out.add(first.folder)
            notes.append(f"doubled: {first.folder} has other results than {places}: left out")
        out.update(other.folder for other in others)
    return [sample for sample in samples if sample.folder not in out], notes


def remarks(groups: list[Group]) -> list[str]:
    """A line for each thing that is missing or mixed."""
    datasets = defaultdict(list)
    for group in groups:
        datasets[group.label.dataset].append(group)
    notes = []
    for name, some in datasets.items():
        notes += _mixed_data(name, some)
        for group in some:
            notes += _missing(group, some) + _uneven(group) + _mixed_machines(group)
    return notes


def _missing(group: Group, others: list[Group]) -> list[str]:
    """The splits and seeds that other rows of the data set and budget have."""
    there = {(sample.split, sample.seed) for sample in group.samples}
    budget = group.who["options"].get("al_budget")
    like = [other for other in others if other.who["options"].get("al_budget") == budget]
    wanted = {(sample.split, sample.seed) for other in like for sample in other.samples}
    lacking = sorted(wanted - there)
    if not lacking:
        return []
    seeds = len({seed for _, seed in wanted}) > 1
    words = [f"{split} (seed {seed})" if seeds else f"{split}" for split, seed in lacking]
    noun = "split" if len(words) == 1 else "splits"
    return [f"missing: {group.name} has no run of {noun} {', '.join(words)}, which other rows have"]


def _uneven(group: Group) -> list[str]:
    lengths = sorted({len(sample.results) for sample in group.samples})
    if len(lengths) == 1:
        return []
    return [f"mixed: {group.name} has runs of {lengths[0]} to {lengths[-1]} cycles"]


def _mixed_data(dataset: str, groups: list[Group]) -> list[str]:
    notes = []
    for key, thing in (("data", "version"), ("results", "number")):
        values = sorted({str(group.who.get(key)) for group in groups})
        if len(values) > 1:
            what = f"{counted(len(values), thing)} of the {key} ({', '.join(values)})"
            notes.append(f"mixed: {dataset} has runs with {what}; they are rows of their own")
    return notes


def _mixed_machines(group: Group) -> list[str]:
    """Runs of one row that were made by other code or on another device."""
    notes = []
    starts = [_last_start(sample) for sample in group.samples]
    for key, thing in (("git_revision", "code revision"), ("device_name", "kind of device")):
        values = sorted({str(start[key]) for start in starts if key in start})
        if len(values) > 1:
            words = counted(len(values), thing).replace("kind of devices", "kinds of device")
            notes.append(f"mixed: {group.name} was run with {words} ({', '.join(values)})")
    return notes


def _last_start(sample: Sample) -> dict:
    """The last entry of environment.json; empty where there is none to read."""
    try:
        return dict(json.loads((sample.folder / "environment.json").read_text())["starts"][-1])
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return {}
