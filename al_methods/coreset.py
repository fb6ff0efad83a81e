"""Core-set selection by greedy k-center.

Source: Sener & Savarese, "Active learning for convolutional neural networks: a core-set approach",
ICLR 2018, algorithm 1.  The labeled images are the first centers; each pick is the image farthest
(Euclidean, between features) from its nearest center.

Distances to the nearest center only shrink, so what is near one already is not picked soon.  A
round looks at the farthest images alone, until none of them is farther than all others were when it
began; then its picks are compared with all images, in one product.
"""

import numpy as np
import torch

CENTERS_PER_PRODUCT = 128  # per product with all images
MAX_CANDIDATES = (
    64  # images per product of a round, and fewer for a budget that has no use for them
)
ROUND_DIVISOR = (
    8  # a round looks at a share of 1 / SHARE of the images, and at twice as many after one of
)
MIN_ROUND_PICKS = 32  # fewer picks than these


def pick(*, features: torch.Tensor, labels: np.ndarray, budget: int, rng=None) -> np.ndarray:
    """features: (N, d) float32; labels: (N,) int64, -1 where unknown -> (budget,) int64.

    Squared distances, ‖x − c‖² = ‖x‖² + ‖c‖² − 2 x·c, keep the order.  The picks are those of one
    image at a time.  All on the device of the features."""
    lengths = features.square().sum(dim=1)  # (N,) squared
    nearest = torch.full_like(lengths, torch.inf)  # squared distance to a center
    centers = torch.as_tensor(np.flatnonzero(labels >= 0), device=features.device)
    picks, looked_at = [], -(-len(features) // ROUND_DIVISOR)
    while len(picks) < budget:
        for some in centers.split(CENTERS_PER_PRODUCT) if len(centers) else ():
            torch.minimum(
                nearest, squared_distances(features, lengths, some).amin(dim=0), out=nearest
            )
        nearest[centers] = -torch.inf
        floor = float(nearest.topk(min(looked_at, len(nearest))).values[-1])
        far = (nearest >= floor - rounding_slack(float(nearest.max()))).nonzero().flatten()
        found = greedy_k_center_round(
            features[far], lengths[far], nearest[far], floor, budget - len(picks)
        )
        centers = far[found]
        picks += centers.tolist()
        if len(found) < MIN_ROUND_PICKS:
            looked_at *= 2
    return np.array(picks, dtype=np.int64)


def greedy_k_center_round(features, lengths, nearest, floor: float, budget: int) -> list[int]:
    """Greedy k-center of some images, up to `budget`, as long as the pick is beyond `floor`; one at
    least.  (M, d), (M,), (M,), which is changed -> indices into them, in order.

    Distances to the farthest few come from one product, and serve for as long as the farthest is
    among them."""
    picks, rows, width = [], {}, min(MAX_CANDIDATES, max(budget // 4, 16))
    while len(picks) < budget:
        chosen = _farthest_image(nearest, features)
        if picks and nearest[chosen] <= floor:
            break
        picks.append(chosen)
        if chosen not in rows:
            candidates = nearest.topk(min(width, budget - len(picks) + 1, len(nearest)))
            candidates = [chosen, *(one for one in candidates.indices.tolist() if one != chosen)]
            centers = torch.tensor(candidates, device=features.device)
            rows = dict(zip(candidates, squared_distances(features, lengths, centers), strict=True))
        torch.minimum(nearest, rows[chosen], out=nearest)
        nearest[chosen] = -torch.inf
    return picks


def squared_distances(features, lengths, centers) -> torch.Tensor:
    """Squared distances of all images to some: (N, d), (N,), (c,) -> (c, N)."""
    return torch.addmm(lengths[None], features[centers], features.T, alpha=-2).add_(
        lengths[centers, None]
    )


def _farthest_image(nearest: torch.Tensor, features: torch.Tensor) -> int:
    """argmax, the lower index of exact duplicates even where their products were rounded apart."""
    best = int(nearest.argmax())
    largest = float(nearest[best])
    if not np.isfinite(largest):
        return best
    near = torch.nonzero(nearest[:best] >= largest - rounding_slack(largest)).flatten()
    if not len(near):
        return best
    twins = near[(features[near] == features[best]).all(dim=1)]
    return int(twins[0]) if len(twins) else best


def rounding_slack(distance: float) -> float:
    """What the squared distances of duplicates may be rounded apart by."""
    return 1e-5 * max(1.0, abs(distance)) if np.isfinite(distance) else 0.0
