"""The state of the labels: which are known, and what to train on now.

Two frozen objects of read-only arrays hold all of it.  True labels never get here: methods see
`pool.labels`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from utils.arrays import as_read_only


@dataclass(frozen=True)
class ReadOnlyArrays:
    """Base of frozen dataclasses whose arrays cannot be written to."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, field.name, as_read_only(value))


@dataclass(frozen=True)
class Pool(ReadOnlyArrays):
    """The labels known so far.

    labels: (N,) int64, -1 where unknown; labeled_order: (L,) int64, the labeled images in the order
    in which they were labeled."""

    labels: np.ndarray
    labeled_order: np.ndarray

    @staticmethod
    def make_unlabeled(size: int) -> "Pool":
        """A pool of `size` images without labels."""
        return Pool(np.full(size, -1, dtype=np.int64), np.empty(0, dtype=np.int64))

    def reveal_labels(self, picked: np.ndarray, answers: np.ndarray) -> "Pool":
        """A new pool in which the images `picked` (n,) have the classes `answers` (n,).

        Raises ValueError unless the picks are distinct, in range and unlabeled so far."""
        picked = np.asarray(picked, dtype=np.int64)
        if picked.size and not 0 <= picked.min() <= picked.max() < len(self.labels):
            raise ValueError(f"a pick is outside 0 .. {len(self.labels) - 1}")
        if len(np.unique(picked)) != len(picked):
            raise ValueError("an image is picked twice")
        if (self.labels[picked] >= 0).any():
            raise ValueError("a picked image already has a label")
        labels = self.labels.copy()
        labels[picked] = answers
        return Pool(labels, np.concatenate([self.labeled_order, picked]))

    def amend_labels(self, classes: Mapping[int, int]) -> "Pool":
        """A new pool in which labeled images have other classes; a negative number takes
        a label away.

        classes: image -> class.
        Raises ValueError for an image without a label."""
        labels = self.labels.copy()
        for image, label in classes.items():
            if labels[image] < 0:
                raise ValueError(f"image {image} has no label to amend")
            labels[image] = max(label, -1)
        return Pool(labels, self.labeled_order[labels[self.labeled_order] >= 0])

    def subset(self, rows: np.ndarray) -> "Pool":
        """The pool of the images `rows` (M,), ascending, which include all labeled ones."""
        return Pool(self.labels[rows], np.searchsorted(rows, self.labeled_order))

    @property
    def labeled_indices(self) -> np.ndarray:
        """(L,) int64, ascending."""
        return np.flatnonzero(self.labels >= 0)


@dataclass(frozen=True)
class Targets(ReadOnlyArrays):
    """What to train on now, from any training algorithm.

    labels: (N,) int64, -1 where the image is not used; weights: (N,) float32, 0 where not used;
    class_weights: (C,) float32; soft_labels: (N, C) float32, distributions that replace the labels
    as targets, or None; sampling_weights: (N,) float32, the relative frequency with which each
    image is drawn, or None for the same frequency."""

    labels: np.ndarray
    weights: np.ndarray
    class_weights: np.ndarray
    soft_labels: np.ndarray | None = None
    sampling_weights: np.ndarray | None = None

    def subset(self, rows: np.ndarray) -> "Targets":
        """The targets of the images `rows` (M,)."""
        soft, odds = self.soft_labels, self.sampling_weights
        return Targets(
            self.labels[rows],
            self.weights[rows],
            self.class_weights,
            None if soft is None else soft[rows],
            None if odds is None else odds[rows],
        )

    def spread(self, rows: np.ndarray, size: int) -> "Targets":
        """These targets of M images as those of `size` images, of which M are `rows` (M,) and the
        others are not used."""

        def fill(values: np.ndarray, empty: float) -> np.ndarray:
            spread = np.full((size, *values.shape[1:]), empty, dtype=values.dtype)
            spread[rows] = values
            return spread

        soft, odds = self.soft_labels, self.sampling_weights
        return Targets(
            fill(self.labels, -1),
            fill(self.weights, 0),
            self.class_weights,
            None if soft is None else fill(soft, 0),
            None if odds is None else fill(odds, 0),
        )


def targets_from_labels(pool: Pool, num_classes: int) -> Targets:
    """The known labels and nothing else, all with weight one."""
    weights = (pool.labels >= 0).astype(np.float32)
    return Targets(pool.labels, weights, np.ones(num_classes, dtype=np.float32))
