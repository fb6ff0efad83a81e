"""Diffusion on the graph: the solve behind label propagation and jLP.

Source: Zhou et al., NIPS 2003; Iscen et al., CVPR 2019, section 4: (I − αW) Z = Y.
I − αW is symmetric with eigenvalues in [1−α, 1+α], so conjugate gradient (Hestenes & Stiefel, 1952)
solves all columns at once: one sparse product per iteration, scalars of their own per column.

    W (N, N)   normalised affinity      Y (N, C)  right-hand sides
    Z (N, C)   solution                 R, P      residuals and search directions, (N, live columns)
"""

import warnings

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

from utils.arrays import as_numpy
from utils.torch_faiss import torch

BLOCK = 32  # columns solved together; wider blocks fall out of the cache
REORDERED = 20_000  # images from which a product gains more from locality than reordering costs
RUN = 64  # rows summed in float32 before float64 takes over


class NotConverged(RuntimeError):
    """Conjugate gradient ran out of iterations."""


def diffuse(W, Y, alpha: float = 0.99, *, tol: float = 1e-6, max_iter: int = 1000):
    """Solve (I − αW) Z = Y.

    W: (N, N) scipy sparse or torch CSR, symmetric, spectral radius <= 1; Y: (N, C) or (N,) -> Z,
    Y's shape, float32, a numpy array, or on W's device where W is a torch tensor.  A column stops
    when its residual is below `tol` times its right-hand side; a zero column gives zeros.  Raises
    ValueError for an alpha outside [0, 1) or shapes that do not fit, NotConverged after `max_iter`
    iterations."""
    return Diffusion(W, alpha).solve(Y, tol=tol, max_iter=max_iter)


class Diffusion:
    """The system I − αW made ready once for many solves; the arguments are those of `diffuse`."""

    def __init__(self, W, alpha: float = 0.99):
        if not 0 <= alpha < 1:
            raise ValueError(f"alpha must be in [0, 1), not {alpha}")
        self.alpha, self.shape, self.order = alpha, tuple(W.shape), None
        self.on_device = isinstance(W, torch.Tensor)
        if self.on_device:
            self.W = W
            return
        W = scipy.sparse.csr_matrix(W)
        if len(W.indptr) > REORDERED:
            # Neighbours get neighbouring rows, so that a product finds them in the cache.
            self.order = reverse_cuthill_mckee(W, symmetric_mode=True)
            W = W[self.order][:, self.order]
        self.W = as_torch_csr(W)

    def solve(self, Y, *, tol: float = 1e-6, max_iter: int = 1000):
        """Z (N, C) or (N,) for Y of that shape."""
        if self.on_device:
            y = torch.as_tensor(Y, dtype=torch.float32, device=self.W.device)
        else:
            y = torch.from_numpy(as_numpy(Y, np.float32))
        if y.ndim not in (1, 2) or self.shape != (len(y), len(y)):
            raise ValueError(f"W {self.shape} and Y {tuple(y.shape)} do not fit")
        columns = y.reshape(len(y), -1)
        if self.order is not None:
            columns = columns[torch.from_numpy(self.order.astype(np.int64))]
        blocks = [
            conjugate_gradient(self.W, block.contiguous(), self.alpha, tol, max_iter)
            for block in columns.split(BLOCK, dim=1)
        ]
        solution = torch.cat(blocks, dim=1)
        if self.order is not None:
            placed = torch.empty_like(solution)
            placed[torch.from_numpy(self.order.astype(np.int64))] = solution
            solution = placed
        solution = solution.reshape(y.shape)
        return solution if self.on_device else solution.numpy()


def as_torch_csr(W: scipy.sparse.csr_matrix) -> torch.Tensor:
    """scipy CSR to torch CSR with int32 indices, several times faster per product than scipy's."""
    return torch_csr(
        torch.from_numpy(W.indptr.astype(np.int32)),
        torch.from_numpy(W.indices.astype(np.int32)),
        torch.from_numpy(W.data.astype(np.float32)),
        W.shape,
    )


def torch_csr(starts, indices, values, shape) -> torch.Tensor:
    """A torch CSR tensor from parts that are known to fit."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(starts, indices, values, size=shape, check_invariants=False)


def conjugate_gradient(W, B, alpha: float, tol: float, max_iter: int) -> torch.Tensor:
    """One block of columns: torch CSR W (N, N), B (N, c) float32 -> (N, c).

    Vectors are float32, scalar products float64.  Columns leave the block as they converge, so a
    finished or empty one can neither divide by zero nor slow the others."""
    solution = torch.zeros_like(B)
    target = tol**2 * dots(B, B)  # (c,) squared residual to reach
    live = torch.nonzero(target > 0).flatten()
    R, target = B[:, live], target[live]
    P, Z, rr = R.clone(), torch.zeros_like(R), dots(R, R)
    for _ in range(max_iter):
        if len(live) == 0:
            return solution
        WP = torch.addmm(P, W, P, alpha=-alpha)  # (I − αW) P
        step = rr / dots(P, WP)
        Z.addcmul_(P, step.float())
        R.addcmul_(WP, step.float(), value=-1)
        rr, before = dots(R, R), rr
        done = rr <= target
        if done.any():
            solution[:, live[done]] = Z[:, done]
            left = ~done
            live, target, rr, before = live[left], target[left], rr[left], before[left]
            R, P, Z = R[:, left], P[:, left], Z[:, left]
        P = torch.addcmul(R, P, (rr / before).float())
    if len(live) == 0:
        return solution
    raise NotConverged(f"{len(live)} columns above tolerance {tol} after {max_iter} iterations")


def dots(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Scalar product of every pair of columns, in float64.  (N, c), (N, c) -> (c,)

    Runs of RUN rows are summed in float32, whose error is no more than that of the products, and
    the runs in float64: eight times faster than all in float64."""
    products = a * b
    even = len(products) // RUN * RUN
    runs = products[:even].view(-1, RUN, products.shape[1]).sum(dim=1)
    return runs.sum(dim=0, dtype=torch.float64) + products[even:].sum(dim=0, dtype=torch.float64)
