"""Feature vectors of any encoder, in place of images: their checks, as data.images checks pixels,
and batches of them.  They are not augmented: every augmentation of a vector is the vector itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from data.augment import BatchIndices
from data.feature_scale import FeatureScale
from data.images import NUMERIC_KINDS, check_labels
from utils.errors import UserError

MAX_ABS_VALUE = 1e15  # float32 can hold its square, and a sum of many such squares
CHUNK_ROWS = 65_536  # rows checked at a time, so that not all memory-mapped rows are in memory


class Features(NamedTuple):
    """One part (training or test) of a data set."""

    features: torch.Tensor  # (N, d) float32
    labels: np.ndarray  # (N,) int64


def check_features(
    features: np.ndarray,
    labels: Any,
    source: str,
    *,
    num_classes: int | None = None,
    allow_unknown: bool = False,
) -> Features:
    """Features (N, d) of any number type and labels (N,), in the types of Features.

    float32 features are not copied and may stay memory-mapped.  source: what they were read from,
    for messages; num_classes: the number of classes, where known.
    allow_unknown: whether a label may be -1.
    Raises UserError naming the first invalid row or label."""
    if features.ndim != 2 or not features.shape[1]:
        raise UserError(f"the features of {source} have shape {features.shape}, not (N, d)")
    if features.dtype.kind not in NUMERIC_KINDS:
        raise UserError(f"the features of {source} are of type {features.dtype}, not numbers")
    labels = check_labels(
        labels, len(features), source, num_classes=num_classes, allow_unknown=allow_unknown
    )
    with np.errstate(over="ignore"):  # too large for float32: infinite, refused below
        features = features.astype(np.float32, copy=False)
    for start in range(0, len(features), CHUNK_ROWS):
        chunk = features[start : start + CHUNK_ROWS]
        invalid = ~np.isfinite(chunk).all(axis=1)
        if invalid.any():
            row = start + int(invalid.argmax())
            raise UserError(
                f"row {row} of the features of {source} has a value that is not finite (NaN or "
                "infinite; float16 ends at 65504): compute it again, or leave the row out"
            )
        too_large = (np.abs(chunk) > MAX_ABS_VALUE).any(axis=1)
        if too_large.any():
            row = start + int(too_large.argmax())
            raise UserError(
                f"row {row} of the features of {source} has a value beyond {MAX_ABS_VALUE:g}, "
                "whose square is too large to compute with; divide all features by the same number"
            )
    return Features(torch.from_numpy(np.require(features, requirements=["C", "W"])), labels)


class FeatureStore:
    """All feature vectors of a part; gives batches of them by index, as data.augment.ImageStore
    does of images.  On the CPU they are not copied and may stay memory-mapped."""

    max_shift, flip = 0, False

    def __init__(self, features: torch.Tensor, scale: FeatureScale | None = None):
        """features: (N, d) float32, on the device where batches are needed; scale: how a batch is
        centred and scaled, None for as they are."""
        self.features = features
        self.scale = scale
        self.subset_indices: np.ndarray | None = None
        self.row_numbers: np.ndarray | None = None

    def subset(self, indices: np.ndarray) -> FeatureStore:
        """A store of some of these vectors, by index (n,); nothing is copied."""
        part = FeatureStore(self.features, self.scale)
        part.row_numbers = self.row_numbers
        part.subset_indices = self._absolute_indices(indices)
        return part

    def _absolute_indices(self, indices: Any) -> Any:
        """Indices (B,) or a slice into this store, as ones into all stored vectors."""
        return indices if self.subset_indices is None else self.subset_indices[indices]

    @property
    def device(self) -> torch.device:
        return self.features.device

    def __len__(self) -> int:
        return len(self.features) if self.subset_indices is None else len(self.subset_indices)

    def plain_batch(self, indices: BatchIndices) -> torch.Tensor:
        """(B,) indices or a slice -> (B, d) float32, centred and scaled."""
        batch = self.features[self._absolute_indices(indices)]
        if self.scale is None:
            return batch
        parts = [self.scale.apply(rows) for rows in batch.split(CHUNK_ROWS)]
        return torch.cat(parts) if len(parts) != 1 else parts[0]

    def weak_batch(self, indices: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """The same as `plain_batch`."""
        return self.plain_batch(indices)
