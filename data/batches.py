"""Which images form the batches of an epoch, as index arrays, and the batches themselves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from data.augment import AUGMENTATIONS, ImageStore
from data.feature_vectors import FeatureStore
from data.pool import Pool, Targets
from training.losses import Batch
from utils.errors import UserError
from utils.options.converters import non_negative_integer, positive_integer
from utils.options.option import OptionGroup, OptionValues, option

# All index arrays of an epoch are made before its first step.
MAX_BATCH_LIST_BYTES = 2**30


def check_batch_list_size(batches: int, size: int, words: str) -> None:
    """Raises UserError where the index arrays of an epoch would take too much memory.

    size: images per batch; words: the options that cause it, for the message."""
    needed = batches * (8 * size + 128)  # int64 indices, and numpy's overhead per array
    if needed > MAX_BATCH_LIST_BYTES:
        raise UserError(
            f"{words}: the image indices of one epoch need {needed / 2**30:,.0f} GiB of memory, "
            f"above the limit of {MAX_BATCH_LIST_BYTES / 2**30:.0f} GiB; ask for fewer steps or "
            "smaller batches"
        )


def _fitting_batch_size(options: OptionValues, data: Any) -> int:
    """The default, or all images where an algorithm needs full batches of more than there are."""
    size: int = options.batch_size
    needs_full = options.add_fixmatch
    if options.add_lp and not options.is_explicit("labeled_batch_size"):
        needs_full = (options.labeled_batch_size or 0) > data.images
    return max(min(size, data.images), 2) if needs_full else size


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
        default_for_data=_fitting_batch_size,
    )
    steps_per_epoch: int = option(
        0,
        "Number of steps per epoch; 0: one pass over the images.",
        type=non_negative_integer,
        metavar="N",
    )

    def check_data(self, options: OptionValues, dataset: Any) -> None:
        size = min(self.batch_size, len(dataset.images))
        words = f"--steps-per-epoch {self.steps_per_epoch} with --batch-size {self.batch_size}"
        check_batch_list_size(self.steps_per_epoch, size, words)


def make_shuffled_batches(
    indices: np.ndarray, batch_size: int, rng: np.random.Generator, steps: int = 0
) -> list[np.ndarray]:
    """Batches over `indices` in random order, each at most as large as `batch_size` and `indices`.

    steps 0: one pass that shows each image once, in batches whose sizes differ by at most one (a
    short last batch would be noise to batch normalisation).  Otherwise `steps` full batches, from
    as many passes as needed."""
    if not steps:
        return np.array_split(rng.permutation(indices), -(-len(indices) // batch_size))
    size = min(batch_size, len(indices))
    return np.split(cycle_indices(indices, steps * size, rng), steps)


def cycle_indices(indices: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of `indices` in random order; none is repeated before all have been used."""
    passes = -(-count // len(indices))
    return np.concatenate([rng.permutation(indices) for _ in range(passes)])[:count]


def batches_of_used_images(
    targets: Targets, pool: Pool, rng: np.random.Generator, *, batch: BatchOptions
) -> list[np.ndarray]:
    """Index arrays of an epoch over all images that the targets use."""
    used = np.flatnonzero(targets.labels >= 0)
    return make_shuffled_batches(used, batch.batch_size, rng, batch.steps_per_epoch)


class BatchLoader:
    """The augmented batches of an epoch on the images' device: one Batch per augmentation.

    images: N of them; targets: for the same N.
    epoch_batches: one entry per step: an index array, or a tuple of index arrays, one per
    augmentation or for the first augmentations only.
    rng: for the augmentation; augmentations: the names in augment.AUGMENTATIONS that a batch
    shows."""

    def __init__(
        self,
        images: ImageStore | FeatureStore,
        targets: Targets,
        epoch_batches: Sequence[np.ndarray | tuple[np.ndarray, ...]],
        rng: np.random.Generator,
        augmentations: Sequence[str] = ("weak",),
    ):
        self.images = images
        self.epoch_batches = epoch_batches
        self.rng = rng
        self.augmentations = augmentations
        hard_or_soft = targets.labels if targets.soft_labels is None else targets.soft_labels
        self.targets = torch.tensor(hard_or_soft, device=images.device)
        weights, used = targets.weights.copy(), targets.labels >= 0
        weights[used] *= targets.class_weights[targets.labels[used]]
        self.weights = torch.tensor(weights, device=images.device)

    def __len__(self) -> int:
        return len(self.epoch_batches)

    def __iter__(self) -> Iterator[tuple[Batch, ...]]:
        for step in self.epoch_batches:
            parts = step if isinstance(step, tuple) else (step,) * len(self.augmentations)
            yield tuple(map(self._make_batch, self.augmentations, parts))

    def _make_batch(self, augmentation: str, indices: np.ndarray) -> Batch:
        rows = torch.as_tensor(indices, device=self.images.device)
        batch = AUGMENTATIONS[augmentation](self.images, indices, self.rng)
        return Batch(batch, self.targets[rows], self.weights[rows])
