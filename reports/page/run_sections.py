"""The sections on single runs for the page, reduced to the size that the page allows."""

import base64
import json
from typing import Any

import numpy as np

from reports.group_names import REPLICATE_OPTIONS
from reports.run_history import LabeledImage, RunHistory, read_history
from reports.run_images import ImageLoader, RunImages
from reports.runs import RunGroup, RunResult
from reports.thumbnails import IMAGES_PER_ROW, allot_images, images_that_fit, make_sprite
from reports.unseen_classes import describe_unseen_share
from utils.console import to_one_line

# The page stays below 5 MB: at most this many bytes of images, as base64, and this many images
# with their names, about 70 bytes each.
_MAX_IMAGE_BYTES = 2_400_000
_MAX_IMAGES = 16_000
_TILE_PIXELS = 40  # side of an image on the page, as in page.css


def make_run_entries(groups: list[RunGroup], load_images: ImageLoader) -> list[dict[str, Any]]:
    """One dictionary per run for the template, in the order of the groups."""
    grouped_runs = [(group, run) for group in groups for run in _sort_runs(group)]
    option_names = _find_varying_options([run for _, run in grouped_runs])
    entries = []
    for number, (group, run) in enumerate(grouped_runs):
        images = load_images(run.config)
        history = read_history(run, images.initial_indices, images.labels)
        options = run.identity["options"]
        entries.append(
            _make_gallery(history, images, len(grouped_runs))
            | {
                "id": f"run{number}",
                "name": group.full_name,
                "split": f"split {run.split}, seed {run.seed}",
                "folder": to_one_line(str(run.folder)),
                "options": [
                    (to_one_line(name), to_one_line(str(options[name])))
                    for name in option_names
                    if name in options
                ],
                "cycles": history.cycle_table,
                "counts": _class_bars(history.class_counts),
                "unseen": describe_unseen_share(run.folder),
            }
        )
    return entries


def _sort_runs(group: RunGroup) -> list[RunResult]:
    return sorted(group.runs, key=lambda run: (run.split, run.seed))


def _find_varying_options(runs: list[RunResult]) -> list[str]:
    """The options that differ between runs, or that only some runs have."""
    names = sorted({name for run in runs for name in run.identity["options"]})
    values = {
        name: {json.dumps(run.identity["options"].get(name), sort_keys=True) for run in runs}
        for name in names
        if name not in REPLICATE_OPTIONS
    }
    return [name for name in values if len(values[name]) > 1]


def _class_bars(counts: dict[str, int]) -> list[dict[str, Any]]:
    """Per class: its name, its number of labels, and that in percent of the largest number."""
    largest = max(counts.values(), default=1)
    return [
        {"name": name, "count": count, "part": round(100 * count / largest)}
        for name, count in counts.items()
    ]


def _make_gallery(history: RunHistory, images: RunImages, num_runs: int) -> dict[str, Any]:
    """The chosen images of a run, limited to the room that the page has.

    why: why images are not shown; left_out: how many are omitted; picks: per cycle its images;
    sprite: data URL of the picture that contains them.
    num_runs: the room on the page is shared equally between the runs."""
    cycles = sorted(history.images_by_cycle)
    counts = [len(history.images_by_cycle[cycle]) for cycle in cycles]
    all_indices = [
        image.dataset_index for cycle in cycles for image in history.images_by_cycle[cycle]
    ]
    why = images.reason_missing or history.reason_missing
    max_images = max(_MAX_IMAGES // num_runs, 1)
    max_bytes = _MAX_IMAGE_BYTES * 3 // 4 // num_runs  # base64 turns three bytes into four
    can_show = images.images is not None and bool(all_indices)
    if can_show and max(all_indices) >= len(images.images):
        can_show, why = False, "acquired.csv names images that the data set does not have"
    if can_show:
        max_images = min(max_images, images_that_fit(images.images, all_indices, max_bytes))
    num_shown = allot_images(counts, max_images)
    shown = {
        cycle: history.images_by_cycle[cycle][:count]
        for cycle, count in zip(cycles, num_shown, strict=True)
    }
    indices = np.array([one.dataset_index for part in shown.values() for one in part], np.int64)
    sprite = ""
    if can_show and len(indices):
        content = base64.b64encode(make_sprite(images.images, indices)).decode()
        sprite = f"data:image/png;base64,{content}"
    picks, position = [], 0
    for cycle, part in shown.items():
        picks.append({"cycle": cycle + 1, "images": _place_in_sprite(part, position)})
        position += len(part)
    left_out = sum(counts) - sum(num_shown)
    return {"why": why, "left_out": left_out, "picks": picks, "sprite": sprite}


def _place_in_sprite(images: list[LabeledImage], first: int) -> list[dict[str, Any]]:
    """The images for the template, with their offsets in the sprite; first: position there."""
    return [
        {
            "index": image.dataset_index,
            "name": image.class_name,
            "guess": image.predicted_class,
            "x": -_TILE_PIXELS * (position % IMAGES_PER_ROW),
            "y": -_TILE_PIXELS * (position // IMAGES_PER_ROW),
        }
        for position, image in enumerate(images, start=first)
    ]
