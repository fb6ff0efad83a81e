"""A graph of groups of neighbouring images, small enough for whole kernels.

Every group forms around one image; the other images join the group of their strongest neighbour
that has one already (aggregation as in algebraic multigrid: Vaněk, Mandel & Brezina, Computing 56,
1996).  With P_iI = 1/√n_I for the n_I images i of group I, P has orthonormal columns, and

    W_c = Pᵀ W P,        K_ij ≈ (I − αW_c)⁻¹_IJ / √(n_I n_J)        for i in I and j in J.

    W (N, N)  normalised affinity of the images      W_c (M, M)  of the groups
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.csgraph import reverse_cuthill_mckee

from utils.diffusion import Graph, as_scipy_csr, as_torch_csr, make_torch_csr
from utils.sparse_products import sparse_product

CHUNK_ROWS = 2**16  # rows of W looked at together
NUM_WALK_STEPS = 4  # of the walks by which an image is central in its group


class CoarseGraph(NamedTuple):
    """W: torch CSR (M, M); group: (N,) int64, of each image; sizes: (M,), images per group;
    returns: (M,), mean over a group of the walks of two steps that return to their image; reach:
    (N,), what short walks from an image cover."""

    W: torch.Tensor
    group: np.ndarray
    sizes: torch.Tensor
    returns: torch.Tensor
    reach: np.ndarray

    def image_scale(self, group_scale: torch.Tensor, alpha: float) -> torch.Tensor:
        """1 / √K_jj of the images of each group, about: (M,).  group_scale: (M,), that of W.

        Walks of up to two steps are those of the images, longer ones those of the groups."""
        W = self.W
        squares = make_torch_csr(W.crow_indices(), W.col_indices(), W.values().square(), W.shape)
        short = 1 + alpha**2 * sparse_product(squares, torch.ones_like(self.sizes))
        longer = (group_scale**-2 - short).clamp_(min=0) / self.sizes
        return (1 + self.returns + longer).rsqrt_()


def coarsen(W: Graph, alpha: float, max_groups: int) -> CoarseGraph:
    """The graph of half of `max_groups` groups, and more for images that no group's images reach.

    W: (N, N) scipy or torch CSR.  The result is on its device."""
    device = W.device if isinstance(W, torch.Tensor) else torch.device("cpu")
    graph = as_scipy_csr(W) if isinstance(W, torch.Tensor) else W
    n = graph.shape[0]
    group = group_images(graph, -(-2 * n // max_groups))
    sizes = np.bincount(group)
    root = np.sqrt(sizes)
    members = scipy.sparse.csr_matrix(
        (1 / root[group], group, np.arange(n + 1)), shape=(n, len(sizes))
    )
    total = scipy.sparse.csr_matrix((len(sizes), len(sizes)))
    for start in range(0, n, CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        total = total + members[rows].T @ (graph[rows] @ members)
    total = scipy.sparse.csr_matrix(total + total.T) * 0.5  # symmetric to the last bit
    squares = scipy.sparse.csr_matrix((graph.data**2, graph.indices, graph.indptr), graph.shape)
    returns = alpha**2 * (squares @ np.ones(n))
    own_scale = (1 + returns) ** -0.5
    reach = walk = own_scale
    for _ in range(NUM_WALK_STEPS):
        walk = alpha * (graph @ walk)
        reach = reach + walk
    means = np.stack([sizes, np.bincount(group, weights=returns) / sizes])
    on_device = torch.tensor(means, dtype=torch.float32, device=device)
    return CoarseGraph(
        as_torch_csr(total).to(device), group, on_device[0], on_device[1], reach * own_scale
    )


def group_images(graph: scipy.sparse.csr_matrix, size: int) -> np.ndarray:
    """The number of each image's group, from 0: (N,) int64.  size: images per group, about.

    The images around which groups form are evenly spaced in an order in which neighbours are near
    each other.  Images that no path joins to one of these form groups of `size` in that order."""
    order = reverse_cuthill_mckee(graph, symmetric_mode=True)
    centers = order[size // 2 :: size]
    group = np.full(graph.shape[0], -1)
    group[centers] = np.arange(len(centers))
    while True:
        open_rows = np.flatnonzero(group < 0)
        group[open_rows] = _strongest_groups(graph, open_rows, group)
        if (group[open_rows] < 0).all():
            break
    left = order[group[order] < 0]
    group[left] = len(centers) + np.arange(len(left)) // size
    return group


def _strongest_groups(
    graph: scipy.sparse.csr_matrix, rows: np.ndarray, group: np.ndarray
) -> np.ndarray:
    """The group of the strongest neighbour that has one, -1 if none has: (R,) int64."""
    strongest = np.full(len(rows), -1)
    for start in range(0, len(rows), CHUNK_ROWS):
        part = graph[rows[start : start + CHUNK_ROWS]]
        groups = group[part.indices]
        strengths = np.where(groups >= 0, part.data, 0)
        counts = np.diff(part.indptr)
        filled = counts > 0
        if not filled.any():
            continue
        largest = np.maximum.reduceat(strengths, part.indptr[:-1][filled])
        is_largest = (strengths == np.repeat(largest, counts[filled])) & (strengths > 0)
        entries = np.flatnonzero(is_largest)
        row, first = np.unique(
            np.repeat(np.arange(len(counts)), counts)[entries], return_index=True
        )
        strongest[start + row] = groups[entries[first]]
    return strongest
