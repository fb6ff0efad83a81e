"""Pixels that stay in a file: images that are not being read need no memory.

Pages that were read count as memory of the process until they are released, which is done at
intervals; they stay in the system's cache as long as there is room.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from data.augment import BatchIndices, ImageStore, make_shift_windows, translate_images

MAX_IN_MEMORY_BYTES = 2**30  # smaller sets of pixels are read into memory, which is faster
MAX_RESIDENT_BYTES = 2**28  # bytes of pages read before they are released
FAULT_AROUND_BYTES = 2**16  # bytes that the system maps around a byte that is read


class MemmapImages:
    """Pixels (N, C, H, W) uint8 of a numpy.memmap, or some of its images.  Indexing copies."""

    dtype = np.dtype(np.uint8)

    def __init__(self, array: np.ndarray, indices: np.ndarray | None = None):
        """array: a numpy.memmap, or a view of one; indices: (n,), None for all images."""
        self._file = array
        self._array = np.asarray(array)
        self._subset_indices = indices
        self._images_read = 0

    def __len__(self) -> int:
        return len(self._array) if self._subset_indices is None else len(self._subset_indices)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._array.shape[1:])

    def subset(self, indices: np.ndarray) -> MemmapImages:
        """Some of these images, by index; nothing is copied."""
        return MemmapImages(self._file, self._absolute_indices(indices))

    def _absolute_indices(self, indices: Any) -> Any:
        return indices if self._subset_indices is None else self._subset_indices[indices]

    def __getitem__(self, chosen: BatchIndices) -> torch.Tensor:
        """(B,) indices or a slice -> (B, C, H, W)"""
        pixels = self._array[self._absolute_indices(chosen)]
        if pixels.base is not None or not pixels.flags.c_contiguous:
            pixels = pixels.copy()
        self._images_read += len(pixels)
        if self._images_read * max(FAULT_AROUND_BYTES, pixels[:1].nbytes) > MAX_RESIDENT_BYTES:
            self._release_pages()
        return torch.from_numpy(pixels)

    def split(self, rows: int) -> Iterator[torch.Tensor]:
        """All images, `rows` at a time."""
        for start in range(0, len(self), rows):
            yield self[start : start + rows]

    def _release_pages(self) -> None:
        self._images_read = 0
        mapping = getattr(self._file, "_mmap", None)  # numpy has no public name for it
        if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)


class MemmapImageStore(ImageStore):
    """An ImageStore whose pixels stay in a file; they are shifted when they are read."""

    def __init__(
        self,
        pixels: MemmapImages,
        mean: Sequence[float],
        std: Sequence[float],
        max_shift: int = 0,
        flip: bool = False,
        device: torch.device | str = "cpu",
    ):
        self._set_preprocessing(mean, std, max_shift, flip, torch.device(device))
        self.memmap_images = pixels
        self.subset_indices = None

    @property
    def device(self) -> torch.device:
        return self.scale.device

    @property
    def pixels(self) -> torch.Tensor:
        """(N, C, H, W) uint8, a copy of all pixels in memory."""
        return self.raw_batch(slice(None))

    def __len__(self) -> int:
        return len(self.memmap_images) if self.subset_indices is None else len(self.subset_indices)

    def raw_batch(self, indices: BatchIndices) -> torch.Tensor:
        return self.memmap_images[self._absolute_indices(indices)].to(self.device)

    def translate_batch(self, indices: np.ndarray, shifts: np.ndarray) -> torch.Tensor:
        windows = make_shift_windows(self.memmap_images[indices], self.max_shift)
        return translate_images(windows, np.arange(len(indices)), shifts).to(self.device)


def make_image_store(
    pixels: torch.Tensor | MemmapImages,
    mean: Sequence[float],
    std: Sequence[float],
    max_shift: int,
    flip: bool,
    device: torch.device | str,
) -> ImageStore:
    """The store for pixels in memory or in a file."""
    if isinstance(pixels, MemmapImages):
        return MemmapImageStore(pixels, mean, std, max_shift, flip, device)
    return ImageStore(pixels.to(device), mean, std, max_shift, flip)
