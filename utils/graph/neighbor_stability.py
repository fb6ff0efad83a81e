"""A measure of the quality of features that needs no labels: how stable nearest neighbours are.

Good features keep an image's neighbours when all images are augmented.  Raw pixels and untrained
networks keep few.  Collapsed features, where all images are equally near, score zero.  The
augmentation is strong: features that represent only texture survive shifts better than good ones.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from utils.seeding import rng_for
from utils.torch_faiss import torch

MAX_IMAGES = 2000  # a sample of larger data sets is compared
NUM_NEIGHBORS = 10
BATCH_SIZE = 512


@torch.inference_mode()
def neighbor_agreement(
    features_of: Callable[[torch.Tensor], torch.Tensor], images: Any, seed: int
) -> torch.Tensor:
    """Share of the nearest neighbours that stay neighbours when all images are augmented: a scalar
    in [0, 1]; 1 for fewer than three images.

    features_of: function from a batch (B, c, H, W) to features (B, d).
    images: data.augment.ImageStore."""
    chosen = np.linspace(0, len(images) - 1, min(MAX_IMAGES, len(images))).astype(np.int64)
    if len(chosen) < 3:
        return torch.ones(())
    parts = np.array_split(chosen, -(-len(chosen) // BATCH_SIZE))
    # At most half of the images: two sets of nearly all images always overlap.
    k = min(NUM_NEIGHBORS, (len(chosen) - 1) // 2)
    rng, neighbors, is_distinct = rng_for(seed, "agreement"), [], []
    for make_batch in (images.plain_batch, lambda part: images.strong_batch(part, rng)):
        x = torch.cat([features_of(make_batch(part)).float() for part in parts])
        x = torch.nn.functional.normalize(x)
        similarities = (x @ x.T).fill_diagonal_(-torch.inf)
        nearest = similarities.topk(k)
        neighbors.append(nearest.indices)
        # An image that is equally near to all others has no neighbours.
        least = similarities.fill_diagonal_(torch.inf).amin(1, keepdim=True)
        is_distinct.append(nearest.values[:, -1:] > least)
    stable = (neighbors[0][:, :, None] == neighbors[1][:, None]).any(dim=2)
    return (stable & is_distinct[0] & is_distinct[1]).float().mean()
