"""Core-set selection by greedy k-center.

Source: Sener & Savarese, "Active learning for convolutional neural networks: a core-set approach",
ICLR 2018, algorithm 1.  The labeled images are the first centers; each pick is the image farthest
(Euclidean, between features) from its nearest center.
"""

import numpy as np
import torch

CENTERS = 128  # labeled centers per product when the minima are first computed
CANDIDATES = 64  # images per product when picking, and fewer for a budget that has no use for them


def pick(*, features: torch.Tensor, labels: np.ndarray, budget: int, rng=None) -> np.ndarray:
    """features: (N, d) float32; labels: (N,) int64, -1 where unknown -> (budget,) int64.

    Squared distances, ‖x − c‖² = ‖x‖² + ‖c‖² − 2 x·c, keep the order.  Those to the farthest few
    images come from one product, and serve for as long as the farthest is among them: the picks are
    those of one image at a time.  All on the device of the features."""
    lengths = features.square().sum(dim=1)  # (N,) squared
    nearest = torch.full_like(lengths, torch.inf)  # squared distance to a center
    labeled = torch.as_tensor(np.flatnonzero(labels >= 0), device=features.device)
    for centers in labeled.split(CENTERS) if len(labeled) else ():
        torch.minimum(nearest, distances(features, lengths, centers).amin(dim=0), out=nearest)
    nearest[labeled] = -torch.inf
    picks, rows, width = [], {}, min(CANDIDATES, max(budget // 4, 16))
    for i in range(budget):
        chosen = _farthest(nearest, features)
        picks.append(chosen)
        if chosen not in rows:
            candidates = nearest.topk(min(width, budget - i)).indices.tolist()
            candidates = [chosen, *(image for image in candidates if image != chosen)]
            centers = torch.tensor(candidates, device=features.device)
            rows = dict(zip(candidates, distances(features, lengths, centers), strict=True))
        torch.minimum(nearest, rows[chosen], out=nearest)
        nearest[chosen] = -torch.inf
    return np.array(picks, dtype=np.int64)


def distances(features, lengths, centers) -> torch.Tensor:
    """Squared distances of all images to some: (N, d), (N,), (c,) -> (c, N)."""
    return torch.addmm(lengths[None], features[centers], features.T, alpha=-2).add_(
        lengths[centers, None]
    )


def _farthest(nearest: torch.Tensor, features: torch.Tensor) -> int:
    """argmax, the lower index of exact duplicates even where their products were rounded apart."""
    best = int(nearest.argmax())
    largest = float(nearest[best])
    if not np.isfinite(largest):
        return best
    slack = 1e-5 * max(1.0, abs(largest))
    near = torch.nonzero(nearest[:best] >= largest - slack).flatten()
    if not len(near):
        return best
    twins = near[(features[near] == features[best]).all(dim=1)]
    return int(twins[0]) if len(twins) else best
