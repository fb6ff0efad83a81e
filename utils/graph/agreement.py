"""How far images and their strongly augmented views agree about who is near whom: what can be told
of features without a label.

For images spread over the data, the part of the K nearest neighbours that stay neighbours when all
images are augmented.  Features that see what a class keeps agree; pixels, and a network that has
learned nothing, hardly do.  A weak view would not do: features that have lost all but textures
agree on shifted images better than good ones.
"""

from collections.abc import Callable

import numpy as np

from utils.seeding import stream
from utils.torch_faiss import torch

IMAGES, K, BATCH = 2000, 10, 512  # looked at, neighbours, at a time


@torch.inference_mode()
def agreement(features_of: Callable, images, seed: int) -> torch.Tensor:
    """A number in [0, 1].  features_of: a batch (B, c, H, W) -> (B, d); images:
    data.augment.ImageBatches."""
    chosen = np.linspace(0, len(images) - 1, min(IMAGES, len(images))).astype(np.int64)
    parts, k = np.array_split(chosen, -(-len(chosen) // BATCH)), min(K, len(chosen) - 1)
    rng, near = stream(seed, "agreement"), []
    for view in (images.plain, lambda part: images.strong(part, rng)):
        x = torch.cat([features_of(view(part)).float() for part in parts])
        x = torch.nn.functional.normalize(x)
        near.append((x @ x.T).fill_diagonal_(-torch.inf).topk(k).indices)
    return (near[0][:, :, None] == near[1][:, None]).any(dim=2).float().mean()
