"""Which images form the batches of an epoch: streams of index arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from data.augment import AUGMENTATIONS, ImageStore
from data.pool import Pool, Targets
from training.losses import Batch
from utils.errors import UserError
from utils.options.converters import non_negative_integer, positive_integer
from utils.options.option import OptionGroup, OptionValues, option

MAX_BATCH_LIST_BYTES = (
    2**30
)  # bytes that an epoch's batches may take: all are listed before the first


def check_batch_list_size(batches: int, size: int, words: str) -> None:
    """Raises UserError where `batches` of `size` images, asked for by `words`, are too many."""
    needed = batches * (8 * size + 128)  # int64 indices, and what numpy needs for an array
    if needed > MAX_BATCH_LIST_BYTES:
        raise UserError(
            f"{words}: to list the images of an epoch takes {needed / 2**30:,.0f} GiB, of at most "
            f"{MAX_BATCH_LIST_BYTES / 2**30:.0f}: ask for fewer steps, or smaller batches"
        )


@dataclass(frozen=True)
class BatchOptions(OptionGroup):
    """The size and number of batches."""

    section = "training"
    batch_size: int = option(
        32,
        "Number of images per training batch.",
        type=positive_integer,
        flags=("-b", "--b", "--batch-size"),
        metavar="N",
    )
    steps_per_epoch: int = option(
        0,
        "Number of steps per epoch; 0: one pass over the images.",
        type=non_negative_integer,
        metavar="N",
    )

    def check_data(self, options: OptionValues, dataset: Any) -> None:
        size = min(self.batch_size, len(dataset.images))
        given = f"--steps-per-epoch {self.steps_per_epoch} of --batch-size {self.batch_size}"
        check_batch_list_size(self.steps_per_epoch, size, given)


def make_shuffled_batches(
    indices: np.ndarray, batch_size: int, rng, steps: int = 0
) -> list[np.ndarray]:
    """Batches over `indices` in random order, none larger than `batch_size` or than `indices`.

    steps 0: one pass, each image once, the batches at most one apart (a short last one would be
    noise to batch norm); else that many full batches, over as many passes as it takes."""
    if not steps:
        return np.array_split(rng.permutation(indices), -(-len(indices) // batch_size))
    size = min(batch_size, len(indices))
    return np.split(cycle_indices(indices, steps * size, rng), steps)


def cycle_indices(indices: np.ndarray, count: int, rng) -> np.ndarray:
    """`count` of `indices` in random order, none a second time before all have come once."""
    passes = -(-count // len(indices))
    return np.concatenate([rng.permutation(indices) for _ in range(passes)])[:count]


def batches_of_used_images(
    targets: Targets, pool: Pool, rng: np.random.Generator, *, batch: BatchOptions
) -> list[np.ndarray]:
    """Index arrays over all images that the targets use."""
    used = np.flatnonzero(targets.labels >= 0)
    return make_shuffled_batches(used, batch.batch_size, rng, batch.steps_per_epoch)


class BatchLoader:
    """An epoch of batches, augmented, on the images' device: a Batch a view each.

    images: ImageBatches of N; targets: Targets over the same N; streams: a batch each, index
    arrays, or tuples with one for each view, or for the first views alone; rng: for the
    augmentation; views: the names of augment.VIEWS that a batch shows."""

    def __init__(
        self,
        images: ImageStore,
        targets: Targets,
        epoch_batches: list,
        rng,
        augmentations=("weak",),
    ):
        self.images, self.epoch_batches, self.rng, self.augmentations = (
            images,
            epoch_batches,
            rng,
            augmentations,
        )
        wanted = targets.labels if targets.soft_labels is None else targets.soft_labels
        self.targets = torch.tensor(wanted, device=images.device)
        weights, used = targets.weights.copy(), targets.labels >= 0
        weights[used] *= targets.class_weights[targets.labels[used]]
        self.weights = torch.tensor(weights, device=images.device)

    def __len__(self) -> int:
        return len(self.epoch_batches)

    def __iter__(self):
        for stream in self.epoch_batches:
            parts = stream if isinstance(stream, tuple) else (stream,) * len(self.augmentations)
            yield tuple(map(self._make_batch, self.augmentations, parts))

    def _make_batch(self, view: str, indices: np.ndarray) -> Batch:
        chosen = torch.as_tensor(indices, device=self.images.device)
        batch = AUGMENTATIONS[view](self.images, indices, self.rng)
        return Batch(batch, self.targets[chosen], self.weights[chosen])
