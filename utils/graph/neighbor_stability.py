"""How far images and their strongly augmented views agree about who is near whom: what can be told
of features without a label.

For images spread over the data, the part of the K nearest neighbours that stay neighbours when all
images are augmented.  Features that see what a class keeps agree; pixels, and a network that has
learned nothing, hardly do; and an image to which all are as near, as in features that have
collapsed, agrees with none.  A weak view would not do: features that have lost all but textures
agree on shifted images better than good ones.
"""

from collections.abc import Callable

import numpy as np

from utils.seeding import rng_for
from utils.torch_faiss import torch

MAX_IMAGES, NUM_NEIGHBORS, BATCH_SIZE = 2000, 10, 512  # looked at, neighbours, at a time


@torch.inference_mode()
def neighbor_agreement(features_of: Callable, images, seed: int) -> torch.Tensor:
    """A number in [0, 1]; 1 of fewer than three images, which can only agree.

    features_of: a batch (B, c, H, W) -> (B, d); images: data.augment.ImageBatches."""
    chosen = np.linspace(0, len(images) - 1, min(MAX_IMAGES, len(images))).astype(np.int64)
    if len(chosen) < 3:
        return torch.ones(())
    # Of few images a half: among all others any two views agree.
    parts, k = (
        np.array_split(chosen, -(-len(chosen) // BATCH_SIZE)),
        min(NUM_NEIGHBORS, (len(chosen) - 1) // 2),
    )
    rng, near, tell = rng_for(seed, "agreement"), [], []
    for view in (images.plain_batch, lambda part: images.strong_batch(part, rng)):
        x = torch.cat([features_of(view(part)).float() for part in parts])
        x = torch.nn.functional.normalize(x)
        similar = (x @ x.T).fill_diagonal_(-torch.inf)
        largest = similar.topk(k)
        near.append(largest.indices)
        tell.append(
            largest.values[:, -1:] > similar.fill_diagonal_(torch.inf).amin(1, keepdim=True)
        )
    same = (near[0][:, :, None] == near[1][:, None]).any(dim=2)
    return (same & tell[0] & tell[1]).float().mean()
