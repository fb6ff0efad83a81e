"""Which images form the batches of an epoch: streams of index arrays."""

import numpy as np
import torch

from data.augment import VIEWS, ImageBatches
from data.pool import Pool, Targets
from training.losses import Batch
from utils.errors import UserError
from utils.options.converters import natural, positive
from utils.options.option import Option, Part

LISTED = 2**30  # bytes that an epoch's batches may take: all are listed before the first


def require_listable(batches: int, size: int, words: str) -> None:
    """Raises UserError where `batches` of `size` images, asked for by `words`, are too many."""
    needed = batches * (8 * size + 128)  # int64 indices, and what numpy needs for an array
    if needed > LISTED:
        raise UserError(
            f"{words}: to list the images of an epoch takes {needed / 2**30:,.0f} GiB, of at most "
            f"{LISTED / 2**30:.0f}: ask for fewer steps, or smaller batches"
        )


def _fits(args, problem) -> None:
    steps, size = args.steps_per_epoch, min(args.batch_size, len(problem.images))
    require_listable(steps, size, f"--steps-per-epoch {steps} of --batch-size {args.batch_size}")


BATCHES = Part(
    "training",
    options=(
        Option(
            "batch_size",
            32,
            "batch size",
            kind=positive,
            flags=("-b", "--b", "--batch-size"),
            metavar="N",
        ),
        Option(
            "steps_per_epoch",
            0,
            "0: one pass; else that many steps",
            kind=natural,
            keyword="steps",
            metavar="N",
        ),
    ),
    fits=_fits,
)


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


def used_images(
    targets: Targets, pool: Pool, rng: np.random.Generator, *, batch_size: int = 32, steps: int = 0
) -> list[np.ndarray]:
    """One stream over all images that the targets use."""
    return one_stream(np.flatnonzero(targets.labels >= 0), batch_size, rng, steps)


class TrainingBatches:
    """An epoch of batches, augmented, on the images' device: a Batch a view each.

    images: ImageBatches of N; targets: Targets over the same N; streams: a batch each, index
    arrays, or tuples with one for each view, or for the first views alone; rng: for the
    augmentation; views: the names of augment.VIEWS that a batch shows."""

    def __init__(self, images: ImageBatches, targets: Targets, streams: list, rng, views=("weak",)):
        self.images, self.streams, self.rng, self.views = images, streams, rng, views
        wanted = targets.labels if targets.scores is None else targets.scores
        self.targets = torch.tensor(wanted, device=images.device)
        weights, used = targets.weights.copy(), targets.labels >= 0
        weights[used] *= targets.class_weights[targets.labels[used]]
        self.weights = torch.tensor(weights, device=images.device)

    def __len__(self) -> int:
        return len(self.streams)

    def __iter__(self):
        for stream in self.streams:
            parts = stream if isinstance(stream, tuple) else (stream,) * len(self.views)
            yield tuple(map(self._batch, self.views, parts))

    def _batch(self, view: str, indices: np.ndarray) -> Batch:
        chosen = torch.as_tensor(indices, device=self.images.device)
        batch = VIEWS[view](self.images, indices, self.rng)
        return Batch(batch, self.targets[chosen], self.weights[chosen])
