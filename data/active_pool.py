"""The images that training and acquisition take into account, where these are not all.

Left out are images that a person has set aside, and all but one of each group of duplicates.  A
method or an algorithm gets a smaller pool, as if the others did not exist.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.weak import WeakTensorKeyDictionary

from data.duplicates import find_representatives
from data.pool import Pool, Targets

Key = TypeVar("Key", str, int)
# tensor -> its version, some of its rows, and the tensor of these rows.
_SELECTIONS = WeakTensorKeyDictionary()


class ActivePool(NamedTuple):
    """A part of the pool.

    pool: of the M images in it.
    rows: (M,) int64, ascending, their positions among all N; None where M = N.
    size: N."""

    pool: Pool
    rows: np.ndarray | None
    size: int

    @staticmethod
    def of(pool: Pool, groups: np.ndarray | None, without: np.ndarray) -> "ActivePool":
        """groups: (N,) of data.duplicates, None where all images are distinct.
        without: (k,) images that are left out with their duplicates, unless these have a label."""
        size = len(pool.labels)
        if groups is None and not len(without):
            return ActivePool(pool, None, size)
        groups = np.arange(size) if groups is None else groups
        rows = find_representatives(groups, pool.labels, without)
        return ActivePool(pool.subset(rows), rows, size)

    def select(self, values: Mapping[Key, Any]) -> dict[Key, Any]:
        """The rows of arrays or tensors of N rows, by name; single numbers and None stay as they
        are.

        Of a tensor that is passed repeatedly the rows are one tensor, as long as they are the same:
        one graph serves all epochs."""
        if self.rows is None:
            return dict(values)
        return {name: _select_rows(value, self.rows) for name, value in values.items()}

    def find_rows(self, positions: np.ndarray) -> np.ndarray:
        """Positions (n,) among all N images, which must be in the pool, as indices among the M."""
        return positions if self.rows is None else np.searchsorted(self.rows, positions)

    def select_targets(self, targets: Targets) -> Targets:
        """The targets of the M images, from those of all N."""
        return targets if self.rows is None else targets.subset(self.rows)

    def spread_targets(self, targets: Targets) -> Targets:
        """The targets of all N images, from those of the M."""
        return targets if self.rows is None else targets.spread(self.rows, self.size)

    def to_positions(self, batch: Any) -> Any:
        """Indices among the M images, in an array or a tuple of arrays, as positions among all."""
        if self.rows is None:
            return batch
        if isinstance(batch, tuple):
            return tuple(self.rows[part] for part in batch)
        return self.rows[batch]

    def find_stand_ins(self, groups: np.ndarray | None) -> np.ndarray:
        """(N,) int64, which of the M images each of all N images is, or is a duplicate of; -1 where
        there is none.

        groups: (N,) as in `of`."""
        groups = np.arange(self.size) if groups is None else groups
        rows = np.arange(self.size) if self.rows is None else self.rows
        stand_ins = np.full(self.size, -1)
        stand_ins[groups[rows[::-1]]] = np.arange(len(rows))[::-1]  # the first one counts
        stand_ins = stand_ins[groups]
        stand_ins[rows] = np.arange(len(rows))
        return stand_ins


def _select_rows(value: Any, rows: np.ndarray) -> Any:
    if value is None or not value.ndim:
        return value
    if not isinstance(value, torch.Tensor):
        return value[rows]
    version = None if value.is_inference() else value._version
    before = _SELECTIONS.get(value)
    if before is None or before[0] != version or not np.array_equal(before[1], rows):
        before = version, rows, value[torch.from_numpy(rows).to(value.device)]
        _SELECTIONS[value] = before
    return before[2]
