"""What a curve comes to: its area, and the labels that it takes to an accuracy."""

import numpy as np
from scipy.integrate import trapezoid


def area_under_curve(labeled, accuracy) -> float:
    """Area under the budget curve, as its mean height: the trapezoids' sum over the range of
    labels, in the unit of `accuracy`.  labeled, accuracy: (cycles,), labeled growing; NaN below
    two."""
    labeled = np.asarray(labeled, float)
    if len(labeled) < 2:
        return float("nan")
    return float(trapezoid(accuracy, labeled) / (labeled[-1] - labeled[0]))


def labels_to_reach(labeled, accuracy, target: float) -> float:
    """How many labels a curve needs for the accuracy `target`, straight lines drawn between its
    points; NaN where it never gets there.  labeled, accuracy: (cycles,), labeled growing."""
    labeled, accuracy = np.asarray(labeled, float), np.asarray(accuracy, float)
    reached = np.flatnonzero(accuracy >= target)
    if not len(reached):
        return float("nan")
    end = reached[0]
    if end == 0:
        return float(labeled[0])
    part = (target - accuracy[end - 1]) / (accuracy[end] - accuracy[end - 1])
    return float(labeled[end - 1] + part * (labeled[end] - labeled[end - 1]))


def labels_saved(labeled, accuracy, baseline) -> tuple[float, float]:
    """Labels that a curve saves on the way to the accuracy with which the baseline ends -> how many
    fewer it needs, and how many the baseline needs; NaN where it does not get there.

    labeled, accuracy, baseline: (cycles,), both curves at the same numbers of labels.  What is
    reached with the first labels counts as reached there: more may be saved than can be seen."""
    target = np.asarray(baseline, float)[-1]
    needed = labels_to_reach(labeled, baseline, target)
    return needed - labels_to_reach(labeled, accuracy, target), needed
