"""The map of the features of a run, for the script of the page."""

from typing import Any

import numpy as np

from reports.feature_maps import GroupMap
from utils.console import to_one_line


def make_map_entry(group_map: GroupMap, run_entries: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page knows of a map.

    points: one list per image: place, predicted class, index; of a labeled image also cycle, label
    and where its picture is in that of the run, None if it is not there.  Labeled images come
    first, in their order.
    run_entries: from run_sections.make_run_entries."""
    run_map = group_map.run_map
    points = run_map.points
    folder = to_one_line(str(group_map.folder))
    (entry,) = (one for one in run_entries if one["folder"] == folder)
    tiles = {
        pick["index"]: [pick["x"], pick["y"]]
        for cycle in entry["picks"]
        for pick in cycle["images"]
        if entry["sprite"]
    }
    is_labeled = points.queries >= 0
    order = np.lexsort((points.queries, ~is_labeled))
    rows = []
    for n in order.tolist():
        index = int(run_map.indices[n])
        row: list[Any] = [*points.places[n].round(4).tolist(), int(points.predicted[n]), index]
        if is_labeled[n]:
            label = max(int(points.labels[n]), -1)
            row += [int(run_map.cycles[n]), label, tiles.get(index)]
        rows.append(row)
    return {
        "name": to_one_line(group_map.name),
        "run": entry["id"],
        "caption": points.caption,
        "classes": [to_one_line(name) for name in run_map.class_names],
        "points": rows,
    }
