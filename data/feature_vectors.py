"""Features of any encoder in place of images: what the door of data.images is for pixels, and
batches of them.  Nothing is augmented: every view of a vector is the vector."""

from typing import NamedTuple

import numpy as np
import torch

from data.images import NUMBERS, checked_labels
from utils.errors import UserError

LARGEST = 1e15  # its square, and a sum of many such, is a float32
ROWS = 65_536  # looked at together: memory-mapped rows are not all in memory at once


class Vectors(NamedTuple):
    """One part (training or test) of a data set."""

    vectors: torch.Tensor  # (N, d) float32
    labels: np.ndarray  # (N,) int64


def vectors_of(features: np.ndarray, labels, where: str, *, unknown: bool = False) -> Vectors:
    """Features (N, d) of any number type and labels (N,); float32 stays where it is, memory-mapped
    perhaps.  unknown: may a label be -1?

    Raises UserError naming the first row that is not what it has to be."""
    if features.ndim != 2 or not features.shape[1]:
        raise UserError(f"the features of {where} are of shape {features.shape}, not (N, d)")
    if features.dtype.kind not in NUMBERS:
        raise UserError(f"the features of {where} are of type {features.dtype}, not numbers")
    labels = checked_labels(labels, len(features), where, unknown=unknown)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is named
        features = features.astype(np.float32, copy=False)
    for start in range(0, len(features), ROWS):
        wrong = ~np.isfinite(features[start : start + ROWS]).all(axis=1)
        if wrong.any():
            row = start + int(wrong.argmax())
            raise UserError(f"row {row} of the features of {where} has a value that is not finite")
        large = (np.abs(features[start : start + ROWS]) > LARGEST).any(axis=1)
        if large.any():
            row = start + int(large.argmax())
            raise UserError(
                f"row {row} of the features of {where} has a value beyond {LARGEST:g}, whose "
                "square is too large to count with: divide all features by the same number"
            )
    return Vectors(torch.from_numpy(np.require(features, requirements="CW")), labels)


class VectorBatches:
    """All vectors of a part, and batches of them by index, as data.augment.ImageBatches has images.

    On the CPU they stay where they are, memory-mapped perhaps."""

    max_shift, flip = 0, False

    def __init__(self, vectors: torch.Tensor):
        """vectors: (N, d) float32, on the device where batches are wanted."""
        self.vectors, self.ids = vectors, None

    def subset(self, ids: np.ndarray) -> "VectorBatches":
        """Some of these, by index (n,); nothing is copied."""
        part = VectorBatches(self.vectors)
        part.ids = ids if self.ids is None else self.ids[ids]
        return part

    @property
    def device(self) -> torch.device:
        return self.vectors.device

    def __len__(self) -> int:
        return len(self.vectors) if self.ids is None else len(self.ids)

    def plain(self, indices) -> torch.Tensor:
        """(B,) indices or a slice -> (B, d) float32."""
        return self.vectors[indices if self.ids is None else self.ids[indices]]

    def weak(self, indices: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """As plain."""
        return self.plain(indices)
