"""The figure of the maps of the features: one panel per configuration."""

import io
import warnings
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap
from matplotlib.figure import Figure

from reports.curves import wrap_name
from reports.feature_maps import GroupMap

_PANELS_PER_ROW = 3
_PANEL_INCHES = 3.4
_MAX_NAMES = 60  # labeled images; more names would hide each other
_CYCLE_COLOURS = LinearSegmentedColormap.from_list(  # those of page/map.css
    "cycles", ["#0072b2", "#6861bc", "#9c50a1", "#bc4668", "#c25200"]
)


def draw_maps(maps: Sequence[GroupMap], kind: str) -> bytes:
    """The content of a figure file: other images grey, labeled ones in the colour of the cycle
    after which they were labeled, with the names of their classes where these are few.

    kind: png or pdf."""
    columns = min(len(maps), _PANELS_PER_ROW)
    rows = -(-len(maps) // columns)
    last = max(1, *(int(one.run_map.cycles.max(initial=0)) for one in maps))
    norm = BoundaryNorm(np.arange(last + 2) - 0.5, 256, extend="neither")
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about glyphs that the font lacks; drawn as boxes
        size = (_PANEL_INCHES * columns + 0.8, (_PANEL_INCHES + 0.5) * rows)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(maps) :]:
            axes.set_axis_off()
        for axes, one in zip(grid.flat, maps, strict=False):
            _draw_map(axes, one, norm)
        mappable = ScalarMappable(norm, _CYCLE_COLOURS)
        bar = figure.colorbar(mappable, ax=grid, shrink=0.6, label="labeled after cycle (0: first)")
        bar.set_ticks(sorted({round(tick) for tick in np.linspace(0, last, min(last + 1, 6))}))
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=110)
    return file.getvalue()


def _draw_map(axes: matplotlib.axes.Axes, group_map: GroupMap, norm: BoundaryNorm) -> None:
    run_map = group_map.run_map
    points, cycles = run_map.points, run_map.cycles
    is_labeled = cycles >= 0
    (other_x, other_y), (x, y) = points.places[~is_labeled].T, points.places[is_labeled].T
    axes.scatter(other_x, other_y, s=4, color="0.75", linewidths=0)
    axes.scatter(
        x,
        y,
        c=cycles[is_labeled],
        cmap=_CYCLE_COLOURS,
        norm=norm,
        marker="s",
        s=14,
        linewidths=0.4,
        edgecolors="black",
    )
    if is_labeled.sum() <= _MAX_NAMES:
        for place, label in zip(points.places[is_labeled], points.labels[is_labeled], strict=True):
            if label >= 0:
                name = run_map.class_names[label]
                axes.annotate(name, place, (3, 2), textcoords="offset points", fontsize=6)
    axes.set_title(wrap_name(group_map.name, 44), fontsize="small")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")
