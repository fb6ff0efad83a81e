"""The figure of a report: accuracy over the number of labels."""

import io
import itertools
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.group_names import natural_sort_key
from reports.summary import group_by_dataset_and_budget, make_caption

# The colours of Okabe and Ito, which colour-blind readers can distinguish, darkened to a contrast
# of 3 to 1 against white.  page/page.css has the same list.
CURVE_COLORS = ("#0072b2", "#d55e00", "#00805e", "#b0508f", "#000000", "#a87200", "#3189bd")
_MARKERS = "os^DvPX<>"  # 9 markers and 7 colours: a pair repeats after 63 curves
_LINE_STYLES = ("-", "--", "-.", ":")
_PANEL_INCHES = (3.1, 3.3)  # width, height
_MAX_TICKS = 6
ESTIMATE_WORDS = "estimate without test set, 95 % interval"
_ESTIMATE_STYLE: dict[str, Any] = {"linestyle": (0, (1, 1.5)), "linewidth": 1.1}


def draw_figure(summary: pd.DataFrame, measure: str, kind: str) -> bytes:
    """The content of a figure file.

    One row of panels per data set and budget, one panel per training, one curve per method with
    the standard deviation shaded.  A method looks the same in every panel.

    summary: from summary.summarize_runs; kind: png, pdf or svg."""
    parts = group_by_dataset_and_budget(summary)
    num_columns = max(part.training.nunique() for _, part in parts)
    styles = assign_styles(summary)
    names = [wrap_name(name) for name in styles]
    height = max(_PANEL_INCHES[1] * len(parts), 0.2 * sum(1 + name.count("\n") for name in names))
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about glyphs that the font lacks; drawn as boxes
        size = (_PANEL_INCHES[0] * num_columns + 2.2, height + 0.3)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(parts), num_columns, sharex="row", sharey="row", squeeze=False)
        for axes, (name, part) in zip(grid, parts, strict=True):
            _draw_row(axes, name, part, styles)
            axes[0].set_ylabel(f"{measure} (%)")
        handles = [Line2D([], [], **style) for style in styles.values()]
        if summary.estimated_accuracy.notna().any():
            handles.append(Line2D([], [], color="0.4", **_ESTIMATE_STYLE))
            names.append(wrap_name(ESTIMATE_WORDS))
        figure.legend(handles, names, loc="outside right upper", fontsize="small", frameon=False)
        figure.suptitle(make_caption(summary), fontsize="medium")
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=110)
    return file.getvalue()


def assign_styles(summary: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Method -> keyword arguments of its Line2D.

    Methods that are in the most panels come first, because the first styles are the easiest to
    distinguish."""
    num_panels = summary.groupby("method").group.nunique()
    methods = sorted(
        num_panels.index, key=lambda method: (-num_panels[method], natural_sort_key(method))
    )
    return {
        method: {
            "color": CURVE_COLORS[i % len(CURVE_COLORS)],
            "marker": _MARKERS[i % len(_MARKERS)],
            "linestyle": _LINE_STYLES[i // len(CURVE_COLORS) % len(_LINE_STYLES)],
            "markersize": 4.5,
        }
        for i, method in enumerate(methods)
    }


def wrap_name(name: str, width: int = 32) -> str:
    """Wraps a name for a legend or a title, without separating an option from its value.

    width: in characters."""
    joined = name.replace(" ", "\xa0").replace(",\xa0", ", ").replace("\xa0(", " (")
    return textwrap.fill(joined, width, break_long_words=False, break_on_hyphens=False)


def _draw_row(
    axes: Sequence[Axes], name: str, part: pd.DataFrame, styles: dict[str, dict[str, Any]]
) -> None:
    """Draws the panels of one data set and budget; name: their title."""
    trainings = list(part.training.unique())
    for axis in axes[len(trainings) :]:
        axis.set_axis_off()
    for axis, training in zip(axes, trainings, strict=False):
        for _, curve in part[part.training == training].groupby("group"):
            _draw_curve(axis, curve, styles[curve.method.iloc[0]])
        axis.set_title(f"{name}: {training}", fontsize="medium")
        axis.set_xlabel("labels")
        axis.grid(alpha=0.3)
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(max(low, -2), min(high, 102))
    _set_ticks(axes[0], sorted(part.labeled.unique()))


def _draw_curve(axis: Axes, curve: pd.DataFrame, style: dict[str, Any]) -> None:
    spread = curve["std"].fillna(0)
    low, high = curve["mean"] - spread, curve["mean"] + spread
    axis.plot(curve.labeled, curve["mean"], **style)
    axis.fill_between(curve.labeled, low, high, color=style["color"], alpha=0.12, lw=0)
    if len(curve) == 1:  # the band of a single point has no width
        axis.vlines(curve.labeled, low, high, color=style["color"], alpha=0.5)
    known = curve.dropna(subset=["estimated_accuracy"])
    for name in ("estimated_accuracy", "estimated_low", "estimated_high"):
        axis.plot(known.labeled, known[name], color=style["color"], **_ESTIMATE_STYLE)
    low, high = known.estimated_low, known.estimated_high
    axis.fill_between(known.labeled, low, high, color=style["color"], alpha=0.06, lw=0)


def _set_ticks(axis: Axes, counts: list[int]) -> None:
    """Puts ticks at the numbers of labels if they are few and evenly spaced."""
    steps = {after - before for before, after in itertools.pairwise(counts)}
    if len(counts) <= _MAX_TICKS and len(steps) <= 1:
        axis.set_xticks(counts)
    else:
        axis.xaxis.set_major_locator(MaxNLocator(_MAX_TICKS - 1, integer=True))
