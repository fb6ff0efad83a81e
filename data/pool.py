"""The state of the labels: what is revealed, and what to train on now.

Two frozen objects of read-only arrays hold all of it.  True labels never pass this point: methods
see `pool.labels`.
"""

from dataclasses import dataclass, fields

import numpy as np

from utils.arrays import as_read_only


class ReadOnlyArrays:
    """A frozen dataclass whose arrays cannot be written to."""

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, field.name, as_read_only(value))


@dataclass(frozen=True)
class Pool(ReadOnlyArrays):
    """What has been revealed.

    labels: (N,) int64, -1 where unknown; order: (L,) int64, the labeled images as they came."""

    labels: np.ndarray
    labeled_order: np.ndarray

    @staticmethod
    def make_unlabeled(size: int) -> "Pool":
        """A pool of `size` images without a label."""
        return Pool(np.full(size, -1, dtype=np.int64), np.empty(0, dtype=np.int64))

    def reveal_labels(self, picked: np.ndarray, answers: np.ndarray) -> "Pool":
        """A new pool in which `picked` (n,) carry the classes `answers` (n,).

        Raises ValueError unless the picks are distinct, in range and unlabeled so far."""
        picked = np.asarray(picked, dtype=np.int64)
        if picked.size and not 0 <= picked.min() <= picked.max() < len(self.labels):
            raise ValueError(f"a pick is outside 0 .. {len(self.labels) - 1}")
        if len(np.unique(picked)) != len(picked):
            raise ValueError("an image is picked twice")
        if (self.labels[picked] >= 0).any():
            raise ValueError("a picked image has its label already")
        labels = self.labels.copy()
        labels[picked] = answers
        return Pool(labels, np.concatenate([self.labeled_order, picked]))

    @property
    def labeled_indices(self) -> np.ndarray:
        """(L,) int64, ascending."""
        return np.flatnonzero(self.labels >= 0)


@dataclass(frozen=True)
class Targets(ReadOnlyArrays):
    """What to train on now, whichever algorithm made it.

    labels: (N,) int64, -1 where the image is not used; weights: (N,) float32, 0 where not used;
    class_weights: (C,) float32; scores: (N, C) float32, the distributions that replace the labels
    as the target, or None; odds: (N,) float32, how often an image is to be drawn beside another,
    where that is not the same for all, or None."""

    labels: np.ndarray
    weights: np.ndarray
    class_weights: np.ndarray
    soft_labels: np.ndarray | None = None
    sampling_weights: np.ndarray | None = None


def targets_from_labels(pool: Pool, num_classes: int) -> Targets:
    """The labels that are known and nothing else, all of weight one."""
    weights = (pool.labels >= 0).astype(np.float32)
    return Targets(pool.labels, weights, np.ones(num_classes, dtype=np.float32))
