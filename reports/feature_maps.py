"""Maps of the features of finished runs: where the labeled images are, what the others look like.

A map is computed from the checkpoint of a run and from its data, as on the labeling page
(labeling.feature_map), with the features and predictions of the network of the last cycle.  A run
without a checkpoint, or whose data are gone, has none.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiment import setup
from experiment.resume import load_state
from experiment.saved_network import (
    check_data_unchanged,
    load_finished_run,
    load_network,
    use_recorded_scale,
)
from labeling.feature_map import FeatureMap, choose_points, make_feature_map
from reports.file_names import MAX_MAPS
from reports.runs import RunGroup
from training.network_outputs import extract_outputs
from utils.arrays import as_numpy
from utils.errors import UserError
from utils.memory import is_out_of_memory
from utils.seeding import rng_for

MAX_LABELED = 800  # images on a map; with more, these are drawn at random


class RunMap(NamedTuple):
    """The map of a run after its last cycle.

    points: M images; the queries are all images that were ever queried, in their order.
    cycles: (M,) int64, 0 for the first labels, n for those after cycle n, -1 for other images.
    indices: (M,) int64, in the data set, as the user knows them."""

    points: FeatureMap
    cycles: np.ndarray
    indices: np.ndarray
    class_names: tuple[str, ...]


class GroupMap(NamedTuple):
    """The map of the first run of a group.  folder: of the run; name: of the group and the run."""

    name: str
    folder: Path
    run_map: RunMap


MapLoader = Callable[[Path], RunMap | str]  # folder of a run -> its map, or why there is none


def make_group_maps(
    groups: list[RunGroup], count: int, load_map: MapLoader
) -> tuple[list[GroupMap], list[str]]:
    """The maps of the first `count` groups that can have one, and lines on those without."""
    maps: list[GroupMap] = []
    lines = []
    for number, group in enumerate(groups):
        if len(maps) == count:
            left = len(groups) - number
            words = "1 further configuration has"
            words = words if left == 1 else f"{left} further configurations have"
            lines.append(f"{words} no map (--maps)")
            break
        run = min(group.runs, key=lambda run: (run.split, run.seed))
        found = load_map(run.folder)
        if isinstance(found, str):
            lines.append(f"{group.full_name}: no map ({found})")
        else:
            name = f"{group.full_name}, split {run.split}, seed {run.seed}"
            maps.append(GroupMap(name, run.folder, found))
    return maps, lines


def load_run_map(folder: Path) -> RunMap | str:
    """The map of a run; every failure becomes the reason why there is none."""
    checkpoint = folder / "checkpoint.pt"
    try:
        stat = checkpoint.stat()
        return _make_run_map(folder, (stat.st_size, stat.st_mtime_ns))
    except FileNotFoundError:
        return "it has no checkpoint.pt"
    except (UserError, OSError) as error:
        return str(error)
    except (KeyError, AttributeError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return "out of memory"
        return "this version cannot read its checkpoint or its data"  # edited, or of another one


@lru_cache(maxsize=MAX_MAPS)  # a report that is rewritten computes only new ones
def _make_run_map(folder: Path, stamp: tuple[int, int]) -> RunMap:
    """stamp: size and time of the checkpoint.

    Raises UserError if the run is not finished or its data have changed."""
    run = load_finished_run(folder, "cpu")
    dataset, options = setup.open_dataset(run.options, only_cached=True)
    check_data_unchanged(run, dataset)
    state = load_state(run.checkpoint, dataset, folder)
    dataset = dataset.with_classes(state.class_names)
    network = load_network(run, use_recorded_scale(run, dataset))
    queried, _ = state.answers_so_far()
    seed = setup.derive_split_seed(options)
    rng = rng_for(seed, "map", 0)
    shown = queried if len(queried) <= MAX_LABELED else rng.permutation(queried)[:MAX_LABELED]
    images = choose_points(len(dataset.images), shown, rng)
    features, probs = extract_outputs(network, dataset.images.subset(images), location="map")
    points = make_feature_map(
        as_numpy(features, np.float32),
        images,
        labels=state.pool.labels,
        predicted=as_numpy(probs.argmax(dim=1), np.int64),
        queried=queried,
        seed=seed % 2**32,
    )
    cycles = np.full(len(dataset.images), -1)
    for cycle, record in enumerate(state.history[: state.num_answered_cycles]):
        cycles[record.queried] = cycle
    indices = dataset.dataset_indices[images]
    return RunMap(points, cycles[images], indices, dataset.class_names)
