"""The runs of a report for its page, as small as the page has room for."""

import base64
import json

import numpy as np

from reports.group_names import REPLICATE_OPTIONS
from reports.run_history import RunHistory, read_history
from reports.runs import RunGroup, RunResult
from reports.thumbnails import IMAGES_PER_ROW, allot_images, images_that_fit, make_sprite
from utils.console import to_one_line

# The page is to stay below 5 MB: so much of it are images, as base64, and so many are named, at
# some 70 bytes each.
_MAX_IMAGE_BYTES = 2_400_000
_MAX_IMAGES = 16_000
_TILE_PIXELS = 40  # pixels on the page


def make_run_entries(groups: list[RunGroup], pictures) -> list[dict]:
    """A dict a run for the template, in the order of the groups."""
    samples = [(group, sample) for group in groups for sample in _sort_runs(group)]
    differing = _find_varying_options([sample for _, sample in samples])
    runs = []
    for number, (group, sample) in enumerate(samples):
        found = pictures(sample.config)
        told = read_history(sample, found.initial_indices, found.labels)
        run = _make_gallery(told, found, len(samples))
        options = sample.identity["options"]
        run |= {
            "id": f"run{number}",
            "name": group.full_name,
            "split": f"split {sample.split}, seed {sample.seed}",
            "folder": to_one_line(str(sample.folder)),
            "options": [
                (to_one_line(name), to_one_line(str(options[name])))
                for name in differing
                if name in options
            ],
            "cycles": told.cycle_table,
            "counts": _class_bars(told.class_counts),
        }
        runs.append(run)
    return runs


def _sort_runs(group: RunGroup) -> list[RunResult]:
    return sorted(group.runs, key=lambda sample: (sample.split, sample.seed))


def _find_varying_options(samples: list[RunResult]) -> list[str]:
    """The options that are not the same in all runs, or not read by all."""
    names = sorted({name for sample in samples for name in sample.identity["options"]})
    values = {
        name: {
            json.dumps(sample.identity["options"].get(name), sort_keys=True) for sample in samples
        }
        for name in names
        if name not in REPLICATE_OPTIONS
    }
    return [name for name in values if len(values[name]) > 1]


def _class_bars(counts: dict[str, int]) -> list[dict]:
    """The class, its labels, and its share of the most frequent one's in percent."""
    most = max(counts.values(), default=1)
    return [
        {"name": name, "count": count, "part": round(100 * count / most)}
        for name, count in counts.items()
    ]


def _make_gallery(told: RunHistory, found, runs: int) -> dict:
    """The picks that are shown, their picture, and in words what is not.

    runs: between how many the room of the page is shared."""
    cycles = sorted(told.images_by_cycle)
    counts = [len(told.images_by_cycle[cycle]) for cycle in cycles]
    everything = [pick.dataset_index for cycle in cycles for pick in told.images_by_cycle[cycle]]
    why, room = found.reason_missing or told.reason_missing, max(_MAX_IMAGES // runs, 1)
    limit = _MAX_IMAGE_BYTES * 3 // 4 // runs  # base64 takes four bytes for three
    seen = found.images is not None and bool(everything)
    if seen and max(everything) >= len(found.images):
        seen, why = False, "acquired.csv names images that the data set does not have"
    if seen:
        room = min(room, images_that_fit(found.images, np.array(everything), limit))
    shown = allot_images(counts, room)
    picks = {
        cycle: told.images_by_cycle[cycle][:count]
        for cycle, count in zip(cycles, shown, strict=True)
    }
    run = {"why": why, "left_out": sum(counts) - sum(shown), "picks": [], "sprite": ""}
    indices = np.array([pick.dataset_index for some in picks.values() for pick in some], np.int64)
    if seen and len(indices):
        content = base64.b64encode(make_sprite(found.images, indices)).decode()
        run["sprite"] = f"data:image/png;base64,{content}"
    place = 0
    for cycle, some in picks.items():
        run["picks"].append({"cycle": cycle + 1, "images": _place_in_sprite(some, place)})
        place += len(some)
    return run


def _place_in_sprite(picks: list, place: int) -> list[dict]:
    """With where in the sprite each is."""
    return [
        {
            "index": pick.dataset_index,
            "name": pick.class_name,
            "guess": pick.predicted_class,
            "x": -_TILE_PIXELS * ((place + i) % IMAGES_PER_ROW),
            "y": -_TILE_PIXELS * ((place + i) // IMAGES_PER_ROW),
        }
        for i, pick in enumerate(picks)
    ]
