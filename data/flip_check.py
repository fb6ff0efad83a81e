"""Does a mirrored image keep its class?  Without labels one can test whether it looks like an image
of the data set.

The mirror image of most things that a camera sees from the side is as close to its neighbours as
the image itself; that of a digit or a letter is not, because it is not a digit.  The median ratio
of the two mean distances to the NUM_NEIGHBORS nearest images was 1.60 for digits and 1.29 for
MNIST, but 1.12 for 100 faces, 1.01 for emoji and 1.02 for windows of photographs; the limit lies
between the two groups.  The test cannot detect classes that are each other's mirror images, such
as b and d, or arrows.
"""

import numpy as np
import torch

from data.memmap import MemmapImages

MAX_IMAGES = 2000  # a sample is enough for the median
NUM_NEIGHBORS = 5
MAX_FLIP_DISTANCE_RATIO = 1.2  # mirror images belong to the data up to this ratio


def flip_distance_ratio(pixels: torch.Tensor | MemmapImages) -> float:
    """How much farther a mirrored image is from the other images than the image itself.

    The median over up to MAX_IMAGES images, evenly spaced in the data.  Identical images count
    once.  pixels: (N, C, H, W) uint8 -> the ratio; 1 means not farther, and is also returned for
    fewer than three distinct images."""
    chosen = np.linspace(0, len(pixels) - 1, min(MAX_IMAGES, len(pixels))).astype(np.int64)
    x = torch.unique(pixels[chosen], dim=0).float()
    if len(x) < 3:
        return 1.0
    near = _mean_neighbor_distance(x.flatten(1), x.flatten(1))
    far = _mean_neighbor_distance(x.flip(3).flatten(1), x.flatten(1))
    ratios = far / near
    return float(ratios[near > 0].median()) if (near > 0).any() else 1.0


def _mean_neighbor_distance(queries: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The mean distance of each query (n, d) from its nearest images in x (n, d), without the image
    of the same index: (n,)."""
    distances = torch.cdist(queries, x).fill_diagonal_(torch.inf)
    return distances.topk(min(NUM_NEIGHBORS, len(x) - 1), largest=False).values.mean(dim=1)
