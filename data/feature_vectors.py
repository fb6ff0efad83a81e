"""Features of any encoder in place of images: what the door of data.images is for pixels, and
batches of them.  Nothing is augmented: every view of a vector is the vector."""

from typing import NamedTuple

import numpy as np
import torch

from data.images import NUMERIC_KINDS, check_labels
from utils.errors import UserError

MAX_ABS_VALUE = 1e15  # its square, and a sum of many such, is a float32
CHUNK_ROWS = 65_536  # looked at together: memory-mapped rows are not all in memory at once


class Features(NamedTuple):
    """One part (training or test) of a data set."""

    features: torch.Tensor  # (N, d) float32
    labels: np.ndarray  # (N,) int64


def check_features(
    features: np.ndarray, labels, source: str, *, allow_unknown: bool = False
) -> Features:
    """Features (N, d) of any number type and labels (N,); float32 stays where it is, memory-mapped
    perhaps.  unknown: may a label be -1?

    Raises UserError naming the first row that is not what it has to be."""
    if features.ndim != 2 or not features.shape[1]:
        raise UserError(f"the features of {source} are of shape {features.shape}, not (N, d)")
    if features.dtype.kind not in NUMERIC_KINDS:
        raise UserError(f"the features of {source} are of type {features.dtype}, not numbers")
    labels = check_labels(labels, len(features), source, allow_unknown=allow_unknown)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is named
        features = features.astype(np.float32, copy=False)
    for start in range(0, len(features), CHUNK_ROWS):
        wrong = ~np.isfinite(features[start : start + CHUNK_ROWS]).all(axis=1)
        if wrong.any():
            row = start + int(wrong.argmax())
            raise UserError(f"row {row} of the features of {source} has a value that is not finite")
        large = (np.abs(features[start : start + CHUNK_ROWS]) > MAX_ABS_VALUE).any(axis=1)
        if large.any():
            row = start + int(large.argmax())
            raise UserError(
                f"row {row} of the features of {source} has a value beyond {MAX_ABS_VALUE:g}, whose "
                "square is too large to count with: divide all features by the same number"
            )
    return Features(torch.from_numpy(np.require(features, requirements="CW")), labels)


class FeatureStore:
    """All vectors of a part, and batches of them by index, as data.augment.ImageBatches has images.

    On the CPU they stay where they are, memory-mapped perhaps."""

    max_shift, flip = 0, False

    def __init__(self, features: torch.Tensor):
        """vectors: (N, d) float32, on the device where batches are wanted."""
        self.features, self.subset_indices = features, None

    def subset(self, indices: np.ndarray) -> "FeatureStore":
        """Some of these, by index (n,); nothing is copied."""
        part = FeatureStore(self.features)
        part.subset_indices = (
            indices if self.subset_indices is None else self.subset_indices[indices]
        )
        return part

    @property
    def device(self) -> torch.device:
        return self.features.device

    def __len__(self) -> int:
        return len(self.features) if self.subset_indices is None else len(self.subset_indices)

    def plain_batch(self, indices) -> torch.Tensor:
        """(B,) indices or a slice -> (B, d) float32."""
        return self.features[
            indices if self.subset_indices is None else self.subset_indices[indices]
        ]

    def weak_batch(self, indices: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """As plain."""
        return self.plain_batch(indices)
