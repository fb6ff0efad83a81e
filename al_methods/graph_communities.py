"""First labels from communities of the graph: over-cluster, merge, and take the central images.

A greedy cover (al_methods.lp_coverage) can spend two picks on one class and miss another that is
small or lies between others.  Its first picks therefore start twice as many clusters as are wanted,
and these are merged where the graph says that they belong together:

1. The first SEEDS_PER_PICK · budget picks of the greedy cover are the seeds.  Each image joins the
   seed whose label would reach it most strongly: argmax_s K_js, K = (I − αW)⁻¹;
   a seed stays in its own cluster.
2. The two clusters whose union raises the modularity

       Q = Σ_c (w_cc − v_c²)

   most, or lowers it least, are merged until `budget` are left (Clauset, Newman & Moore, Physical
   Review E 70, 2004).  w_cc is the share of edge weight within cluster c, and v_c the share of edge
   ends in it.
3. The pick of a cluster is the image that covers it best: argmax_i Σ_{j in c} K_ij / √(K_ii K_jj).

These picks are taken if their own clusters, made as in step 1, have a larger modularity than those
of the greedy cover's first picks.  No label and no random number is used.

Chosen on digits (pixels), 5,000 MNIST digits (features of MobileNetV3) and eight tables; see
docs/rivals.md for what else was tried.
"""

from typing import NamedTuple

import numpy as np
import torch

from al_methods.diffusion_kernel import KernelProduct
from utils.arrays import as_numpy
from utils.sparse_products import sparse_product

SEEDS_PER_PICK = 2
MAX_SEEDS = 500  # more clusters are not merged, which takes a step per cluster


class CommunityPicks(NamedTuple):
    """What is chosen, and what the graph says about it."""

    images: list[int]
    num_groups: int  # clusters left if those of the picks are merged while Q rises


def number_of_seeds(budget: int, images: int) -> int:
    """How many picks of the greedy cover are wanted; `budget` where no merging is possible."""
    seeds = SEEDS_PER_PICK * budget
    return seeds if seeds <= min(MAX_SEEDS, images // 2) else budget


def choose_central_images(
    W: torch.Tensor,
    system: KernelProduct,
    scale: torch.Tensor,
    seeds: list[int],
    budget: int,
    sizes: torch.Tensor,
) -> CommunityPicks:
    """The picks of the module's docstring.

    W: torch CSR (N, N); system: of W; scale: (N,), 1 / √K_jj; seeds: picks of the greedy cover, in
    order, at least `budget`; sizes: (N,), 1, or how many images each node of a coarse graph
    (al_methods.coarse_graph) stands for."""
    root = sizes.sqrt()
    degrees = as_numpy(root[:, None] * sparse_product(W, root[:, None]), np.float64)[:, 0]
    clusters = _clusters_around(system, seeds, root)
    merged = merge_clusters(*_edge_shares(W, degrees, clusters, len(seeds), root), budget)
    groups = np.append(merged, -1)[clusters]
    central = _central_images(system, scale, groups, budget, sizes)
    best, largest = CommunityPicks([], 0), -np.inf
    for picks in (seeds[:budget], central):
        own_clusters = _clusters_around(system, picks, root)
        within, ends = _edge_shares(W, degrees, own_clusters, budget, root)
        modularity = np.trace(within) - np.square(ends).sum()
        if modularity > largest:
            groups = merge_clusters(within, ends, 1, while_rising=True)
            best, largest = CommunityPicks(picks, int(groups.max()) + 1), modularity
    return best


def merge_clusters(
    within: np.ndarray, ends: np.ndarray, count: int, while_rising: bool = False
) -> np.ndarray:
    """Merge clusters, each time the two whose union has the largest modularity, until `count` are
    left, or the modularity would no longer rise.  Ties go to the lower numbers.

    within: (S, S), the share of edge weight between two clusters; ends: (S,), the share of edge
    ends in each -> (S,) the new number of each cluster, from 0."""
    within, ends = within.copy(), ends.copy()
    joined, left = np.arange(len(ends)), np.ones(len(ends), bool)
    for _ in range(len(ends) - count):
        gains = within - np.outer(ends, ends)  # half the rise of Q
        gains[~np.triu(np.outer(left, left), 1)] = -np.inf
        kept, lost = np.unravel_index(gains.argmax(), gains.shape)  # kept < lost
        if while_rising and gains[kept, lost] <= 0:
            break
        within[kept] += within[lost]
        within[:, kept] += within[:, lost]
        ends[kept] += ends[lost]
        left[lost] = False
        joined[joined == lost] = kept
    return np.unique(joined, return_inverse=True)[1]


def _clusters_around(system: KernelProduct, seeds: list[int], root: torch.Tensor) -> np.ndarray:
    """The seed whose label reaches each image most strongly, -1 where none does: (N,) int64, the
    number of the seed.  A seed is in its own cluster.  root: (N,), of the sizes."""
    sides = torch.zeros(len(root), len(seeds), device=root.device)
    sides[seeds, torch.arange(len(seeds), device=root.device)] = 1 / root[seeds]
    columns = torch.as_tensor(system.solve(sides)).clamp(min=0)
    nearest = torch.where(columns.any(dim=1), columns.argmax(dim=1), -1)
    clusters = as_numpy(nearest, np.int64).copy()
    clusters[seeds] = np.arange(len(seeds))
    return clusters


def _indicators(device: torch.device, clusters: np.ndarray, count: int) -> torch.Tensor:
    """(N, count), 1 where a row is in the cluster.  clusters: (N,), -1 in none."""
    members = np.zeros((len(clusters), count), np.float32)
    inside = np.flatnonzero(clusters >= 0)
    members[inside, clusters[inside]] = 1
    return torch.as_tensor(members, device=device)


def _edge_shares(
    W: torch.Tensor, degrees: np.ndarray, clusters: np.ndarray, count: int, root: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """The share of edge weight between the clusters (count, count), and of edge ends (count,).

    root: (N,), of the sizes."""
    members = _indicators(W.device, clusters, count)
    scaled = root[:, None] * members
    between = as_numpy(scaled.T @ sparse_product(W, scaled), np.float64)
    ends = as_numpy(members, np.float64).T @ degrees
    total = max(degrees.sum(), np.finfo(float).tiny)
    return between / total, ends / total


def _central_images(
    system: KernelProduct,
    scale: torch.Tensor,
    clusters: np.ndarray,
    count: int,
    sizes: torch.Tensor,
) -> list[int]:
    """The image of each cluster that covers it best.  clusters: (N,), -1 in none."""
    members = _indicators(scale.device, clusters, count)
    sides = members * (sizes * scale)[:, None]
    covered = torch.as_tensor(system.solve(sides)) * scale[:, None]
    return covered.masked_fill(members == 0, -torch.inf).argmax(dim=0).tolist()
