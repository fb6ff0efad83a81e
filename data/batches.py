"""Which images form the batches of an epoch: streams of index arrays."""

import numpy as np
import torch

from data.augment import ImageBatches
from data.pool import Pool, Targets


def one_stream(indices: np.ndarray, batch_size: int, rng, steps: int = 0) -> list[np.ndarray]:
    """Batches over `indices` in random order, none larger than `batch_size` or than `indices`.

    steps 0: one pass, each image once, the batches at most one apart (a short last one would be
    noise to batch norm); else that many full batches, over as many passes as it takes."""
    if not steps:
        return np.array_split(rng.permutation(indices), -(-len(indices) // batch_size))
    size = min(batch_size, len(indices))
    return np.split(cycled(indices, steps * size, rng), steps)


def cycled(indices: np.ndarray, count: int, rng) -> np.ndarray:
    """`count` of `indices` in random order, none a second time before all have come once."""
    passes = -(-count // len(indices))
    return np.concatenate([rng.permutation(indices) for _ in range(passes)])[:count]


def epoch_streams(
    targets: Targets,
    pool: Pool,
    batch_size: int,
    *,
    rng: np.random.Generator,
    labeled_batch_size: int | None = None,
    steps: int = 0,
    by_weight: bool = False,
) -> list[np.ndarray]:
    """The batches of an epoch over all images that the targets use.

    labeled_batch_size None: one stream over them (supervised, CEAL); else every batch is that many
    labeled images, cycled, and the rest pseudo-labeled, and an epoch is one pass over the
    pseudo-labeled ones (label propagation); by_weight: these are drawn with replacement, with
    probability ∝ weight, instead."""
    used = np.flatnonzero(targets.labels >= 0)
    pseudo = used[pool.labels[used] < 0]
    if not labeled_batch_size or not len(pseudo):
        return one_stream(used, batch_size, rng, steps)
    size = batch_size - labeled_batch_size
    if by_weight:
        odds = targets.weights[pseudo].astype(np.float64)
        count = steps * min(size, len(pseudo)) or len(pseudo)
        drawn = rng.choice(pseudo, size=count, p=odds / odds.sum())
        parts = np.array_split(drawn, steps or -(-count // size))
    else:
        parts = one_stream(pseudo, size, rng, steps)
    labeled = np.split(cycled(pool.labeled, labeled_batch_size * len(parts), rng), len(parts))
    return [np.concatenate(pair) for pair in zip(labeled, parts, strict=True)]


class TrainingBatches:
    """An epoch of (images, targets, weights), augmented, on the images' device.

    images: ImageBatches of N; targets: Targets over the same N; streams: index arrays, one a
    batch; rng: for the augmentation."""

    def __init__(self, images: ImageBatches, targets: Targets, streams: list, rng):
        self.images, self.streams, self.rng = images, streams, rng
        wanted = targets.labels if targets.scores is None else targets.scores
        self.targets = torch.as_tensor(wanted, device=images.device)
        weights = targets.weights * targets.class_weights[targets.labels]
        self.weights = torch.as_tensor(weights, device=images.device)

    def __len__(self) -> int:
        return len(self.streams)

    def __iter__(self):
        for indices in self.streams:
            chosen = torch.as_tensor(indices, device=self.images.device)
            batch = self.images.augmented(indices, self.rng)
            yield batch, self.targets[chosen], self.weights[chosen]
