"""Propagated labels with given class masses.

Source: Sinkhorn & Knopp, Pacific Journal of Mathematics 21, 1967: the columns of Z are rescaled so
that the rows, each divided by its sum, have given column means.

    Z (N, C)  non-negative scores      p (C,)  required share of each class
    u (C,)    logarithm of the scales  P (N, C)  z_ic exp(u_c), divided by the sums of the rows

The alternating steps of Sinkhorn and Knopp are slow where classes share few images.  The scales
also minimise the convex function mean_i log Σ_c z_ic exp(u_c) − Σ_c p_c u_c, with the gradient
mean_i P_ic − p_c, and Newton's method does so in logarithms, where no scale is too small.

A balance is impossible where the images that only some classes T reach are more than the share of T
(Hall's condition).  The scales of T then decrease without end, so that T are the classes with the
smallest scales.
"""

from dataclasses import dataclass

import numpy as np
import scipy.special

BALANCE_TOLERANCE = 1e-3  # relative error of a class mass
MAX_SINKHORN_STEPS = 100
MIN_SINKHORN_SCALE = 1e-6  # relative to the largest
MAX_NEWTON_STEPS = 200
NEGLIGIBLE_SHARE = 1e-6  # of a row: entries below it are rounding errors of the diffusion


@dataclass(frozen=True)
class ClassScales:
    """How the columns of Z are rescaled, found by `find_class_scales`.

    classes: (K,) the columns that a class mass is required of; the others become zero.
    factors: (K,) of these columns, or None; then log_factors (K,), where factors are too small."""

    classes: np.ndarray
    factors: np.ndarray | None
    log_factors: np.ndarray

    def apply(self, Z: np.ndarray) -> np.ndarray:
        """Rescaled rows, which are to be divided by their sums: (N, C) -> (N, C)."""
        result = np.zeros_like(Z)
        if self.factors is not None:
            result[:, self.classes] = Z[:, self.classes] * self.factors
            return result
        rows = Z[:, self.classes].astype(np.float64)
        reached = rows.any(axis=1)
        logs = _log_scores(rows[reached])
        shares = scipy.special.softmax(logs + self.log_factors, axis=1)
        result[np.ix_(reached, self.classes)] = shares
        return result


def balance_classes(Z: np.ndarray, prior: np.ndarray) -> np.ndarray | None:
    """Z with its columns rescaled so that the rows, each divided by its sum, have class masses
    proportional to the prior.  The rows of the result are to be divided by their sums.

    Arguments and None as in `find_class_scales`; -> (N, C) float32."""
    scales = find_class_scales(Z, prior)
    return None if scales is None else scales.apply(Z)


def find_class_scales(Z: np.ndarray, prior: np.ndarray) -> ClassScales | None:
    """The scales of the columns with which the class masses are proportional to the prior.

    Z: (N, C) float32, non-negative; prior: (C,), 0 for a class without a label.
    None where no rescaling achieves this, for example because one class alone reaches more images
    than its share: it would lose all images that it shares with other classes, however certain."""
    reached = Z.any(axis=1)
    rows = Z[reached].astype(np.float64)
    classes = np.flatnonzero((prior > 0) & rows.any(axis=0))
    if not len(classes):
        return ClassScales(classes, np.ones(0), np.zeros(0))
    rows, required = rows[:, classes], prior[classes] / prior[classes].sum()
    scale = _sinkhorn_scales(rows, required)
    if scale is not None:
        return ClassScales(classes, scale, np.log(scale))
    log_factors = _newton_log_scales(rows, required)
    return None if log_factors is None else ClassScales(classes, None, log_factors)


def _is_balanced(masses: np.ndarray, required: np.ndarray) -> bool:
    return bool(np.abs(masses / required - 1).max() < BALANCE_TOLERANCE)


def _sinkhorn_scales(rows: np.ndarray, required: np.ndarray) -> np.ndarray | None:
    """The scales (C,) of the columns; None where the alternating steps do not find them soon."""
    scale = np.ones(len(required))
    for _ in range(MAX_SINKHORN_STEPS):
        scaled = rows * scale
        sums = scaled.sum(axis=1, keepdims=True)
        shares = np.divide(scaled, sums, out=np.zeros_like(scaled), where=sums > 0).mean(axis=0)
        if _is_balanced(shares, required):
            return scale
        scale *= required / np.maximum(shares, np.finfo(float).tiny)
        scale /= scale.max()
        if scale.min() < MIN_SINKHORN_SCALE:
            return None
    return None


def _log_scores(rows: np.ndarray) -> np.ndarray:
    """Logarithms of scores (N, K); -inf where a class does not reach an image."""
    rows = np.where(rows < NEGLIGIBLE_SHARE * rows.max(axis=1, keepdims=True), 0, rows)
    with np.errstate(divide="ignore"):
        return np.log(rows)


def _newton_log_scales(rows: np.ndarray, required: np.ndarray) -> np.ndarray | None:
    """u (C,) with the required masses; None where they are impossible."""
    logs = _log_scores(rows)
    rows = np.where(np.isneginf(logs), 0, rows)
    if not (rows.any(axis=1).all() and rows.any(axis=0).all()):
        return None

    def objective(u: np.ndarray) -> float:
        return float(scipy.special.logsumexp(logs + u, axis=1).mean() - required @ u)

    u = np.log(required / (rows / rows.sum(axis=1, keepdims=True)).mean(axis=0))
    value = objective(u)
    for _ in range(MAX_NEWTON_STEPS):
        shares = scipy.special.softmax(logs + u, axis=1)
        masses = shares.mean(axis=0)
        if _is_balanced(masses, required):
            return u
        if _violates_hall(rows > 0, u, required):
            return None
        gradient = masses - required
        curvature = np.diag(masses) - shares.T @ shares / len(rows)
        # The curvature is zero along equal changes of all u, and of decoupled classes.
        damping = 1e-3 * np.abs(gradient).max() * np.diag(masses + required)
        step = -np.linalg.solve(curvature + damping + 1e-14 * np.eye(len(u)), gradient)
        length, slope = min(1.0, 20 / np.abs(step).max()), gradient @ step
        while (new := objective(u + length * step)) > value + 1e-4 * length * slope + 1e-14:
            length /= 2
        u, value = u + length * step, new
        u -= u.max()
    return None


def _violates_hall(reaches: np.ndarray, u: np.ndarray, required: np.ndarray) -> bool:
    """Whether the images that only the classes of the smallest scales reach exceed the share of
    these classes, for any number of classes.

    reaches: (N, C) bool; u: (C,), the scales; required: (C,)."""
    order = np.argsort(u)
    last = reaches.shape[1] - 1 - reaches[:, order[::-1]].argmax(axis=1)  # of largest scale, (N,)
    alone = np.bincount(last, minlength=len(u)).cumsum()[:-1] / len(reaches)
    share = required[order].cumsum()[:-1]
    too_many = alone > share * (1 + BALANCE_TOLERANCE)
    too_few_left = 1 - alone < (1 - share) * (1 - BALANCE_TOLERANCE)
    return bool((too_many | too_few_left).any())
