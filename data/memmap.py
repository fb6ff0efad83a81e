"""Pixels that stay in a file: what is not looked at needs no memory.

The pages that were read count as the process's memory until they are given back, which is done
every so often; they stay in the system's cache for as long as it has room.
"""

import mmap
from collections.abc import Iterator

import numpy as np
import torch

from data.augment import ImageStore, make_shift_windows, translate_images

MAX_IN_MEMORY_BYTES = (
    2**30
)  # bytes of pixels up to which they are read into memory, where they are faster
MAX_RESIDENT_BYTES = 2**28  # bytes of pages that may be there before they are given back
FAULT_AROUND_BYTES = 2**16  # bytes that the system maps around a byte that is looked at


class MemmapImages:
    """Pixels (N, C, H, W) uint8, of a numpy.memmap or some of its images; indexing copies."""

    dtype = np.dtype(np.uint8)

    def __init__(self, array: np.memmap, indices: np.ndarray | None = None):
        """ids: (N,) indices, None for all."""
        self._file, self._array, self._subset_indices = array, np.asarray(array), indices
        self._images_read = 0

    def __len__(self) -> int:
        return len(self._array) if self._subset_indices is None else len(self._subset_indices)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._array.shape[1:])

    def subset(self, indices: np.ndarray) -> "MemmapImages":
        """Some of these images, by index; nothing is copied."""
        return MemmapImages(
            self._file, indices if self._subset_indices is None else self._subset_indices[indices]
        )

    def __getitem__(self, chosen) -> torch.Tensor:
        """(B,) indices or a slice -> (B, C, H, W)"""
        found = self._array[
            chosen if self._subset_indices is None else self._subset_indices[chosen]
        ]
        if found.base is not None or not found.flags.c_contiguous:
            found = found.copy()
        self._images_read += len(found)
        if self._images_read * max(FAULT_AROUND_BYTES, found[:1].nbytes) > MAX_RESIDENT_BYTES:
            self._release_pages()
        return torch.from_numpy(found)

    def split(self, rows: int) -> Iterator[torch.Tensor]:
        """All of it, so many images at a time."""
        for start in range(0, len(self), rows):
            yield self[start : start + rows]

    def _release_pages(self) -> None:
        self._images_read = 0
        if hasattr(mmap, "MADV_DONTNEED"):
            self._file._mmap.madvise(mmap.MADV_DONTNEED)


class MemmapImageStore(ImageStore):
    """ImageBatches whose pixels stay in a file; shifted when they are read."""

    def __init__(self, pixels: MemmapImages, mean, std, max_shift=0, flip=False, device="cpu"):
        self._set_preprocessing(mean, std, max_shift, flip, torch.device(device))
        self.memmap_images, self.subset_indices = pixels, None

    @property
    def device(self) -> torch.device:
        return self.scale.device

    @property
    def pixels(self) -> torch.Tensor:
        """(N, C, H, W) uint8, a copy of all in memory."""
        return self.raw_batch(slice(None))

    def __len__(self) -> int:
        return len(self.memmap_images) if self.subset_indices is None else len(self.subset_indices)

    def raw_batch(self, indices) -> torch.Tensor:
        """As of ImageBatches."""
        return self.memmap_images[
            indices if self.subset_indices is None else self.subset_indices[indices]
        ].to(self.device)

    def translate_batch(self, indices: np.ndarray, shifts: np.ndarray) -> torch.Tensor:
        """As of ImageBatches."""
        windows = make_shift_windows(self.memmap_images[indices], self.max_shift)
        return translate_images(windows, np.arange(len(indices)), shifts).to(self.device)


def make_image_store(pixels: torch.Tensor | MemmapImages, mean, std, max_shift, flip, device):
    """ImageBatches of pixels, wherever they are."""
    if isinstance(pixels, MemmapImages):
        return MemmapImageStore(pixels, mean, std, max_shift, flip, device)
    return ImageStore(pixels.to(device), mean, std, max_shift, flip)
