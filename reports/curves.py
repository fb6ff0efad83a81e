"""The figure of a report: accuracy over labels."""

import io
import itertools
import textwrap
import warnings

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.group_names import natural_sort_key
from reports.summary import group_by_dataset_and_budget, make_caption

# After Okabe and Ito's colours, which the colour-blind can tell apart; darker, for a contrast of 3
# to 1 to white.  Those of page/page.css.
CURVE_COLORS = ("#0072b2", "#d55e00", "#00805e", "#b0508f", "#000000", "#a87200", "#3189bd")
_MARKERS = "os^DvPX<>"  # 9 of them with 7 colours: 63 curves until a pair comes again
_LINE_STYLES = ("-", "--", "-.", ":")
_PANEL_INCHES = (3.1, 3.3)  # inches
_MAX_TICKS = 6


def draw_figure(summary: pd.DataFrame, measure: str, kind: str) -> bytes:
    """The file of a figure: a row a data set and budget, a panel a training, a curve a method, the
    spread shaded; a method looks the same in every panel.

    summary: of reports.summary.summarise; kind: png, pdf, svg."""
    parts = group_by_dataset_and_budget(summary)
    columns = max(part.training.nunique() for _, part in parts)
    styles = assign_styles(summary)
    names = [_wrap_name(name) for name in styles]
    height = max(_PANEL_INCHES[1] * len(parts), 0.2 * sum(1 + name.count("\n") for name in names))
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of glyphs that the font lacks: they are drawn as boxes
        size = (_PANEL_INCHES[0] * columns + 2.2, height + 0.3)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(parts), columns, sharex="row", sharey="row", squeeze=False)
        for row, (name, part) in zip(grid, parts, strict=True):
            _draw_row(row, name, part, styles)
            row[0].set_ylabel(f"{measure} (%)")
        handles = [Line2D([], [], **style) for style in styles.values()]
        figure.legend(handles, names, loc="outside right upper", fontsize="small", frameon=False)
        figure.suptitle(make_caption(summary), fontsize="medium")
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=110)
    return file.getvalue()


def assign_styles(summary: pd.DataFrame) -> dict[str, dict]:
    """Method -> how its curve looks; the methods of most panels first, they look least alike."""
    panels = summary.groupby("method").group.nunique()
    methods = sorted(panels.index, key=lambda method: (-panels[method], natural_sort_key(method)))
    return {
        method: {
            "color": CURVE_COLORS[i % len(CURVE_COLORS)],
            "marker": _MARKERS[i % len(_MARKERS)],
            "linestyle": _LINE_STYLES[i // len(CURVE_COLORS) % len(_LINE_STYLES)],
            "markersize": 4.5,
        }
        for i, method in enumerate(methods)
    }


def _wrap_name(name: str) -> str:
    """Lines for the legend, which keep an option beside its value."""
    kept = name.replace(" ", "\xa0").replace(",\xa0", ", ").replace("\xa0(", " (")
    return textwrap.fill(kept, 32, break_long_words=False, break_on_hyphens=False)


def _draw_row(axes, name: str, part: pd.DataFrame, styles: dict) -> None:
    """The panels of a data set and budget, which is called `name`."""
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


def _draw_curve(axis: Axes, curve: pd.DataFrame, style: dict) -> None:
    spread = curve["std"].fillna(0)
    low, high = curve["mean"] - spread, curve["mean"] + spread
    axis.plot(curve.labeled, curve["mean"], **style)
    axis.fill_between(curve.labeled, low, high, color=style["color"], alpha=0.12, lw=0)
    if len(curve) == 1:  # a band without a width
        axis.vlines(curve.labeled, low, high, color=style["color"], alpha=0.5)


def _set_ticks(axis: Axes, counts: list[int]) -> None:
    """At the numbers of labels, where those are few enough to be read side by side."""
    steps = {after - before for before, after in itertools.pairwise(counts)}
    if len(counts) <= _MAX_TICKS and len(steps) <= 1:
        axis.set_xticks(counts)
    else:
        axis.xaxis.set_major_locator(MaxNLocator(_MAX_TICKS - 1, integer=True))
