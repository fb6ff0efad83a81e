"""Images, features and labels made from a seed; nothing is downloaded."""

import numpy as np
import torch

from data.augment import ImageStore

CLASSES = 10


def make_features(n: int, dim: int, device: str) -> torch.Tensor:
    """Features of unit length in CLASSES overlapping clusters: (n, dim) float32."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(CLASSES, dim)).astype(np.float32)
    rows = rng.normal(size=(n, dim)).astype(np.float32)
    rows *= 1.5
    rows += centers[np.arange(n) % CLASSES]
    return torch.nn.functional.normalize(torch.from_numpy(rows).to(device))


def make_labels(n: int, per_class: int) -> np.ndarray:
    """(n,) int64 labels of the first images of each cluster, -1 elsewhere."""
    labels = np.full(n, -1)
    labels[: CLASSES * per_class] = np.arange(CLASSES * per_class) % CLASSES
    return labels


def make_images(n: int, device: str) -> ImageStore:
    """n images of 32 x 32 in colour, of random pixels."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return ImageStore(pixels.to(device), [0.5] * 3, [0.25] * 3, max_shift=4, flip=True)
