"""Greedy generalised coverage: choose images whose kernels cover all images best.

    C(S) = Σ_j w_j max_{i in S} k_ij        k symmetric, in [0, 1]; w_j >= 0, one unless given

Facility location (Nemhauser, Wolsey & Fisher, Mathematical Programming 14, 1978).  What an image
would add only shrinks while S grows, so an old gain bounds a new one (lazy greedy: Minoux, 1978).
Where a wide kernel makes the bounds loose, all gains are brought up to date at once, from those
images j alone whose cover has risen: that costs a product a risen image, where looking at each
candidate again costs one a candidate.  No more than BLOCK kernel values are held at a time.

    cover (N,)  max of k_ij over i in S        gains (M,)  what each of M candidates would add
"""

from collections.abc import Callable

import torch

MAX_KERNEL_VALUES = 2**23  # kernel values at a time, 32 MiB
CANDIDATE_BATCH = 64  # candidates looked at together
GAIN_TOLERANCE = 1e-6  # of an image: a gain that rounding could have made


def maximize_coverage(
    kernel: Callable,
    cover: torch.Tensor,
    candidates: torch.Tensor,
    budget: int,
    weights: torch.Tensor | None = None,
) -> tuple[list[int], torch.Tensor]:
    """The `budget` candidates that raise the coverage most, one after another, and their cover.

    kernel: rows (r,), columns (c,) int64 -> (r, c) float32; cover: (N,) float32, of what is in S
    already; candidates: (M,) int64, ascending; weights: (N,).  Gains that are equal but for
    rounding go to the lower index."""
    everything = torch.arange(len(cover), device=cover.device)
    weights = torch.ones_like(cover) if weights is None else weights

    def gains_of(some):
        return coverage_gains(kernel(candidates[some], everything), cover, weights)

    gains = cover.new_empty(len(candidates), dtype=torch.float64)  # where `cover` is `base`
    # Into one tensor: kept by themselves, each part's few gains would lie where its large kernel
    # values were, which then do not fit there again; two threads took 10 GB for 50,000 images.
    for part in torch.arange(len(gains), device=cover.device).split(
        max(MAX_KERNEL_VALUES // len(cover), 1)
    ):
        gains[part] = gains_of(part).double()
    bounds, base, picks = gains.clone(), cover, []
    while len(picks) < budget:
        if bounds.max() <= GAIN_TOLERANCE:  # all are wanted alike
            picks += (bounds > -torch.inf).nonzero().flatten()[: budget - len(picks)].tolist()
            break
        risen = (cover > base).nonzero().flatten()
        chosen = lazy_argmax(bounds, gains_of, max(len(risen), CANDIDATE_BATCH))
        if chosen is None:
            gains -= gain_decreases(kernel, candidates, risen, base, cover, weights)
            bounds, base = gains.clone(), cover
            bounds[picks] = -torch.inf
            chosen = lazy_argmax(bounds, gains_of, len(bounds))
        cover = torch.maximum(cover, kernel(candidates[[chosen]], everything)[0])
        bounds[chosen] = -torch.inf
        picks.append(chosen)
    return candidates[picks].tolist(), cover


def coverage_gains(rows: torch.Tensor, cover: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """What each of some images would add: kernel rows (r, N) -> (r,)."""
    return (rows - cover).clamp_(min=0) @ weights


def gain_decreases(kernel, candidates, risen, base, cover, weights) -> torch.Tensor:
    """By how much each candidate's gain has shrunk since the cover was `base`: (M,) float64."""
    total = torch.zeros(len(candidates), dtype=torch.float64, device=cover.device)
    for some in risen.split(max(MAX_KERNEL_VALUES // len(candidates), 1)):
        shrunk = torch.minimum(kernel(candidates, some), cover[some])
        total += shrunk.sub_(base[some]).clamp_(min=0) @ weights[some]
    return total


def lazy_argmax(bounds: torch.Tensor, gains_of: Callable, limit: int) -> int | None:
    """The first of the candidates whose gain is the largest but for rounding.

    bounds: (M,), never below the gains, -inf for who is out; brought up to date where `gains_of`,
    indices -> gains, is asked.  None where more than `limit` would have to be looked at."""
    fresh = torch.zeros_like(bounds, dtype=torch.bool)
    best, chosen, seen = -torch.inf, 0, 0
    while True:
        stale = bounds.masked_fill(fresh, -torch.inf)
        largest = float(stale.max())
        if largest < best - rounding_tolerance(best) or largest == -torch.inf:
            return chosen
        near = (
            (stale >= largest - rounding_tolerance(largest)).nonzero().flatten()[:CANDIDATE_BATCH]
        )  # ties, in order
        if largest <= best + rounding_tolerance(best) and near[0] > chosen:
            return chosen
        some = torch.cat([near, stale.topk(min(CANDIDATE_BATCH, len(stale))).indices]).unique()
        some = some[stale[some] > -torch.inf]
        seen += len(some)
        if seen > limit + CANDIDATE_BATCH:
            return None
        bounds[some] = gains_of(some).to(bounds.dtype)
        fresh[some] = True
        now = torch.where(fresh, bounds, -torch.inf)
        best = float(now.max())
        chosen = int((now >= best - rounding_tolerance(best)).nonzero()[0])


def rounding_tolerance(gain: float) -> float:
    """What two equal gains may differ by."""
    return GAIN_TOLERANCE + 1e-5 * abs(gain) if gain > -torch.inf else 0.0


def select_covering_images(kernel: Callable, labels, budget: int, device, weights=None):
    """`greedy` with the labeled images in S and the others for candidates.

    labels: (N,) numpy, -1 where unknown -> picks, cover (N,)"""
    labels = torch.as_tensor(labels.copy(), device=device)
    everything = torch.arange(len(labels), device=device)
    cover = torch.zeros(len(labels), device=device)
    known = everything[labels >= 0]
    for some in known.split(max(MAX_KERNEL_VALUES // len(labels), 1)) if len(known) else ():
        cover = torch.maximum(cover, kernel(some, everything).amax(dim=0))
    return maximize_coverage(kernel, cover, everything[labels < 0], budget, weights)


def make_gaussian_kernel(x: torch.Tensor, sigma: float) -> Callable:
    """The kernel exp(−‖x_i − x_j‖² / σ²) of (N, d) features, for `greedy`."""
    apart = make_squared_distance(x)
    return lambda rows, columns: apart(rows, columns).div_(-(sigma**2)).exp_()


def make_squared_distance(x: torch.Tensor) -> Callable:
    """rows (r,), columns (c,) of (N, d) features -> (r, c), never below zero."""
    lengths = x.square().sum(dim=1)

    def between(rows, columns):
        others = x if len(columns) == len(x) else x[columns]
        found = torch.addmm(lengths[columns][None], x[rows], others.T, alpha=-2)
        return found.add_(lengths[rows, None]).clamp_(min=0)

    return between
