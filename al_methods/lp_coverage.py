"""lp_coverage: cover all images in the kernel of the diffusion.

Ours.  Label propagation (Iscen et al., CVPR 2019, section 4; utils.graph, utils.diffusion) hands a
labeled image's label to the others by its column of K = (I − αW)⁻¹, so the labels worth asking for
are those whose columns reach far and overlap little.  Facility location (al_methods.greedy_coverage) in the
normalised kernel: the image that raises most

    C(S) = Σ_j w_j max_{i in S} K_ij / √(K_ii K_jj)        S: labeled and chosen images

w_j is how much the labels that are known leave open about j: the margin m_j between the two classes
of which the diffusion gives it most makes it 1 − m_j, of which a quarter is for all alike; 1 where
no label is known (UHerding weighs MaxHerding likewise: Bae et al., ICLR 2025).

K is positive definite without a negative entry, so that the kernel is within [0, 1].  Up to DENSE
images K is inverted, and the picks are those of the greedy algorithm.  Beyond,

* K_jj is estimated.  K_jj − 1 = α² Σ_i W_ij² + what longer walks add, which is fitted, on a few
  images whose columns are solved, by the sum and its mean over the neighbours.
* A round solves the columns of the images that promise most, and picks the best of all columns
  solved so far.  The promise of an image is what is not covered yet on short walks from it: one
  step shows it for isolated images, four steps, with what is hardly covered counting more, for the
  dense regions.  So many columns are solved that all of them together have WORK entries, and all
  images' where N² is less.
"""

import logging

import numpy as np
import torch

from al_methods.greedy_coverage import coverage_gains, lazy_argmax, maximize_coverage
from al_methods.spec import Method
from utils.arrays import as_numpy
from utils.diffusion import MAX_BLOCK_COLUMNS, DiffusionSolver, as_torch_csr, make_torch_csr
from utils.graph import affinity
from utils.graph.graph_options import (
    GraphOptions,
    GraphViewOptions,
    affinity_settings,
    graph_inputs,
    graph_needs,
)

log = logging.getLogger("al.lp_coverage")

MAX_DENSE_IMAGES = 4096  # images up to which K is a matrix
MAX_SOLVED_ENTRIES = (
    125_000_000  # entries of all columns solved, half a gigabyte: 2,500 columns of 50,000
)
MAX_ROUND_COLUMNS = 4 * MAX_BLOCK_COLUMNS  # columns solved in a round
NUM_PROBE_IMAGES = 64  # images whose diagonal is known to the estimate
UNIFORM_SHARE = 0.25  # part of the weights that is the same for all images
NUM_WALK_STEPS = 4  # steps of the longer walks


def pick(
    *,
    labels: np.ndarray,
    budget: int,
    views: GraphViewOptions,
    graph: GraphOptions,
    rng=None,
    **outputs: torch.Tensor,
) -> np.ndarray:
    """labels: (N,) int64, -1 where unknown, possibly everywhere; outputs: what `graph_needs` names,
    (N, d) each -> (budget,) int64, in order."""
    W = affinity(**graph_inputs(outputs, views), **affinity_settings(graph))
    system = DiffusionSolver(W, graph.lp_alpha)
    W = W if isinstance(W, torch.Tensor) else as_torch_csr(W)
    known = torch.as_tensor(np.flatnonzero(labels >= 0), device=W.device)
    choose = _select_dense if len(labels) <= MAX_DENSE_IMAGES else _select_by_columns
    weights = torch.as_tensor(margin_weights(system, labels), device=W.device)
    picks, cover = choose(W, system, known, budget, weights)
    log.info(
        "lp_coverage: %d labels and %d picks cover %.4f of %d images",
        *(len(known), budget, float(cover.double().mean()), len(labels)),
    )
    return np.array(picks, dtype=np.int64)


def margin_weights(system: DiffusionSolver, labels: np.ndarray) -> np.ndarray:
    """The weights w of the module: of the diffusion's shares of the classes, a row's largest less
    its second largest is m; 0 where no label reaches.  labels: (N,), -1 where unknown -> (N,)
    float32."""
    known = np.flatnonzero(labels >= 0)
    classes, at, sizes = np.unique(labels[known], return_inverse=True, return_counts=True)
    if len(classes) < 2:
        return np.ones(len(labels), np.float32)
    sides = np.zeros((len(labels), len(classes)), np.float32)
    sides[known, at] = 1 / sizes[at]
    shares = np.maximum(as_numpy(system.solve(sides)), 0)
    mass = shares.sum(axis=1, keepdims=True)
    shares = np.divide(shares, mass, out=np.zeros_like(shares), where=mass > 0)
    second, largest = np.partition(shares, -2, axis=1)[:, -2:].T
    return UNIFORM_SHARE + (1 - UNIFORM_SHARE) * (1 - (largest - second))


def _select_dense(
    W, system: DiffusionSolver, known: torch.Tensor, budget: int, weights: torch.Tensor
):
    """-> picks, cover (N,).  W: torch CSR (N, N); known: indices of the labeled images; weights:
    (N,)."""
    kernel = torch.eye(len(W), device=W.device).sub_(W.to_dense(), alpha=system.alpha)
    kernel = torch.cholesky_inverse(torch.linalg.cholesky(kernel))
    scale = kernel.diagonal().rsqrt()
    kernel.mul_(scale).mul_(scale[:, None]).clamp_(0, 1).fill_diagonal_(1)
    cover = kernel[known].amax(dim=0) if len(known) else torch.zeros_like(scale)
    unknown = torch.ones_like(cover, dtype=torch.bool)
    unknown[known] = False
    rows = torch.arange(len(W), device=W.device)

    def entries(images, columns):
        return kernel[images] if len(columns) == len(rows) else kernel[images[:, None], columns]

    return maximize_coverage(entries, cover, rows[unknown], budget, weights)


def _select_by_columns(
    W, system: DiffusionSolver, known: torch.Tensor, budget: int, weights: torch.Tensor
):
    """The same from the columns of promising images."""
    n = len(W)
    columns = max(MAX_SOLVED_ENTRIES // n, budget + budget // 4)  # in all
    width = min(
        max(columns // budget // MAX_BLOCK_COLUMNS, 1) * MAX_BLOCK_COLUMNS, MAX_ROUND_COLUMNS
    )  # in a round
    each = -(-width * budget // columns)  # picks of a round
    scale = _estimate_scale(W, system)
    cover = torch.zeros_like(scale)
    for some in known.split(MAX_BLOCK_COLUMNS) if len(known) else ():
        cover = torch.maximum(cover, _kernel_rows(system, some, scale).amax(dim=0))
    pool, picks = {}, []  # pool: image -> its row and a bound of its gain
    while len(picks) < budget:
        taken = torch.zeros(n, dtype=torch.bool, device=W.device)
        taken[known] = True
        taken[[*picks, *pool]] = True
        new = _find_promising_images(W, system, scale, cover, weights, taken, width)
        if len(new):
            rows = _kernel_rows(system, new, scale)
            gains = coverage_gains(rows, cover, weights).tolist()
            pool |= {image: (rows[i], gains[i]) for i, image in enumerate(new.tolist())}
        wanted = min(each if len(new) else len(pool), len(pool), budget - len(picks))
        chosen, cover = _take_best(pool, cover, weights, wanted)
        picks += chosen
        for image in sorted(pool, key=lambda image: -pool[image][1])[
            max(MAX_SOLVED_ENTRIES // n, width) :
        ]:
            del pool[image]  # it may be solved once more
    return picks, cover


def _kernel_rows(
    system: DiffusionSolver, images: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Rows (c, N) of the normalised kernel; scale (N,): 1 / √K_jj."""
    rows, own = _diffusion_columns(system, images)
    rows = rows.mul_(scale).mul_(own.rsqrt()[:, None]).clamp_(max=1)
    rows[torch.arange(len(images), device=rows.device), images] = 1
    return rows


def _diffusion_columns(
    system: DiffusionSolver, images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """K_i (c, N) and K_ii (c,) of some images i."""
    at = torch.arange(len(images), device=images.device)
    sides = torch.zeros(system.shape[0], len(images), device=images.device)
    sides[images, at] = 1
    rows = torch.as_tensor(system.solve(sides)).T.clamp(min=0)  # (c, N)
    return rows.contiguous(), rows[at, images]


def _estimate_scale(W, system: DiffusionSolver) -> torch.Tensor:
    """1 / √K_jj by the module's estimate: (N,)."""
    n, alpha = len(W), system.alpha
    squares = make_torch_csr(W.crow_indices(), W.col_indices(), W.values().square(), W.shape)
    twice = alpha**2 * (squares @ torch.ones(n, device=W.device))  # there and back
    probes = torch.linspace(0, n - 1, min(NUM_PROBE_IMAGES, n)).long().unique().to(W.device)
    _, exact = _diffusion_columns(system, probes)
    terms = torch.stack([twice, W @ twice], dim=1)  # (N, 2)
    longer = as_numpy(exact - 1 - twice[probes], np.float64)
    fitted = np.linalg.lstsq(as_numpy(terms[probes], np.float64), longer, rcond=1e-6)[0]
    longer = terms @ torch.as_tensor(fitted, dtype=torch.float32, device=W.device)
    return (1 + twice + longer.clamp_(min=0)).rsqrt_()


def _find_promising_images(
    W, system: DiffusionSolver, scale, cover, weights, taken, count: int
) -> torch.Tensor:
    """Up to `count` images whose columns to solve next, of those that are not taken."""
    if cover.any():
        once = walk = (1 - cover) * weights
        once = once + system.alpha * (W @ walk)
        spread = walk = (-cover / cover.mean()).exp() * weights
        for _ in range(NUM_WALK_STEPS):
            walk = system.alpha * (W @ walk)
            spread = spread + walk
    else:  # the gains themselves
        once = spread = torch.as_tensor(system.solve(scale)) * scale
    orders = [
        promise.masked_fill(taken, -torch.inf).argsort(descending=True, stable=True)[:count]
        for promise in (once, spread)
    ]
    both = torch.stack(orders, dim=1).flatten().tolist()  # in turn, from either
    free = int((~taken).sum())
    images = list(dict.fromkeys(both))[: min(count, free)]
    return torch.tensor(sorted(images), dtype=torch.int64, device=W.device)


def _take_best(pool: dict, cover, weights, count: int) -> tuple[list[int], torch.Tensor]:
    """The `count` best images of the pool, one after another; they leave it."""
    images, picks = sorted(pool), []
    bounds = torch.tensor([pool[image][1] for image in images])

    def gains_of(some):
        rows = torch.stack([pool[images[i]][0] for i in some.tolist()])
        return coverage_gains(rows, cover, weights).cpu()

    for _ in range(count):
        chosen = lazy_argmax(bounds, gains_of, len(bounds))
        bounds[chosen] = -torch.inf
        row, _ = pool.pop(images[chosen])
        cover = torch.maximum(cover, row)
        picks.append(images[chosen])
    for image, bound in zip(images, bounds.tolist(), strict=True):
        if image in pool:
            pool[image] = (pool[image][0], bound)
    return picks, cover


METHOD = Method(
    pick,
    needs=graph_needs,
    substitutes={
        "features": "pretrained_features",
        "features_agreement": "pretrained_features_agreement",
    },
    needs_no_labels=True,
)
