"""lp_coverage: cover all images in the kernel of the diffusion.

Our own method.  Label propagation (Iscen et al., CVPR 2019, section 4; utils.graph,
utils.diffusion) spreads the label of a labeled image to the others by its column of
K = (I − αW)⁻¹, so the most useful labels are those whose columns reach far and overlap little.
This is facility location (al_methods.greedy_coverage) in the normalised kernel: the image is picked
that raises most

    C(S) = Σ_j w_j max_{i in S} K_ij / √(K_ii K_jj)        S: labeled and picked images

w_j is how much the known labels leave open about image j: 1 − m_j, where m_j is the margin between
the two largest class shares that the diffusion gives to j, mixed with UNIFORM_SHARE of a uniform
weight; 1 where no label is known (UHerding weights MaxHerding in the same way: Bae et al., ICLR
2025).

Where no label is known, the picks may be those of al_methods.graph_communities, which merges the
clusters of twice as many picks.  Of several views with --lp-view-weights agreement, the graph is
then that of the view with the largest weight alone: pixels refine what labels have spread, but
made one of 20 choices on digits miss a class, where the pre-trained features missed none.

K is positive definite without a negative entry, so the kernel is within [0, 1].  Up to
MAX_DENSE_IMAGES images, I − αW is inverted and the picks are those of the greedy algorithm.  Up to
MAX_KERNEL_IMAGES, K is approximated from a few of its columns (al_methods.diffusion_kernel); where
these do not suffice, I − αW is inverted as well.  From MIN_IMAGES_TO_COARSEN on, groups of
neighbouring images are picked in the same way (al_methods.coarse_graph), and of each picked group
the unlabeled image from which short walks cover most.  In between, and for picks that are many
next to the groups,

* K_jj is estimated as 1 + α² Σ_i W_ij² + what longer walks add.  The last term is fitted, on a few
  images whose columns are solved, as a combination of the second term and of its average over the
  neighbours.
* Each round solves the columns of the most promising images, and picks the best of all columns
  solved so far.  An image is promising if much of what short walks from it reach is not covered
  yet: one step shows this for isolated images; four steps, with images that are hardly covered
  counting more, show it for dense regions.  In all, columns with MAX_SOLVED_ENTRIES entries are
  solved, or every image's column where N² is less.
"""

import logging

import numpy as np
import torch

from al_methods.coarse_graph import coarsen
from al_methods.diffusion_kernel import KernelProduct, approximate_kernel
from al_methods.graph_communities import choose_central_images, number_of_seeds
from al_methods.greedy_coverage import coverage_gains, first_argmax, maximize_coverage
from al_methods.spec import Method
from utils.arrays import as_numpy
from utils.diffusion import (
    MAX_BLOCK_COLUMNS,
    DiffusionSolver,
    Graph,
    as_torch_csr,
    make_torch_csr,
)
from utils.graph import affinity
from utils.graph.graph_options import (
    GraphOptions,
    GraphViewOptions,
    affinity_settings,
    graph_inputs,
    graph_needs,
)
from utils.sparse_products import sparse_product

log = logging.getLogger("al.lp_coverage")

MAX_DENSE_IMAGES = 2048  # an inverse takes no longer than an approximation
MAX_KERNEL_IMAGES = 8192  # K has a quarter of a gigabyte
MAX_CACHED_VALUES = 2**18  # of the kernel that are copied at a time, 1 MiB
MIN_IMAGES_TO_COARSEN = 100_000  # from here on the columns of single images take minutes
MAX_SOLVED_ENTRIES = 125_000_000  # half a gigabyte: 2,500 columns of 50,000 images
MAX_ROUND_COLUMNS = 4 * MAX_BLOCK_COLUMNS  # columns solved per round
NUM_PROBE_IMAGES = 64  # images whose exact K_jj the estimate is fitted to
UNIFORM_SHARE = 0.25  # part of the weights that is the same for all images
NUM_WALK_STEPS = 4  # steps of the longer walks

# Picks, in order, the cover (N,), and 1 / √K_jj (N,).
Selection = tuple[list[int], torch.Tensor, torch.Tensor]


def pick(
    *,
    labels: np.ndarray,
    budget: int,
    views: GraphViewOptions,
    graph: GraphOptions,
    rng: np.random.Generator | None = None,
    **outputs: torch.Tensor,
) -> np.ndarray:
    """Images to label next, in order: (budget,) int64.

    labels: (N,) int64, -1 where unknown, possibly everywhere; outputs: the inputs that
    `graph_needs` names, (N, d) each."""
    inputs = graph_inputs(outputs, views)
    if inputs["weights"] and not (labels >= 0).any():
        best = int(np.argmax(inputs["weights"]))
        inputs = {"features": inputs["features"][best : best + 1]}
    W = affinity(**inputs, **affinity_settings(graph))
    n, labeled = len(labels), np.flatnonzero(labels >= 0)
    seeds = budget if len(labeled) else number_of_seeds(budget, n)
    few = 2 * (seeds + len(labeled)) <= MAX_KERNEL_IMAGES
    if n >= MIN_IMAGES_TO_COARSEN and few:
        picks, covered = _pick_by_groups(W, labels, budget, seeds, graph.lp_alpha)
    else:
        picks, covered = _pick_images(W, labels, budget, seeds, graph.lp_alpha)
    log.info(
        "lp_coverage: %d labels and %d picks cover %.4f of %d images",
        *(len(labeled), budget, covered, n),
    )
    return np.array(picks, dtype=np.int64)


def _pick_images(
    W: Graph, labels: np.ndarray, budget: int, seeds: int, alpha: float
) -> tuple[list[int], float]:
    """The picks, and the mean of the cover.  seeds: picks of the greedy cover."""
    system = DiffusionSolver(W, alpha)
    W = W if isinstance(W, torch.Tensor) else as_torch_csr(W)
    labeled = torch.as_tensor(np.flatnonzero(labels >= 0), device=W.device)
    weights = torch.as_tensor(margin_weights(system, labels), device=W.device)
    product: KernelProduct = system
    if len(labels) <= MAX_KERNEL_IMAGES:
        kernel, scale, product = normalize_kernel(W, system)
        picks, cover = _select_from_kernel(kernel, labeled, seeds, weights)
    else:
        picks, cover, scale = _select_by_columns(W, system, labeled, seeds, weights)
    if seeds > budget:
        sizes = torch.ones_like(scale)
        picks, groups = choose_central_images(W, product, scale, picks, budget, sizes)
        cover = torch.zeros_like(scale)
        for part in torch.tensor(picks, device=W.device).split(MAX_BLOCK_COLUMNS):
            cover = torch.maximum(cover, _kernel_rows(product, part, scale).amax(dim=0))
        _log_groups(budget, groups)
    return picks, float(cover.double().mean())


def _pick_by_groups(
    W: Graph, labels: np.ndarray, budget: int, seeds: int, alpha: float
) -> tuple[list[int], float]:
    """As `_pick_images`, from the groups of a coarse graph."""
    coarse = coarsen(W, alpha, MAX_KERNEL_IMAGES)
    system, sizes = DiffusionSolver(coarse.W, alpha), coarse.sizes
    labeled = torch.as_tensor(np.unique(coarse.group[labels >= 0]), device=sizes.device)
    weights = sizes * torch.as_tensor(
        margin_weights(system, labels, coarse.group), device=sizes.device
    )
    kernel, group_scale, product = normalize_kernel(coarse.W, system)
    scale = coarse.image_scale(group_scale, alpha) / sizes.sqrt()
    ratio = scale / group_scale
    kernel.mul_(ratio).mul_(ratio[:, None]).clamp_(0, 1)
    chosen, cover = _select_from_kernel(kernel, labeled, seeds, weights)
    if seeds > budget:
        chosen, groups = choose_central_images(coarse.W, product, scale, chosen, budget, sizes)
        cover = kernel[chosen].amax(dim=0)
        _log_groups(budget, groups)
    unlabeled = np.flatnonzero(labels < 0)
    order = unlabeled[np.lexsort((-coarse.reach[unlabeled], coarse.group[unlabeled]))]
    first = np.searchsorted(coarse.group[order], chosen)
    return order[first].tolist(), float((cover @ sizes) / len(labels))


def _log_groups(budget: int, groups: int) -> None:
    log.info("lp_coverage: by the graph, the %d picks are from %d groups", budget, groups)


def margin_weights(
    system: DiffusionSolver, labels: np.ndarray, group: np.ndarray | None = None
) -> np.ndarray:
    """The weights w_j of the module's docstring: (M,) float32.

    labels: (N,), -1 where unknown; group: (N,), the row of the system for each image, default the
    image itself.  The margin is 0 where no label reaches."""
    labeled = np.flatnonzero(labels >= 0)
    classes, column, counts = np.unique(labels[labeled], return_inverse=True, return_counts=True)
    if len(classes) < 2:
        return np.ones(system.shape[0], np.float32)
    sides = np.zeros((system.shape[0], len(classes)), np.float32)
    if group is None:
        sides[labeled, column] = 1 / counts[column]
    else:
        shares = 1 / (counts[column] * np.sqrt(np.bincount(group))[group[labeled]])
        np.add.at(sides, (group[labeled], column), shares)
    values, _ = system.solve_rows(sides)  # the scales of rows do not matter
    shares = np.maximum(as_numpy(values), 0)
    mass = shares.sum(axis=1, keepdims=True)
    shares = np.divide(shares, mass, out=np.zeros_like(shares), where=mass > 0)
    second, largest = np.partition(shares, -2, axis=1)[:, -2:].T
    return UNIFORM_SHARE + (1 - UNIFORM_SHARE) * (1 - (largest - second))


def normalize_kernel(
    W: torch.Tensor, system: DiffusionSolver
) -> tuple[torch.Tensor, torch.Tensor, KernelProduct]:
    """The normalised kernel (N, N), 1 / √K_jj (N,), and what multiplies with K.

    W: torch CSR (N, N)."""
    approximation = approximate_kernel(W, system) if len(W) > MAX_DENSE_IMAGES else None
    if approximation is not None:
        scale = approximation.diagonal().rsqrt()
        kernel = approximation.normalize(scale)
    else:
        kernel = torch.eye(len(W), device=W.device).sub_(W.to_dense(), alpha=system.alpha)
        kernel = torch.cholesky_inverse(torch.linalg.cholesky(kernel))
        scale = kernel.diagonal().rsqrt()
        kernel.mul_(scale).mul_(scale[:, None]).clamp_(0, 1)
    return kernel.fill_diagonal_(1), scale, system if approximation is None else approximation


def _select_from_kernel(
    kernel: torch.Tensor, labeled: torch.Tensor, budget: int, weights: torch.Tensor
) -> tuple[list[int], torch.Tensor]:
    """The greedy picks, in order, and the cover (N,).

    kernel: (N, N); labeled: indices of the labeled images; weights: (N,)."""
    n = len(kernel)
    cover = kernel[labeled].amax(dim=0) if len(labeled) else kernel.new_zeros(n)
    unlabeled = torch.ones(n, dtype=torch.bool, device=kernel.device)
    unlabeled[labeled] = False

    def entries(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        if len(columns) == n:
            return kernel[rows]
        some = kernel[columns]  # whole rows are copied faster than single entries
        return some.T if len(rows) == n else some[:, rows].T

    candidates = unlabeled.nonzero()[:, 0]
    return maximize_coverage(
        entries, cover, candidates, budget, weights, max_values=MAX_CACHED_VALUES
    )


def _select_by_columns(
    W: torch.Tensor,
    system: DiffusionSolver,
    labeled: torch.Tensor,
    budget: int,
    weights: torch.Tensor,
) -> Selection:
    """The picks and cover of `_select_from_kernel`, from the columns of promising images alone.

    W: torch CSR (N, N); system: of W."""
    n = len(W)
    total_columns = max(MAX_SOLVED_ENTRIES // n, budget + budget // 4)
    blocks_per_pick = total_columns // budget // MAX_BLOCK_COLUMNS
    round_columns = min(max(blocks_per_pick, 1) * MAX_BLOCK_COLUMNS, MAX_ROUND_COLUMNS)
    round_picks = -(-round_columns * budget // total_columns)
    scale = _estimate_scale(W, system)
    cover = torch.zeros_like(scale)
    for part in labeled.split(MAX_BLOCK_COLUMNS) if len(labeled) else ():
        cover = torch.maximum(cover, _kernel_rows(system, part, scale).amax(dim=0))
    solved: dict[int, tuple[torch.Tensor, float]] = {}  # image -> kernel row, bound of its gain
    picks: list[int] = []
    while len(picks) < budget:
        taken = torch.zeros(n, dtype=torch.bool, device=W.device)
        taken[labeled] = True
        taken[[*picks, *solved]] = True
        new = _find_promising_images(W, system, scale, cover, weights, taken, round_columns)
        if len(new):
            rows = _kernel_rows(system, new, scale)
            gains = coverage_gains(rows, cover, weights).tolist()
            solved |= {image: (rows[i], gains[i]) for i, image in enumerate(new.tolist())}
        count = min(round_picks if len(new) else len(solved), len(solved), budget - len(picks))
        best, cover = _take_best(solved, cover, weights, count)
        picks += best
        by_gain = sorted(solved, key=lambda image: -solved[image][1])
        for image in by_gain[max(MAX_SOLVED_ENTRIES // n, round_columns) :]:
            del solved[image]  # it may be solved again later
    return picks, cover, scale


def _kernel_rows(system: KernelProduct, images: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The images' rows of the normalised kernel: (c, N).  scale: (N,), 1 / √K_jj."""
    rows, diagonal = _diffusion_columns(system, images)
    rows = rows.mul_(scale).mul_(diagonal.rsqrt()[:, None]).clamp_(max=1)
    rows[torch.arange(len(images), device=rows.device), images] = 1
    return rows


def _diffusion_columns(
    system: KernelProduct, images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The images' columns of K, as rows (c, N), and their entries K_ii (c,)."""
    index = torch.arange(len(images), device=images.device)
    sides = torch.zeros(system.shape[0], len(images), device=images.device)
    sides[images, index] = 1
    rows = torch.as_tensor(system.solve(sides)).T.clamp(min=0)  # (c, N)
    return rows.contiguous(), rows[index, images]


def _estimate_scale(W: torch.Tensor, system: DiffusionSolver) -> torch.Tensor:
    """1 / √K_jj, with K_jj estimated as the module's docstring says: (N,)."""
    n, alpha = len(W), system.alpha
    squares = make_torch_csr(W.crow_indices(), W.col_indices(), W.values().square(), W.shape)
    two_steps = alpha**2 * sparse_product(squares, torch.ones(n, device=W.device))  # there and back
    probes = torch.linspace(0, n - 1, min(NUM_PROBE_IMAGES, n)).long().unique().to(W.device)
    _, exact = _diffusion_columns(system, probes)
    terms = torch.stack([two_steps, sparse_product(W, two_steps)], dim=1)  # (N, 2)
    residuals = as_numpy(exact - 1 - two_steps[probes], np.float64)
    fit = np.linalg.lstsq(as_numpy(terms[probes], np.float64), residuals, rcond=1e-6)[0]
    longer = terms @ torch.as_tensor(fit, dtype=torch.float32, device=W.device)
    return (1 + two_steps + longer.clamp_(min=0)).rsqrt_()


def _find_promising_images(
    W: torch.Tensor,
    system: DiffusionSolver,
    scale: torch.Tensor,
    cover: torch.Tensor,
    weights: torch.Tensor,
    taken: torch.Tensor,
    count: int,
) -> torch.Tensor:
    """Up to `count` images whose columns to solve next: ascending int64.

    taken: (N,) bool, images to leave out."""
    if cover.any():
        one_step = walk = (1 - cover) * weights
        one_step = one_step + system.alpha * sparse_product(W, walk)
        spread = walk = (-cover / cover.mean()).exp() * weights
        for _ in range(NUM_WALK_STEPS):
            walk = system.alpha * sparse_product(W, walk)
            spread = spread + walk
    else:  # one solve gives the gains themselves
        one_step = spread = torch.as_tensor(system.solve(scale)) * scale
    orders = [
        promise.masked_fill(taken, -torch.inf).argsort(descending=True, stable=True)[:count]
        for promise in (one_step, spread)
    ]
    alternating = torch.stack(orders, dim=1).flatten().tolist()  # one from each order in turn
    free = int((~taken).sum())
    images = list(dict.fromkeys(alternating))[: min(count, free)]
    return torch.tensor(sorted(images), dtype=torch.int64, device=W.device)


def _take_best(
    solved: dict[int, tuple[torch.Tensor, float]],
    cover: torch.Tensor,
    weights: torch.Tensor,
    count: int,
) -> tuple[list[int], torch.Tensor]:
    """The `count` best of the solved images, one after another, and the cover with
    them; they are removed from `solved`."""
    images = sorted(solved)
    picks: list[int] = []
    bounds = torch.tensor([solved[image][1] for image in images])

    def gains_of(indices: torch.Tensor) -> torch.Tensor:
        rows = torch.stack([solved[images[i]][0] for i in indices.tolist()])
        return coverage_gains(rows, cover, weights).cpu()

    for _ in range(count):
        chosen = first_argmax(bounds, gains_of)
        bounds[chosen] = -torch.inf
        row, _ = solved.pop(images[chosen])
        cover = torch.maximum(cover, row)
        picks.append(images[chosen])
    for image, bound in zip(images, bounds.tolist(), strict=True):
        if image in solved:
            solved[image] = (solved[image][0], bound)
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
