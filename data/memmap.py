"""Pixels that stay in a file: what is not looked at needs no memory.

The pages that were read count as the process's memory until they are given back, which is done
every so often; they stay in the system's cache for as long as it has room.
"""

import mmap
from collections.abc import Iterator

import numpy as np
import torch

from data.augment import ImageBatches, shifted_windows, translate

HELD = 2**30  # bytes of pixels up to which they are read into memory, where they are faster
KEPT = 2**28  # bytes of pages that may be there before they are given back
AROUND = 2**16  # bytes that the system maps around a byte that is looked at


class Mapped:
    """Pixels (N, C, H, W) uint8, of a numpy.memmap or some of its images; indexing copies."""

    dtype = np.dtype(np.uint8)

    def __init__(self, array: np.memmap, ids: np.ndarray | None = None):
        """ids: (N,) indices, None for all."""
        self._file, self._array, self._ids = array, np.asarray(array), ids
        self._seen = 0

    def __len__(self) -> int:
        return len(self._array) if self._ids is None else len(self._ids)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._array.shape[1:])

    def some(self, ids: np.ndarray) -> "Mapped":
        """Some of these images, by index; nothing is copied."""
        return Mapped(self._file, ids if self._ids is None else self._ids[ids])

    def __getitem__(self, chosen) -> torch.Tensor:
        """(B,) indices or a slice -> (B, C, H, W)"""
        found = self._array[chosen if self._ids is None else self._ids[chosen]]
        if found.base is not None or not found.flags.c_contiguous:
            found = found.copy()
        self._seen += len(found)
        if self._seen * max(AROUND, found[:1].nbytes) > KEPT:
            self._give_back()
        return torch.from_numpy(found)

    def split(self, rows: int) -> Iterator[torch.Tensor]:
        """All of it, so many images at a time."""
        for start in range(0, len(self), rows):
            yield self[start : start + rows]

    def _give_back(self) -> None:
        self._seen = 0
        if hasattr(mmap, "MADV_DONTNEED"):
            self._file._mmap.madvise(mmap.MADV_DONTNEED)


class MappedBatches(ImageBatches):
    """ImageBatches whose pixels stay in a file; shifted when they are read."""

    def __init__(self, pixels: Mapped, mean, std, max_shift=0, flip=False, device="cpu"):
        self._describe(mean, std, max_shift, flip, torch.device(device))
        self.held, self.ids = pixels, None

    @property
    def device(self) -> torch.device:
        return self.scale.device

    @property
    def pixels(self) -> torch.Tensor:
        """(N, C, H, W) uint8, a copy of all in memory."""
        return self.raw(slice(None))

    def __len__(self) -> int:
        return len(self.held) if self.ids is None else len(self.ids)

    def raw(self, indices) -> torch.Tensor:
        """As of ImageBatches."""
        return self.held[indices if self.ids is None else self.ids[indices]].to(self.device)

    def shifted(self, indices: np.ndarray, shifts: np.ndarray) -> torch.Tensor:
        """As of ImageBatches."""
        windows = shifted_windows(self.held[indices], self.max_shift)
        return translate(windows, np.arange(len(indices)), shifts).to(self.device)


def image_batches(pixels: torch.Tensor | Mapped, mean, std, max_shift, flip, device):
    """ImageBatches of pixels, wherever they are."""
    if isinstance(pixels, Mapped):
        return MappedBatches(pixels, mean, std, max_shift, flip, device)
    return ImageBatches(pixels.to(device), mean, std, max_shift, flip)
