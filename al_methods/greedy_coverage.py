"""Greedy generalised coverage: choose the images whose kernels cover all images best.

    C(S) = Σ_j w_j max_{i in S} k_ij        k symmetric, in [0, 1]; w_j >= 0, by default 1

This is facility location (Nemhauser, Wolsey & Fisher, Mathematical Programming 14, 1978).  The gain
of an image only shrinks while S grows, so an old gain bounds the current one (lazy greedy: Minoux,
1978).  Where a wide kernel makes these bounds loose, all gains are updated at once, from those
images j alone whose cover has risen: this costs one product per risen image, where evaluating the
candidates again costs one product per candidate.  At most MAX_KERNEL_VALUES kernel values are held
at a time.

    cover (N,)  max of k_ij over i in S        gains (M,)  what each of M candidates would add
"""

from collections.abc import Callable

import numpy as np
import torch

from utils.arrays import as_numpy
from utils.ranking import tie_order, top_candidates

MAX_KERNEL_VALUES = 2**23  # kernel values held at a time, 32 MiB
CANDIDATE_BATCH = 64  # candidates evaluated together
GAIN_TOLERANCE = 1e-6  # gains up to this size may come from rounding

# Rows (r,) and columns (c,), both int64 indices -> kernel values (r, c), float32.
Kernel = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def maximize_coverage(
    kernel: Kernel,
    cover: torch.Tensor,
    candidates: torch.Tensor,
    budget: int,
    weights: torch.Tensor | None = None,
    rng: np.random.Generator | None = None,
    max_values: int | None = None,
) -> tuple[list[int], torch.Tensor]:
    """Pick `budget` candidates, each time the one that raises the coverage most.

    cover: (N,) float32, of the images that are in S already; candidates: (M,) int64, ascending;
    weights: (N,); rng: orders the candidates once none adds anything; max_values: kernel values
    for the first gains held at a time, default MAX_KERNEL_VALUES -> picks, in order, and the
    cover (N,) with them.  Other gains that are equal up to rounding go to the lower index."""
    everything = torch.arange(len(cover), device=cover.device)
    weights = torch.ones_like(cover) if weights is None else weights

    def gains_of(indices: torch.Tensor) -> torch.Tensor:
        return coverage_gains(kernel(candidates[indices], everything), cover, weights)

    gains = cover.new_empty(len(candidates), dtype=torch.float64)  # for the cover `base`
    # Filling one tensor: separate small results would settle in the memory of the large kernel
    # blocks, so that these no longer fit; with two threads, 50,000 images then took 10 GB.
    part_size = max((max_values or MAX_KERNEL_VALUES) // len(cover), 1)
    for part in torch.arange(len(gains), device=cover.device).split(part_size):
        gains[part] = gains_of(part).double()
    bounds, base = gains.clone(), cover
    picks: list[int] = []
    while len(picks) < budget:
        if bounds.max() <= GAIN_TOLERANCE:  # no candidate adds anything
            left = as_numpy((bounds > -torch.inf).nonzero().flatten(), np.int64)
            zeros, places = np.zeros(len(bounds)), tie_order(rng, len(bounds))
            picks += top_candidates(zeros, budget - len(picks), left, places).tolist()
            break
        risen = (cover > base).nonzero().flatten()
        chosen = lazy_argmax(bounds, gains_of, max(len(risen), CANDIDATE_BATCH))
        if chosen is None:
            gains -= gain_decreases(kernel, candidates, risen, base, cover, weights)
            bounds, base = gains.clone(), cover
            bounds[picks] = -torch.inf
            chosen = first_argmax(bounds, gains_of)
        cover = torch.maximum(cover, kernel(candidates[[chosen]], everything)[0])
        bounds[chosen] = -torch.inf
        picks.append(chosen)
    return candidates[picks].tolist(), cover


def coverage_gains(rows: torch.Tensor, cover: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """What each of some images would add, from their kernel rows: (r, N) -> (r,)."""
    return (rows - cover).clamp_(min=0) @ weights


def gain_decreases(
    kernel: Kernel,
    candidates: torch.Tensor,
    risen: torch.Tensor,
    base: torch.Tensor,
    cover: torch.Tensor,
    weights: torch.Tensor,
) -> torch.Tensor:
    """By how much each candidate's gain has shrunk since the cover was `base`: (M,) float64.

    risen: indices of the images whose cover has risen since."""
    total = torch.zeros(len(candidates), dtype=torch.float64, device=cover.device)
    for part in risen.split(max(MAX_KERNEL_VALUES // len(candidates), 1)):
        shrunk = torch.minimum(kernel(candidates, part), cover[part])
        total += shrunk.sub_(base[part]).clamp_(min=0) @ weights[part]
    return total


def lazy_argmax(
    bounds: torch.Tensor, gains_of: Callable[[torch.Tensor], torch.Tensor], limit: int
) -> int | None:
    """The first candidate whose gain is the largest up to rounding; None where more than `limit`
    candidates would have to be evaluated.

    bounds: (M,), never below the gains, -inf for candidates that are out; replaced in place by the
    gain for each candidate that is evaluated.  gains_of: indices -> gains."""
    fresh = torch.zeros_like(bounds, dtype=torch.bool)
    best, chosen, evaluated = -torch.inf, 0, 0
    while True:
        stale = bounds.masked_fill(fresh, -torch.inf)
        largest = float(stale.max())
        if largest < best - rounding_tolerance(best) or largest == -torch.inf:
            return chosen
        ties = (stale >= largest - rounding_tolerance(largest)).nonzero().flatten()
        ties = ties[:CANDIDATE_BATCH]  # in order
        if largest <= best + rounding_tolerance(best) and ties[0] > chosen:
            return chosen
        batch = torch.cat([ties, stale.topk(min(CANDIDATE_BATCH, len(stale))).indices]).unique()
        batch = batch[stale[batch] > -torch.inf]
        evaluated += len(batch)
        if evaluated > limit + CANDIDATE_BATCH:
            return None
        bounds[batch] = gains_of(batch).to(bounds.dtype)
        fresh[batch] = True
        gains = torch.where(fresh, bounds, -torch.inf)
        best = float(gains.max())
        chosen = int((gains >= best - rounding_tolerance(best)).nonzero()[0])


def first_argmax(bounds: torch.Tensor, gains_of: Callable[[torch.Tensor], torch.Tensor]) -> int:
    """As lazy_argmax, for as many evaluations as it takes."""
    chosen = lazy_argmax(bounds, gains_of, len(bounds))
    assert chosen is not None  # no more than all candidates can be evaluated
    return chosen


def rounding_tolerance(gain: float) -> float:
    """By how much rounding may separate two equal gains."""
    return GAIN_TOLERANCE + 1e-5 * abs(gain) if gain > -torch.inf else 0.0


def select_covering_images(
    kernel: Kernel,
    labels: np.ndarray,
    budget: int,
    device: torch.device,
    weights: torch.Tensor | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[list[int], torch.Tensor]:
    """`maximize_coverage` with the labeled images in S and all others as candidates.

    labels: (N,) int64, -1 where unknown -> picks, in order, and the cover (N,)."""
    known = torch.as_tensor(labels.copy(), device=device)
    everything = torch.arange(len(known), device=device)
    cover = torch.zeros(len(known), device=device)
    labeled = everything[known >= 0]
    for part in labeled.split(max(MAX_KERNEL_VALUES // len(known), 1)) if len(labeled) else ():
        cover = torch.maximum(cover, kernel(part, everything).amax(dim=0))
    return maximize_coverage(kernel, cover, everything[known < 0], budget, weights, rng)


def make_gaussian_kernel(x: torch.Tensor, sigma: float) -> Kernel:
    """The kernel exp(−‖x_i − x_j‖² / σ²) of features (N, d)."""
    squared_distance = make_squared_distance(x)
    return lambda rows, columns: squared_distance(rows, columns).div_(-(sigma**2)).exp_()


def make_squared_distance(x: torch.Tensor) -> Kernel:
    """The squared distances between rows (r,) and columns (c,) of features (N, d): (r, c), never
    negative."""
    lengths = x.square().sum(dim=1)

    def between(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        others = x if len(columns) == len(x) else x[columns]
        squares = torch.addmm(lengths[columns][None], x[rows], others.T, alpha=-2)
        return squares.add_(lengths[rows, None]).clamp_(min=0)

    return between
