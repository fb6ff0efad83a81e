"""A data set made ready for a run: images on their device, the initial split, the judges."""

from dataclasses import dataclass

import numpy as np
import torch

from data import splits
from data.augment import ImageBatches, channel_statistics
from data.spec import DatasetSpec

VALIDATION_IMAGES = 50  # a class, with --use-val-set


@dataclass(frozen=True)
class Problem:
    """What active learning is done on.  N: training images, the validation set taken out."""

    images: ImageBatches  # of N
    everything: ImageBatches  # with the validation set, for pre-training, which every split shares
    oracle: np.ndarray  # (N,) int64, the true labels: for main alone
    ids: np.ndarray  # (N,) int64, the index in the data set of each training image
    initial: np.ndarray  # indices into images, labeled at the start
    judges: dict[str, tuple[ImageBatches, np.ndarray]]  # column prefix -> images, labels


def load_problem(
    spec: DatasetSpec, root: str, *, name: str, split: int, size: int, validation: bool, rng, device
) -> Problem:
    """Read the data set and the split number `split` of `size` labels; nothing is written.

    rng draws the validation set.  Raises UserError for whatever is wrong with either."""
    train, test = spec.load(root)
    chosen = splits.read_or_balance(name, train.labels, spec.num_classes, size, split)
    held_out = np.empty(0, dtype=np.int64)
    if validation:
        held_out = splits.hold_out(train.labels, chosen, VALIDATION_IMAGES, rng)
    ids = np.setdiff1d(np.arange(len(train.labels)), held_out)
    mean, std = (spec.mean, spec.std) if spec.mean else channel_statistics(train.pixels)

    def on_device(some: torch.Tensor, **augmentation) -> ImageBatches:
        return ImageBatches(some.to(device), mean, std, **augmentation)

    judges = {"": (on_device(test.pixels), test.labels)}
    if validation:
        judges["val_"] = (on_device(train.pixels[held_out]), train.labels[held_out])
    augmentation = {"max_shift": spec.max_shift, "flip": spec.flip}
    everything = images = on_device(train.pixels, **augmentation)
    if validation:
        images = on_device(train.pixels[ids], **augmentation)
    initial = np.searchsorted(ids, chosen)
    return Problem(images, everything, train.labels[ids], ids, initial, judges)
