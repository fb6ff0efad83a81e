"""The runs of a report for its page, as small as the page has room for."""

import base64
import json

import numpy as np

from reports.group_names import SAMPLED
from reports.run_history import Story, story
from reports.runs import Group, Sample
from reports.thumbnails import COLUMNS, fitting, share, sprite
from utils.console import one_line

# The page is to stay below 5 MB: so much of it are images, as base64, and so many are named, at
# some 70 bytes each.
_BYTES = 2_400_000
_NAMED = 16_000
_TILE = 40  # pixels on the page


def stories(groups: list[Group], pictures) -> list[dict]:
    """A dict a run for the template, in the order of the groups."""
    samples = [(group, sample) for group in groups for sample in _in_order(group)]
    differing = _differing([sample for _, sample in samples])
    runs = []
    for number, (group, sample) in enumerate(samples):
        found = pictures(sample.config)
        told = story(sample, found.first, found.labels)
        run = _chosen(told, found, len(samples))
        options = sample.who["options"]
        run |= {
            "id": f"run{number}",
            "name": group.name,
            "split": f"split {sample.split}, seed {sample.seed}",
            "folder": one_line(str(sample.folder)),
            "options": [
                (one_line(name), one_line(str(options[name])))
                for name in differing
                if name in options
            ],
            "cycles": told.cycles,
            "counts": _bars(told.counts),
        }
        runs.append(run)
    return runs


def _in_order(group: Group) -> list[Sample]:
    return sorted(group.samples, key=lambda sample: (sample.split, sample.seed))


def _differing(samples: list[Sample]) -> list[str]:
    """The options that are not the same in all runs, or not read by all."""
    names = sorted({name for sample in samples for name in sample.who["options"]})
    values = {
        name: {json.dumps(sample.who["options"].get(name), sort_keys=True) for sample in samples}
        for name in names
        if name not in SAMPLED
    }
    return [name for name in values if len(values[name]) > 1]


def _bars(counts: dict[str, int]) -> list[dict]:
    """The class, its labels, and its share of the most frequent one's in percent."""
    most = max(counts.values(), default=1)
    return [
        {"name": name, "count": count, "part": round(100 * count / most)}
        for name, count in counts.items()
    ]


def _chosen(told: Story, found, runs: int) -> dict:
    """The picks that are shown, their picture, and in words what is not.

    runs: between how many the room of the page is shared."""
    cycles = sorted(told.picks)
    counts = [len(told.picks[cycle]) for cycle in cycles]
    everything = [pick.index for cycle in cycles for pick in told.picks[cycle]]
    why, room = found.why or told.why, max(_NAMED // runs, 1)
    limit = _BYTES * 3 // 4 // runs  # base64 takes four bytes for three
    seen = found.images is not None and bool(everything)
    if seen and max(everything) >= len(found.images):
        seen, why = False, "acquired.csv names images that the data set does not have"
    if seen:
        room = min(room, fitting(found.images, np.array(everything), limit))
    shown = share(counts, room)
    picks = {cycle: told.picks[cycle][:count] for cycle, count in zip(cycles, shown, strict=True)}
    run = {"why": why, "left_out": sum(counts) - sum(shown), "picks": [], "sprite": ""}
    indices = np.array([pick.index for some in picks.values() for pick in some], np.int64)
    if seen and len(indices):
        content = base64.b64encode(sprite(found.images, indices)).decode()
        run["sprite"] = f"data:image/png;base64,{content}"
    place = 0
    for cycle, some in picks.items():
        run["picks"].append({"cycle": cycle + 1, "images": _placed(some, place)})
        place += len(some)
    return run


def _placed(picks: list, place: int) -> list[dict]:
    """With where in the sprite each is."""
    return [
        {
            "index": pick.index,
            "name": pick.name,
            "guess": pick.guess,
            "x": -_TILE * ((place + i) % COLUMNS),
            "y": -_TILE * ((place + i) // COLUMNS),
        }
        for i, pick in enumerate(picks)
    ]
