"""Core-set selection by greedy k-center.

Source: Sener & Savarese, "Active learning for convolutional neural networks: a core-set approach",
ICLR 2018, algorithm 1.  The labeled images are the first centers; each pick is the image that is
farthest (Euclidean distance between features) from its nearest center.

Distances to the nearest center only shrink, so an image near a center is not picked soon.  A round
therefore considers the farthest images alone, until none of them is farther than all others were at
its beginning.  Its picks are then compared with all images in one product.
"""

import numpy as np
import torch

CENTERS_PER_PRODUCT = 128  # centers compared with all images at a time
MAX_CANDIDATES = 64  # images per product within a round; fewer for small budgets
ROUND_DIVISOR = 8  # the first round considers a share of 1 / ROUND_DIVISOR of the images
MAX_OFFSET_RATIO = 16.0  # squared length of the mean to the variance, up to which nothing cancels
MIN_SIZE, MAX_SIZE = 1e-12, 1e15  # largest absolute value whose squares float32 holds well
MIN_ROUND_PICKS = 32  # after a round with fewer picks, the next considers twice as many images


def pick(
    *,
    features: torch.Tensor,
    labels: np.ndarray,
    budget: int,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Images to label next, in order: (budget,) int64.

    features: (N, d) float32; labels: (N,) int64, -1 where unknown.  Distances are compared as
    ‖x − c‖² = ‖x‖² + ‖c‖² − 2 x·c, which keeps their order.  The picks equal those of the
    algorithm that picks one image at a time.  Computes on the device of the features."""
    features = condition_for_distances(features)
    lengths = features.square().sum(dim=1)  # (N,) squared
    nearest = torch.full_like(lengths, torch.inf)  # squared distance to the nearest center
    centers = torch.as_tensor(np.flatnonzero(labels >= 0), device=features.device)
    picks: list[int] = []
    round_size = -(-len(features) // ROUND_DIVISOR)
    while len(picks) < budget:
        for part in centers.split(CENTERS_PER_PRODUCT) if len(centers) else ():
            squares = squared_distances(features, lengths, part).amin(dim=0)
            torch.minimum(nearest, squares, out=nearest)
        nearest[centers] = -torch.inf
        floor = float(nearest.topk(min(round_size, len(nearest))).values[-1])
        far = (nearest >= floor - rounding_slack(float(nearest.max()))).nonzero().flatten()
        chosen = greedy_k_center_round(
            features[far], lengths[far], nearest[far], floor, budget - len(picks)
        )
        centers = far[chosen]
        picks += centers.tolist()
        if len(chosen) < MIN_ROUND_PICKS:
            round_size *= 2
    return np.array(picks, dtype=np.int64)


def condition_for_distances(features: torch.Tensor) -> torch.Tensor:
    """Features (N, d) with the same order of distances, which float32 products can compute.

    Without a mean that is large beside the spread, from which the difference of two products would
    lose all digits, and without values whose squares overflow or vanish.  Other features, among
    them those of networks, are returned as they are."""
    size = float(features.abs().max())
    if not MIN_SIZE < size < MAX_SIZE and np.isfinite(size) and size > 0:
        features = features * 2.0 ** -np.floor(np.log2(size))  # a power of two: no rounding
    mean = features.double().mean(dim=0)
    centred = features.double().sub_(mean)
    variance = float(centred.square().sum(dim=1).mean())
    if float(mean.square().sum()) > MAX_OFFSET_RATIO * variance:
        return centred.to(features.dtype)
    return features


def greedy_k_center_round(
    features: torch.Tensor,
    lengths: torch.Tensor,
    nearest: torch.Tensor,
    floor: float,
    budget: int,
) -> list[int]:
    """Greedy k-center among M images: at least one pick, at most `budget`, each but the first
    farther than `floor` from its nearest center.

    features: (M, d); lengths: (M,), squared; nearest: (M,), squared distance to the nearest center,
    updated in place -> indices into these M images, in order.  Distances to the farthest few images
    come from one product, and are used for as long as the farthest image is among them."""
    picks: list[int] = []
    rows: dict[int, torch.Tensor] = {}
    width = min(MAX_CANDIDATES, max(budget // 4, 16))
    while len(picks) < budget:
        chosen = _farthest_image(nearest, features)
        if picks and nearest[chosen] <= floor:
            break
        picks.append(chosen)
        if chosen not in rows:
            farthest = nearest.topk(min(width, budget - len(picks) + 1, len(nearest))).indices
            candidates = [chosen, *(image for image in farthest.tolist() if image != chosen)]
            centers = torch.tensor(candidates, device=features.device)
            rows = dict(zip(candidates, squared_distances(features, lengths, centers), strict=True))
        torch.minimum(nearest, rows[chosen], out=nearest)
        nearest[chosen] = -torch.inf
    return picks


def squared_distances(
    features: torch.Tensor, lengths: torch.Tensor, centers: torch.Tensor
) -> torch.Tensor:
    """Squared distances of the centers to all images: (N, d), (N,), (c,) -> (c, N)."""
    return torch.addmm(lengths[None], features[centers], features.T, alpha=-2).add_(
        lengths[centers, None]
    )


def _farthest_image(nearest: torch.Tensor, features: torch.Tensor) -> int:
    """argmax; of exact duplicates the lowest index, even where rounding makes them differ."""
    best = int(nearest.argmax())
    largest = float(nearest[best])
    if not np.isfinite(largest):
        return best
    near = torch.nonzero(nearest[:best] >= largest - rounding_slack(largest)).flatten()
    if not len(near):
        return best
    duplicates = near[(features[near] == features[best]).all(dim=1)]
    return int(duplicates[0]) if len(duplicates) else best


def rounding_slack(distance: float) -> float:
    """By how much rounding may separate the squared distances of duplicates."""
    return 1e-5 * max(1.0, abs(distance)) if np.isfinite(distance) else 0.0
