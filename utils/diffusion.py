"""Diffusion on a graph: the linear system of label propagation and jLP.

Source: Zhou et al., NIPS 2003; Iscen et al., CVPR 2019, section 4: (I − αW) Z = Y.
I − αW is symmetric with eigenvalues in [1−α, 1+α], so conjugate gradient solves it.  All columns
search in the space that they span together (block conjugate gradient; O'Leary, Linear Algebra
Appl. 29, 1980): one sparse product per iteration, and half as many iterations as for one column.
The residuals are stored as an orthonormal basis and coordinates (Dubrulle, ETNA 12, 2001), so that
columns that become linearly dependent leave the basis instead of causing a division by zero.

Far from all right-hand sides Z is below the rounding of its largest entries; `solve_rows` makes
these rows exact as well (utils.distant_rows).

    W (N, N)   normalised affinity      Y (N, C)  right-hand sides
    Z (N, C)   solution                 Q T       residuals: Q (N, r) orthonormal, T (r, C)
"""

import warnings
from functools import cached_property
from typing import TypeAlias

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import connected_components, reverse_cuthill_mckee

from utils.arrays import as_numpy
from utils.distant_rows import ITERATIVE_TOLERANCE, solve_distant_rows
from utils.errors import UserError
from utils.sparse_products import subtract_product
from utils.torch_faiss import torch

MAX_BLOCK_COLUMNS = 32  # solved together; wider blocks do not fit into the cache
MAX_EXACT_ITERATIONS = 10_000
MIN_IMAGES_TO_REORDER = 20_000  # from here on reordering costs less time than it saves
# Relative to a column's largest entry; columns solved together leave only 2e-6 in each other.
RELATIVE_TOLERANCE = 1e-4
# Length, next to columns of length one, that rounds to zero.
RANK_TOLERANCE = {torch.float32: 3e-7, torch.float64: 1e-14}

Graph: TypeAlias = scipy.sparse.csr_matrix | torch.Tensor  # (N, N), torch in CSR layout


class NotConverged(UserError):
    """Conjugate gradient did not converge: α is too close to one for float32."""

    def __init__(self, alpha: float, iterations: int, T: torch.Tensor, tol: float):
        """T: (r, C) coordinates of the residuals, for right-hand sides of length one."""
        residuals = T.square().sum(dim=0).sqrt().nan_to_num(torch.inf)
        super().__init__(
            f"the diffusion with alpha {alpha} did not converge: {int((residuals > tol).sum())} "
            f"columns above {tol} after {iterations} iterations, the largest residual is "
            f"{float(residuals.max()):.2g}: use a smaller --lp-alpha"
        )


def diffuse(
    W: Graph,
    Y: ArrayLike | torch.Tensor,
    alpha: float = 0.99,
    *,
    tol: float = 1e-6,
    max_iter: int = 1000,
) -> np.ndarray | torch.Tensor:
    """Solve (I − αW) Z = Y.

    W: (N, N) scipy sparse or torch CSR, symmetric, spectral radius <= 1.
    Y: (N, C) or (N,).
    tol: largest norm of a residual, relative to its right-hand side, up to rounding in float32.
    -> Z, shaped as Y, float32: a torch tensor on W's device if W is one, else a numpy array.  A
    zero column gives zeros.
    Raises ValueError for an alpha outside [0, 1) or shapes that do not fit, NotConverged after
    `max_iter` iterations."""
    return prepare_diffusion(W, alpha).solve(Y, tol=tol, max_iter=max_iter)


def prepare_diffusion(W: Graph, alpha: float) -> "DiffusionSolver":
    """The solver for W.  It is stored with a graph that cannot be written to, which
    utils.graph.affinity returns for features that do not change during a run."""
    if isinstance(W, torch.Tensor) or W.data.flags.writeable:
        return DiffusionSolver(W, alpha)
    solvers = vars(W).setdefault("systems", {})  # live as long as W
    if alpha not in solvers:
        solvers[alpha] = DiffusionSolver(W, alpha)
    return solvers[alpha]


class DiffusionSolver:
    """The system I − αW, prepared once for many solves.  Arguments as in `diffuse`."""

    def __init__(self, W: Graph, alpha: float = 0.99):
        if not 0 <= alpha < 1:
            raise ValueError(f"alpha must be in [0, 1), not {alpha}")
        self.alpha, self.shape, self.row_order = alpha, tuple(W.shape), None
        self.on_device = isinstance(W, torch.Tensor)
        if self.on_device:
            self.W = W
            return
        W = scipy.sparse.csr_matrix(W)
        if len(W.indptr) > MIN_IMAGES_TO_REORDER:
            # Neighbours get nearby rows, so that a product finds them in the cache.
            order = reverse_cuthill_mckee(W, symmetric_mode=True)
            place = np.empty_like(order)
            place[order] = np.arange(len(order), dtype=order.dtype)
            W = W[order]
            W.indices = place[W.indices]
            self.row_order = torch.from_numpy(order.astype(np.int64))
        self.W = as_torch_csr(W, copy=self.row_order is None)

    def solve(
        self, Y: ArrayLike | torch.Tensor, *, tol: float = 1e-6, max_iter: int = 1000
    ) -> np.ndarray | torch.Tensor:
        """Z, shaped as Y: (N, C) or (N,); a torch tensor if W is one, else a numpy array."""
        if self.on_device:
            y = torch.as_tensor(Y, dtype=torch.float32, device=self.W.device)
        else:
            y = torch.from_numpy(as_numpy(Y, np.float32))
        if y.ndim not in (1, 2) or self.shape != (len(y), len(y)):
            raise ValueError(f"W {self.shape} and Y {tuple(y.shape)} do not fit")
        columns = y.reshape(len(y), -1)
        if self.row_order is not None:
            columns = columns[self.row_order]
        blocks = [
            conjugate_gradient(self.W, block.contiguous(), self.alpha, tol, max_iter)
            for block in columns.tensor_split(-(-columns.shape[1] // MAX_BLOCK_COLUMNS) or 1, dim=1)
        ]
        solution = self.zero_unreached_components(torch.cat(blocks, dim=1), columns)
        if self.row_order is not None:
            in_original_order = torch.empty_like(solution)
            in_original_order[self.row_order] = solution
            solution = in_original_order
        solution = solution.reshape(y.shape)
        return solution if self.on_device else solution.numpy()

    def solve_rows(
        self, Y: ArrayLike | torch.Tensor
    ) -> tuple[np.ndarray | torch.Tensor, np.ndarray]:
        """Z as from `solve`, but small rows are exact as well, relative to their sum.

        Y: (N, C), non-negative -> values (N, C) float32 and exponents (N,) int64, where Z is
        values · 2^exponents.  Exponents are zero where no row had to be solved again."""
        Z = self.solve(Y)
        z = torch.as_tensor(Z)
        exponents = np.zeros(len(z), dtype=np.int64)
        if (z.clamp(min=0).sum(dim=1) >= RELATIVE_TOLERANCE * z.max()).all():
            return Z, exponents
        values, exponents = self.refine(as_numpy(Z), as_numpy(Y), np.zeros(len(z)))
        values = values.astype(np.float32)
        return torch.from_numpy(values).to(z.device) if self.on_device else values, exponents

    def refine(
        self, Z: np.ndarray, Y: np.ndarray, known: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make rows of Z that are below the rounding of others exact, relative to the sum of the
        row and of `known`, to which it will be added.

        Z: (N, C), from `solve(Y)`; Y: (N, C), non-negative; known: (N,), non-negative.
        -> values (N, C) and exponents (N,) int64, where the exact Z is values · 2^exponents."""
        sums = np.maximum(Z, 0).sum(axis=1, dtype=np.float64) + known
        distant = sums < RELATIVE_TOLERANCE * Z.max(initial=0)
        if distant.any():
            touched = torch.from_numpy(Y.any(axis=1)).to(self.W.device)
            distant &= as_numpy(self.in_touched_component(touched))
        if not distant.any():
            return Z, np.zeros(len(Z), dtype=np.int64)
        solve = self._solve_in_float64
        return solve_distant_rows(self.scipy_graph, Y, Z, distant, self.alpha, known, solve)

    def in_touched_component(self, touched: torch.Tensor) -> torch.Tensor:
        """Whether an image's connected component contains a touched image: (N,) -> (N,) bool."""
        return torch.isin(self.component_of_image, self.component_of_image[touched])

    @cached_property
    def component_of_image(self) -> torch.Tensor:
        """The connected component of every image: (N,) int64."""
        if self.row_order is None:
            return self.component_ids
        return torch.empty_like(self.component_ids).scatter_(0, self.row_order, self.component_ids)

    @cached_property
    def in_float64(self) -> torch.Tensor:
        """self.W in float64."""
        W = self.W
        return make_torch_csr(W.crow_indices(), W.col_indices(), W.values().double(), self.shape)

    def _solve_in_float64(self, W: scipy.sparse.csr_matrix, Y: np.ndarray) -> np.ndarray:
        """Solve a part of the system in float64, on the device of W: (M, M), (M, C) -> (M, C)."""
        graph = as_torch_csr(W, np.float64).to(self.W.device)
        sides = torch.from_numpy(Y).to(self.W.device)
        blocks = sides.split(MAX_BLOCK_COLUMNS, dim=1)
        tol = ITERATIVE_TOLERANCE
        solved = [
            conjugate_gradient(graph, block.contiguous(), self.alpha, tol, MAX_EXACT_ITERATIONS)
            for block in blocks
        ]
        return as_numpy(torch.cat(solved, dim=1), np.float64)

    @cached_property
    def scipy_graph(self) -> scipy.sparse.csr_matrix:
        """W with the rows in the order of the images."""
        graph = as_scipy_csr(self.W)
        if self.row_order is None:
            return graph
        place = np.argsort(as_numpy(self.row_order))
        return graph[place][:, place]

    def zero_unreached_components(
        self, solution: torch.Tensor, sides: torch.Tensor
    ) -> torch.Tensor:
        """Set a column to zero in the connected components where its right-hand side is zero.
        Columns solved together leave rounding errors of each other there.

        (N, C), (N, C) -> (N, C)"""
        largest = torch.linalg.vector_norm(solution, ord=torch.inf, dim=0)
        if (solution.abs().amin(dim=0) >= RELATIVE_TOLERANCE * largest).all():
            return solution  # every column reaches every image
        ids = self.component_ids
        touched = torch.zeros(
            int(ids.max()) + 1, solution.shape[1], dtype=torch.bool, device=ids.device
        )
        row, column = sides.nonzero(as_tuple=True)
        touched[ids[row], column] = True
        return solution * touched[ids]

    @cached_property
    def component_ids(self) -> torch.Tensor:
        """The connected component of every row of self.W: (N,) int64."""
        graph = as_scipy_csr(self.W)
        if self.row_order is not None:
            return torch.from_numpy(_consecutive_components(graph))
        # W is symmetric, so its strong components are its connected components; scipy finds them
        # without transposing W.
        _, component = connected_components(graph, directed=True, connection="strong")
        return torch.from_numpy(component.astype(np.int64)).to(self.W.device)


def as_scipy_csr(W: torch.Tensor) -> scipy.sparse.csr_matrix:
    """From torch CSR on any device to scipy CSR."""
    parts = (W.values(), W.col_indices(), W.crow_indices())
    return scipy.sparse.csr_matrix(tuple(as_numpy(part) for part in parts), shape=tuple(W.shape))


def _consecutive_components(graph: scipy.sparse.csr_matrix) -> np.ndarray:
    """The connected component of every row of a symmetric graph in which the rows of a component
    follow each other, as in the order of Cuthill and McKee: (N,) int64."""
    own = np.arange(graph.shape[0])
    first = own.copy()  # the first neighbour of a row, or the row
    filled = np.diff(graph.indptr) > 0
    neighbors = np.minimum.reduceat(graph.indices, graph.indptr[:-1][filled])
    first[filled] = np.minimum(own[filled], neighbors)
    starts = np.minimum.accumulate(first[::-1])[::-1] >= own  # no later row has an edge before it
    return np.cumsum(starts) - 1


def as_torch_csr(
    W: scipy.sparse.csr_matrix, dtype: type = np.float32, *, copy: bool = True
) -> torch.Tensor:
    """From scipy CSR to torch CSR with int32 indices, whose products are several times as fast.

    copy: whether to copy arrays that have the right type already."""
    return make_torch_csr(
        torch.from_numpy(W.indptr.astype(np.int32, copy=copy)),
        torch.from_numpy(W.indices.astype(np.int32, copy=copy)),
        torch.from_numpy(W.data.astype(dtype, copy=copy)),
        W.shape,
    )


def make_torch_csr(
    starts: torch.Tensor, indices: torch.Tensor, values: torch.Tensor, shape: tuple[int, ...]
) -> torch.Tensor:
    """A torch CSR tensor from its parts, which are not checked."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(starts, indices, values, size=shape, check_invariants=False)


def conjugate_gradient(
    W: torch.Tensor, B: torch.Tensor, alpha: float, tol: float, max_iter: int
) -> torch.Tensor:
    """Solve for one block of columns: torch CSR W (N, N), B (N, c) -> (N, c).

    Matrices with N rows have the type and device of B.  Small ones of (c, c) are float64 and on the
    CPU, where their decompositions take microseconds instead of milliseconds."""
    norms = torch.linalg.vector_norm(B, dim=0, dtype=torch.float64)
    Q, T = orthonormalize(B / torch.where(norms > 0, norms, 1).to(B.dtype))
    P, Z = Q, torch.zeros_like(B)
    for iteration in range(max_iter + 1):
        if (T.square().sum(dim=0) <= tol**2).all():  # NaN is not below
            return Z * norms.to(B.dtype)
        product = subtract_product(W, P, alpha)  # (I − αW) P
        step, singular = torch.linalg.inv_ex((P.T @ product).double().cpu())  # (r, r)
        if singular or iteration == max_iter or not step.to(B.dtype).isfinite().all():
            break
        Z.addmm_(P, (step @ T).to(B))
        Q, change = orthonormalize(torch.addmm(Q, product, step.to(B), alpha=-1))
        T = change @ T
        P = torch.addmm(Q, P, change.T.to(B))
    raise NotConverged(alpha, iteration, T, tol)


def orthonormalize(S: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """S = Q T with orthonormal Q: (N, c) -> (N, r) and, on the CPU, (r, c) float64.

    r is the numerical rank of S: directions shorter than RANK_TOLERANCE are dropped."""
    exact = S.double()
    squares, directions = torch.linalg.eigh((exact.T @ exact).cpu())
    kept = ~(squares <= RANK_TOLERANCE[S.dtype] ** 2)  # keeps NaN, so that the caller notices it
    lengths, directions = squares[kept].sqrt(), directions[:, kept]
    Q, T = S @ (directions / lengths).to(S), lengths[:, None] * directions.T
    if len(T) and lengths[0] < 1e-3 * lengths[-1]:  # short directions are inexact: repeat
        Q, correction = orthonormalize(Q)
        T = correction @ T
    return Q, T
