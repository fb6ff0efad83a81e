"""Does a mirrored image keep its class?  What can be told without a label: whether it could be one
of the data.

The mirror image of most things that a camera sees from the side is as near to its neighbours as the
image itself; that of a digit or a letter is not, it is no digit.  The median of how much farther
the K nearest images are was 1.60 for digits and 1.29 for MNIST, 1.12 for 100 faces, 1.01 for emoji
and 1.02 for windows of photographs; hence the bound between.  What it cannot tell: classes that
are each other's mirror images, such as b and d or arrows.
"""

import numpy as np
import torch

MAX_IMAGES, NUM_NEIGHBORS = 2000, 5  # looked at, neighbours
MAX_FLIP_DISTANCE_RATIO = 1.2  # up to which mirror images belong to the data


def flip_distance_ratio(pixels) -> float:
    """How much farther the other images are from a mirrored image than from the image, the median
    over images spread over the data.  pixels: (N, C, H, W) uint8, a tensor or data.memmap.Mapped ->
    1 where it is no farther, and for fewer than three images that differ; of images that are there
    more than once each counts once."""
    chosen = np.linspace(0, len(pixels) - 1, min(MAX_IMAGES, len(pixels))).astype(np.int64)
    x = torch.unique(pixels[chosen], dim=0).float()
    if len(x) < 3:
        return 1.0
    near, far = (_mean_neighbor_distance(view.flatten(1), x.flatten(1)) for view in (x, x.flip(3)))
    ratios = far / near
    return float(ratios[near > 0].median()) if (near > 0).any() else 1.0


def _mean_neighbor_distance(views: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The mean distance of each view (n, d) from the nearest images x (n, d) but its own: (n,)."""
    apart = torch.cdist(views, x).fill_diagonal_(torch.inf)
    return apart.topk(min(NUM_NEIGHBORS, len(x) - 1), largest=False).values.mean(dim=1)
