"""Summaries of a learning curve: the area under it, and the labels it needs for an accuracy."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import trapezoid


def area_under_curve(labeled: ArrayLike, accuracy: ArrayLike) -> float:
    """Area under the budget curve by the trapezoidal rule, divided by the range of labels.

    This is the mean height of the curve, in the unit of `accuracy`.  labeled, accuracy: (cycles,),
    labeled increasing; NaN for fewer than two points."""
    labeled = np.asarray(labeled, float)
    if len(labeled) < 2:
        return float("nan")
    return float(trapezoid(accuracy, labeled) / (labeled[-1] - labeled[0]))


def labels_to_reach(labeled: ArrayLike, accuracy: ArrayLike, target: float) -> float:
    """Number of labels at which a curve first reaches the accuracy `target`.

    Interpolates linearly between the points; NaN if the curve never reaches it.
    labeled, accuracy: (cycles,), labeled increasing."""
    labeled, accuracy = np.asarray(labeled, float), np.asarray(accuracy, float)
    reached = np.flatnonzero(accuracy >= target)
    if not len(reached):
        return float("nan")
    end = reached[0]
    if end == 0:
        return float(labeled[0])
    fraction = (target - accuracy[end - 1]) / (accuracy[end] - accuracy[end - 1])
    return float(labeled[end - 1] + fraction * (labeled[end] - labeled[end - 1]))


def labels_saved(
    labeled: ArrayLike, accuracy: ArrayLike, baseline: ArrayLike
) -> tuple[float, float]:
    """Labels that a curve saves on the way to the final accuracy of the baseline.

    Returns how many fewer labels the curve needs than the baseline (NaN if it never gets there),
    and how many the baseline needs.  labeled, accuracy, baseline: (cycles,), both curves at the
    same numbers of labels.  A curve that starts above the target counts as reaching it with the
    first labels, so the saving may be underestimated."""
    target = np.asarray(baseline, float)[-1]
    needed = labels_to_reach(labeled, baseline, target)
    return needed - labels_to_reach(labeled, accuracy, target), needed
