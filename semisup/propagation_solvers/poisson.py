"""Poisson learning: labels are sources and sinks of a Poisson equation on the graph.

Source: Calder, Cook, Thorpe & Slepčev, "Poisson learning: graph based semi-supervised learning at
very low label rates", ICML 2020, section 2: with L = D − A,

    L u = b,  b_j = y_j − ȳ on the labeled images, else 0;  Σ_i d_i u_i = 0.

In the diffusion few labels are spikes above a nearly constant level; here the mean label is
subtracted, so that the level is zero.  With W = D^-1/2 A D^-1/2 and u = D^-1/2 v, v solves
(I − W) v = D^-1/2 b.  The block conjugate gradient of utils.diffusion finds it, because the
right-hand side is orthogonal to the kernel of I − W.  For that, ȳ is the mean label of the
connected component.  All labels of a class weigh the same together, as after the paper's division
of u by the shares of the labels.

With a prior, a constant is added to each column of u, class after class: the constant at which the
class gets its share of the images.  (The paper scales the columns, by gradient steps.)

The paper decides by argmax_c u_ic.  A propagation needs a distribution per image: softmax(u_i / T),
where T is the mean difference of the two largest entries of an unlabeled image.

    A (N, N)  weights of the graph      d (N,), D  its row sums      y_j (C,)  one-hot label
"""

import numpy as np
import scipy.special
import torch

from utils.arrays import as_numpy
from utils.diffusion import (
    DiffusionSolver,
    Graph,
    NotConverged,
    conjugate_gradient,
    prepare_diffusion,
)
from utils.errors import UserError
from utils.graph import degrees_of

TOLERANCE = 1e-5
MAX_ITERATIONS = 10_000
MAX_SWEEPS = 50  # over the classes, to find their constants
SIZE_TOLERANCE = 1e-3  # of a class, in shares of all images


def solve(
    W: Graph, labels: np.ndarray, num_classes: int, *, alpha: float, prior: np.ndarray | None
) -> np.ndarray:
    """Z of the package's docstring; α is not used."""
    potentials, reached = solve_poisson(W, labels, num_classes)
    if prior is not None:
        classes = np.flatnonzero(prior > 0)
        constants = class_constants(potentials[reached][:, classes], prior[classes])
        potentials[:, classes] += constants
    return class_distributions(potentials, labels, reached)


def solve_poisson(W: Graph, labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """u (N, C) float64, -inf for a class without a label in the component; and whether a label
    reaches an image, (N,) bool."""
    system = prepare_diffusion(W, 1 - np.finfo(float).eps)
    component = as_numpy(system.component_of_image)
    sources, present = poisson_sources(labels, num_classes, component)
    roots = np.sqrt(as_numpy(degrees_of(W), np.float64))
    inverse = np.zeros_like(roots)  # zero for an image without neighbours
    np.divide(1, roots, out=inverse, where=roots > 0)
    u = solve_singular(system, sources * inverse[:, None]) * inverse[:, None]
    weights = np.bincount(component, weights=roots**2)
    for c in range(num_classes):
        sums = np.bincount(component, weights=roots**2 * u[:, c])
        u[:, c] -= (sums / np.where(weights > 0, weights, 1))[component]
    has_label = np.asarray(present[component])  # (N, C)
    return np.where(has_label, u, -np.inf), np.asarray(has_label.any(axis=1))


def poisson_sources(
    labels: np.ndarray, num_classes: int, component: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """b (N, C), whose columns have the sum zero in each connected component, and whether a
    component has a label of a class, (components, C) bool.

    Each class of a component has the weight one, shared by its labels."""
    labeled = np.flatnonzero(labels >= 0)
    count = np.zeros((component.max() + 1, num_classes))
    np.add.at(count, (component[labeled], labels[labeled]), 1)
    present = count > 0
    weight = 1 / count[component[labeled], labels[labeled]]
    b = np.zeros((len(labels), num_classes))
    share = present / np.maximum(present.sum(axis=1, keepdims=True), 1)  # ȳ
    b[labeled] = -weight[:, None] * share[component[labeled]]
    b[labeled, labels[labeled]] += weight
    return b, present


def solve_singular(system: DiffusionSolver, sides: np.ndarray) -> np.ndarray:
    """A solution of (I − W) v = sides, (N, C) float64 each; sides are orthogonal to the kernel.

    Raises UserError if conjugate gradient does not converge."""
    matrix = system.in_float64
    columns = torch.from_numpy(sides).to(matrix.device)
    if system.row_order is not None:
        columns = columns[system.row_order]
    try:
        solution = conjugate_gradient(matrix, columns, 1.0, TOLERANCE, MAX_ITERATIONS)
    except NotConverged:
        raise UserError(
            "Poisson learning did not converge on this graph: use a larger --lp-k, or --lp-solver "
            "diffusion"
        ) from None
    result = np.empty_like(sides)
    order = slice(None) if system.row_order is None else as_numpy(system.row_order)
    result[order] = as_numpy(solution, np.float64)
    return result


def class_distributions(u: np.ndarray, labels: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """softmax(u_i / T) of the module's docstring: (N, C) float32; zero where no label reaches."""
    Z = np.zeros(u.shape, dtype=np.float32)
    if not reached.any():
        return Z
    free = u[reached & (labels < 0)]
    temperature = 1.0
    if u.shape[1] > 1 and len(free):
        second, largest = np.partition(free, -2, axis=1)[:, -2:].T
        margins = (largest - second)[np.isfinite(second)]
        temperature = max(margins.mean(), np.finfo(np.float32).tiny) if len(margins) else 1.0
    Z[reached] = scipy.special.softmax(u[reached] / temperature, axis=1)
    return Z


def class_constants(u: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """What to add to each column of u (N, C) so that argmax_c gives class c to the share prior_c
    of the rows: (C,)."""
    sizes = np.diff(np.round(prior.cumsum() / prior.sum() * len(u)).astype(np.int64), prepend=0)
    constants = np.zeros(len(prior))
    if len(prior) < 2 or not len(u):
        return constants
    u = np.asfortranarray(u)
    for _ in range(MAX_SWEEPS):
        counts = np.bincount((u + constants).argmax(axis=1), minlength=len(prior))
        wrong = np.abs(counts - sizes)
        if wrong.max() <= max(SIZE_TOLERANCE * len(u), 0.5):
            break
        for c in np.argsort(-wrong, kind="stable"):
            others = u + constants
            others[:, c] = -np.inf
            needed = others.max(axis=1) - u[:, c]  # the constant from which a row is of class c
            if not np.isfinite(needed).any():
                continue
            place = min(max(int(sizes[c]), 1), len(u) - 1)
            below, above = np.partition(needed, [place - 1, place])[place - 1 : place + 1]
            if np.isfinite(below):
                constants[c] = (below + above) / 2 if np.isfinite(above) else below + 1e-9
    return constants
