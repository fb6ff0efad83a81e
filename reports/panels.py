"""The learning curves as SVG shapes for the page: one panel per data set, budget and training."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from reports.summary import group_by_dataset_and_budget

PANEL_WIDTH, PANEL_HEIGHT = 420, 300  # in SVG units, as are all sizes below
_LEFT_MARGIN, _RIGHT_MARGIN, _TOP_MARGIN, _BOTTOM_MARGIN = 44, 12, 30, 40
_MAX_TICKS = 6
_MARK_HALF_WIDTH = 5
MARKER_SHAPES = (  # SVG paths centred at (0, 0)
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.5-3.5h7v7h-7z",
    "M0-5 4.5 3.5h-9z",
    "M0-5 5 0 0 5-5 0z",
    "M0 5 4.5-3.5h-9z",
    "M-1.5-5h3v3.5H5v3H1.5V5h-3V1.5H-5v-3h3.5z",
    "M-5-2.5-2.5-5 0-2.5 2.5-5 5-2.5 2.5 0 5 2.5 2.5 5 0 2.5-2.5 5-5 2.5-2.5 0z",
    "M-5 0 3.5-4.5v9z",
    "M5 0-3.5-4.5v9z",
)
DASH_PATTERNS = ("", "7 3", "7 3 1.5 3", "1.5 3")


def make_panels(summary: pd.DataFrame, methods: list[str]) -> list[dict[str, Any]]:
    """One dictionary per panel for the template; panels of one data set and budget share axes.

    title; xs, ys: ticks as (position, text); curves: method (index into `methods`), line (points
    of a polyline), band and estimate (points of an outline, "" for none), points as (x, y, text).
    summary: from summary.summarize_runs."""
    panels = []
    for name, part in group_by_dataset_and_budget(summary):
        low, high = _accuracy_range(part)
        x_scale = _LinearScale(
            part.labeled.min(),
            part.labeled.max(),
            _LEFT_MARGIN + 8,
            PANEL_WIDTH - _RIGHT_MARGIN - 6,
        )
        y_scale = _LinearScale(low, high, PANEL_HEIGHT - _BOTTOM_MARGIN, _TOP_MARGIN)
        counts = sorted(part.labeled.unique())
        for training, rows in part.groupby("training", sort=False):
            panels.append(
                {
                    "title": f"{name}: {training}",
                    "xs": [(x_scale(n), f"{n:,.0f}") for n in _label_count_ticks(counts)],
                    "ys": [(y_scale(y), f"{y:g}") for y in _round_ticks(low, high)],
                    "curves": [
                        _make_curve(curve, methods.index(curve.method.iloc[0]), x_scale, y_scale)
                        for _, curve in rows.groupby("group")
                    ],
                }
            )
    return panels


class _LinearScale:
    """Maps the values low..high to the positions begin..end; a single value to the middle."""

    def __init__(self, low: float, high: float, begin: float, end: float):
        self.low, self.span, self.begin, self.end = low, high - low, begin, end

    def __call__(self, value: float) -> float:
        fraction = (value - self.low) / self.span if self.span else 0.5
        return round(float(self.begin + fraction * (self.end - self.begin)), 1)


def _accuracy_range(part: pd.DataFrame) -> tuple[float, float]:
    spread = part["std"].fillna(0)
    low = np.nanmin([(part["mean"] - spread).min(), part.estimated_low.min()])
    high = np.nanmax([(part["mean"] + spread).max(), part.estimated_high.max()])
    margin = max(0.04 * (high - low), 0.5)
    return max(low - margin, 0), min(high + margin, 100)


def _round_ticks(low: float, high: float) -> list[float]:
    ticks = MaxNLocator(_MAX_TICKS).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]


def _label_count_ticks(counts: Sequence[int]) -> Sequence[float]:
    """The numbers of labels if they are few and evenly spaced, else round numbers."""
    steps = {after - before for before, after in itertools.pairwise(counts)}
    if len(counts) <= _MAX_TICKS and len(steps) <= 1:
        return counts
    return _round_ticks(counts[0], counts[-1])


def _make_curve(
    curve: pd.DataFrame, method: int, x_scale: _LinearScale, y_scale: _LinearScale
) -> dict[str, Any]:
    spread = curve["std"].fillna(0)
    xs = [x_scale(n) for n in curve.labeled]
    line = _join_points(xs, map(y_scale, curve["mean"]))
    top = [y_scale(value) for value in np.minimum(curve["mean"] + spread, 100)]
    bottom = [y_scale(value) for value in np.maximum(curve["mean"] - spread, 0)]
    band = _band_outline(xs, top, bottom) if spread.any() else ""
    points = [
        (x, y_scale(row.mean_), f"{row.method}, {row.labeled} labels: {_point_text(row)}")
        for x, row in zip(xs, curve.rename(columns={"mean": "mean_"}).itertuples(), strict=True)
    ]
    known = curve.dropna(subset=["estimated_low", "estimated_high"])
    edges = [[y_scale(y) for y in known[f"estimated_{end}"]] for end in ("high", "low")]
    outline = _band_outline([x_scale(n) for n in known.labeled], *edges) if len(known) else ""
    return {"method": method, "line": line, "band": band, "estimate": outline, "points": points}


def _band_outline(xs: list[float], top: list[float], bottom: list[float]) -> str:
    """The outline between two lines; at a single point it is as wide as a mark, to be visible."""
    if len(xs) == 1:
        xs, top, bottom = [xs[0] - _MARK_HALF_WIDTH, xs[0] + _MARK_HALF_WIDTH], top * 2, bottom * 2
    return _join_points([*xs, *reversed(xs)], [*top, *reversed(bottom)])


def _join_points(xs: Iterable[float], ys: Iterable[float]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in zip(xs, ys, strict=True))


def _point_text(row: Any) -> str:
    words = f"{row.mean_:.1f} %"
    words += f" ± {row.std:.1f} (n = {row.runs})" if row.runs > 1 else ""
    if np.isnan(row.estimated_accuracy):
        return words
    interval = f"{row.estimated_low:.1f} to {row.estimated_high:.1f} %"
    return f"{words}, estimated {row.estimated_accuracy:.1f} % ({interval})"
