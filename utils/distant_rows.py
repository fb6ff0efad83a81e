"""The diffusion far from its right-hand sides, where it is below the rounding of the rest.

Conjugate gradient makes the residual small next to the whole right-hand side.  With every edge, Z
shrinks by a factor (0.87 at α = 0.99 on a chain), so that a hundred edges away its error is larger
than Z.  But a row with no right-hand side depends on Z through its neighbours alone: given the rows
B that are large enough to be exact, the others are the solution of a smaller system,

    (I − αW_UU) Z_U = Y_U + αW_UB Z_B,

whose right-hand side is as small as its solution.  It is solved in float64, and again for the rows
that are still too small.  The error of Z_B, relative to its rows, does not grow: (I − αW_UU)⁻¹ has
no negative entry.

Where W_UU has a narrow band, as for a chain, a Cholesky factorisation solves it directly: none of
its substitutions subtracts, so that all rows are exact down to the smallest float64.

    U   rows (M,) that are solved again      Z (N, C) = values (N, C) · 2^exponents (N,)
"""

from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.sparse
from scipy.sparse.csgraph import connected_components, reverse_cuthill_mckee

# The smallest row that a solve leaves exact, relative to the largest of its connected component.
SMALLEST_DIRECT = 1e-250
SMALLEST_ITERATIVE = 1e-8
ITERATIVE_TOLERANCE = 1e-13
MAX_DIRECT_PRODUCTS = 10**9  # of a factorisation: about a second

Solve = Callable[[scipy.sparse.csr_matrix, np.ndarray], np.ndarray]


def solve_distant_rows(
    W: scipy.sparse.csr_matrix,
    Y: np.ndarray,
    Z: np.ndarray,
    distant: np.ndarray,
    alpha: float,
    known: np.ndarray,
    solve: Solve,
) -> tuple[np.ndarray, np.ndarray]:
    """Solve the rows `distant` of (I − αW) Z = Y again.

    W: (N, N) non-negative; Y: (N, C) non-negative; Z: (N, C), exact in the other rows.
    distant: (N,) bool, each in a component in which Y is not zero.
    known: (N,), to what the rows of Z will be added.  A row that is small next to it needs not be
    exact.
    solve: from W_UU (M, M) and a right-hand side (M, C) to the solution, by conjugate gradient.
    -> values (N, C) float64 with a largest entry in [1/2, 1) in each row solved again, and
    exponents (N,) int64."""
    values, exponents = Z.astype(np.float64), np.zeros(len(Z), dtype=np.int64)
    distant = distant.copy()
    while distant.any():
        rows = np.flatnonzero(distant)
        near = W[rows].astype(np.float64)
        inner = near[:, rows]
        inside = scipy.sparse.csr_matrix(inner)
        _, component = connected_components(inside, directed=False)
        border = near[:, np.flatnonzero(~distant)].tocoo()
        columns = np.flatnonzero(~distant)[border.col]
        sides, shift = _scale_sides(
            border.row, columns, alpha * border.data, Y[rows], values, exponents, component
        )
        solution, smallest = _solve_inner(inside, sides, alpha, solve)
        sums = solution.sum(axis=1)
        largest = np.zeros(component.max() + 1)
        np.maximum.at(largest, component, sums)
        with np.errstate(over="ignore"):
            other = np.ldexp(known[rows], -shift)  # inf where it exceeds the rows by far
        exact = sums + other >= smallest * largest[component]
        _, power = np.frexp(solution[exact].max(axis=1))
        solved = rows[exact]
        values[solved] = np.ldexp(solution[exact], -power[:, None])
        exponents[solved] = np.where(values[solved].any(axis=1), shift[exact] + power, 0)
        distant[solved] = False
    return values, exponents


def _scale_sides(
    row: np.ndarray,
    column: np.ndarray,
    weight: np.ndarray,
    own: np.ndarray,
    values: np.ndarray,
    exponents: np.ndarray,
    component: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The right-hand side of the inner system, as (M, C) times 2^shift, shift (M,), which is the
    same within a connected component.

    row, column, weight: (E,), entries of αW_UB, numbered within U and within all rows.
    own: (M, C), Y_U."""
    shift = np.full(component.max() + 1, np.iinfo(np.int64).min)
    feeding = values[column].any(axis=1)
    row, column, weight = row[feeding], column[feeding], weight[feeding]
    np.maximum.at(shift, component[row], exponents[column])
    labeled = own.any(axis=1)
    np.maximum.at(shift, component[labeled], 0)
    shift = np.where(shift == np.iinfo(np.int64).min, 0, shift)[component]
    sides = np.ldexp(own.astype(np.float64), -shift[:, None])
    fed = np.ldexp(np.maximum(values[column], 0), (exponents[column] - shift[row])[:, None])
    np.add.at(sides, row, weight[:, None] * fed)
    return sides, shift


def _solve_inner(
    W: scipy.sparse.csr_matrix, sides: np.ndarray, alpha: float, solve: Solve
) -> tuple[np.ndarray, float]:
    """Z (M, C) of (I − αW) Z = sides, and down to which size its rows are exact."""
    order = reverse_cuthill_mckee(W, symmetric_mode=True)
    place = np.argsort(order)
    entries = scipy.sparse.triu(W, 1).tocoo()
    first, second = place[entries.row], place[entries.col]
    above = np.abs(first - second)
    width = int(above.max(initial=0))
    if len(sides) * max(width, 1) ** 2 > MAX_DIRECT_PRODUCTS:
        return np.maximum(solve(W, sides), 0), SMALLEST_ITERATIVE
    band = np.zeros((width + 1, len(sides)))
    band[0] = 1 - alpha * W.diagonal()[order]
    band[above, np.minimum(first, second)] = -alpha * entries.data
    solution = np.empty_like(sides)
    solution[order] = scipy.linalg.solveh_banded(band, sides[order], lower=True)
    return np.maximum(solution, 0), SMALLEST_DIRECT
