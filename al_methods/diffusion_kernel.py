"""The kernel K = (I − αW)⁻¹ of the diffusion from a few of its columns.

    K = I + αW + R        R = α² W K W

R is what walks of two and more steps add.  It is positive semidefinite and smooth on the graph, so
that the columns of a few landmarks L determine it (Nyström method: Williams & Seeger, NIPS 2001):

    R ≈ R_:L R_LL⁺ R_L: = F Fᵀ

The first landmarks are evenly spaced; the others are drawn where the approximation lacks most
(adaptive sampling: Deshpande, Rademacher, Vempala & Wang, Theory of Computing 2, 2006).  What it
lacks is known from the row sums of K, which one solve gives.

    W (N, N)  normalised affinity      F (N, r)  factor of R
"""

from typing import Any, Protocol

import torch

from utils.diffusion import MAX_BLOCK_COLUMNS, DiffusionSolver
from utils.sparse_products import sparse_product

LANDMARKS_PER_ROUND = 4 * MAX_BLOCK_COLUMNS
MIN_ROUNDS, MAX_ROUNDS = 2, 4
MAX_ROW_ERROR = 0.03  # of a row sum of K, relative
MIN_ROW_ENTRIES = 30  # of W, on average; with fewer, walks of two steps are not smooth
COLUMN_TOLERANCE = 1e-2  # residual of a landmark's column


class KernelProduct(Protocol):
    """What multiplies with K: `DiffusionSolver`, or an approximation."""

    shape: tuple[int, ...]

    def solve(self, Y: torch.Tensor) -> Any: ...


class LowRankKernel:
    """The approximation of K in the module's docstring."""

    def __init__(self, W: torch.Tensor, alpha: float, factor: torch.Tensor):
        self.W, self.alpha, self.factor, self.shape = W, alpha, factor, tuple(W.shape)

    def solve(self, Y: torch.Tensor) -> torch.Tensor:
        """K Y: (N, C) -> (N, C)."""
        smooth = self.factor @ (self.factor.T @ Y)
        return smooth.add_(Y).add_(sparse_product(self.W, Y), alpha=self.alpha)

    def diagonal(self) -> torch.Tensor:
        """K_jj: (N,).  W has a zero diagonal, unless it is a coarse graph."""
        index, neighbors = self._entries()
        own = index == neighbors
        diagonal = 1 + self.factor.square().sum(dim=1)
        return diagonal.index_add_(0, index[own], self.alpha * self.W.values()[own])

    def normalize(self, scale: torch.Tensor) -> torch.Tensor:
        """K_ij scale_i scale_j, limited to [0, 1]: (N, N).  scale: (N,)."""
        factor = self.factor * scale[:, None]
        kernel = factor @ factor.T
        index, neighbors = self._entries()
        values = self.alpha * self.W.values() * scale[index] * scale[neighbors]
        kernel.view(-1)[index * len(kernel) + neighbors] += values
        kernel.diagonal().add_(scale.square())
        return kernel.clamp_(0, 1)

    def _entries(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Row and column of each entry of W, int64."""
        starts = self.W.crow_indices().long()
        rows = torch.arange(len(starts) - 1, device=starts.device)
        return rows.repeat_interleave(starts.diff()), self.W.col_indices().long()


def approximate_kernel(W: torch.Tensor, system: DiffusionSolver) -> LowRankKernel | None:
    """K of torch CSR W (N, N) from MIN_ROUNDS to MAX_ROUNDS rounds of landmarks; None if a row sum
    is still wrong by more than MAX_ROW_ERROR, or W has less than MIN_ROW_ENTRIES per row."""
    n, device = len(W), W.device
    if len(W.values()) < MIN_ROW_ENTRIES * n:
        return None
    ones = torch.ones(n, 1, device=device)
    sums = torch.as_tensor(system.solve(ones))
    lacking = torch.ones(n, device=device)
    landmarks = torch.empty(0, dtype=torch.int64, device=device)
    columns = torch.empty(n, 0, device=device)
    for done in range(1, MAX_ROUNDS + 1):
        new = sample_evenly(lacking, LANDMARKS_PER_ROUND)
        landmarks, columns = (
            torch.cat([landmarks, new]),
            torch.cat([columns, _smooth_columns(W, system, new)], dim=1),
        )
        kernel = LowRankKernel(W, system.alpha, factorize(columns, landmarks))
        error = (sums - kernel.solve(ones)).abs_()[:, 0]
        if done >= MIN_ROUNDS and (error <= MAX_ROW_ERROR * sums[:, 0]).all():
            return kernel
        lacking = error.index_fill_(0, landmarks, 0)
    return None


def sample_evenly(mass: torch.Tensor, count: int) -> torch.Tensor:
    """Up to `count` distinct indices, one in each part of equal mass: ascending int64.

    mass: (N,), non-negative."""
    total = mass.double().cumsum(0)
    places = (torch.arange(count, device=mass.device) + 0.5) / count * total[-1]
    return torch.searchsorted(total, places).clamp_(max=len(mass) - 1).unique()


def factorize(columns: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
    """F of the module's docstring from R_:L: (N, l) -> (N, r) with r <= l."""
    own = columns[landmarks].double()
    squares, directions = torch.linalg.eigh((own + own.T) / 2)
    # Errors of the columns: COLUMN_TOLERANCE each, of which R_LL has a part of l / N rows.
    kept = squares > 2 * COLUMN_TOLERANCE * (len(landmarks) / len(columns)) ** 0.5
    weights = directions[:, kept] / squares[kept].sqrt()
    return columns @ weights.to(columns.dtype)


def _smooth_columns(W: torch.Tensor, system: DiffusionSolver, images: torch.Tensor) -> torch.Tensor:
    """The images' columns of R: (N, c)."""
    sides = torch.zeros(len(W), len(images), device=W.device)
    sides[images, torch.arange(len(images), device=W.device)] = 1
    columns = torch.as_tensor(system.solve(sides, tol=COLUMN_TOLERANCE))
    return columns.sub_(sides).sub_(sparse_product(W, sides), alpha=system.alpha)
