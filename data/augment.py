"""From images to network input: normalise and, during training, translate and flip them in batches.

Translation follows the paper's code: each image is shifted by up to `max_shift` pixels in x and y,
drawn per image, and the uncovered border is filled by reflecting the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from data.strong_augment import augment_strongly

if TYPE_CHECKING:
    from data.memmap import MemmapImages

CHUNK_IMAGES = 4096  # images per step of channel_statistics
BatchIndices: TypeAlias = "np.ndarray | slice"  # (B,) int64, or a slice


class ImageStore:
    """All images of a part (training or test) on one device; gives batches of them by index.

    mean, std: one value per channel, of pixels in [0, 1].  The pixels are stored once, padded for
    shifting; subsets share them."""

    subset_indices: np.ndarray | None  # (n,) into the stored images; None for all of them
    row_numbers: np.ndarray | None = None  # of the stored images in the user's file, for messages

    def __init__(
        self,
        pixels: torch.Tensor,
        mean: Sequence[float],
        std: Sequence[float],
        max_shift: int = 0,
        flip: bool = False,
    ):
        """pixels: (N, C, H, W) uint8, on the device where batches are needed."""
        self._set_preprocessing(mean, std, max_shift, flip, pixels.device)
        self.windows = make_shift_windows(pixels, max_shift)
        self.subset_indices = None

    def _set_preprocessing(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        max_shift: int,
        flip: bool,
        device: torch.device,
    ) -> None:
        shape = (1, -1, 1, 1)
        stds = torch.as_tensor(std, dtype=torch.float32, device=device).view(shape)
        means = torch.as_tensor(mean, dtype=torch.float32, device=device).view(shape)
        self.scale = 1 / (255 * stds)
        self.offset = -means * 255 * self.scale
        self.mean = tuple(map(float, mean))
        self.std = tuple(map(float, std))
        self.max_shift = max_shift
        self.flip = flip

    def subset(self, indices: np.ndarray) -> ImageStore:
        """A store of some of these images, by index (n,); no pixel is copied."""
        part = object.__new__(type(self))
        vars(part).update(vars(self))
        part.subset_indices = self._absolute_indices(indices)
        return part

    def _absolute_indices(self, indices: Any) -> Any:
        """Indices (B,) or a slice into this store, as ones into all stored images."""
        return indices if self.subset_indices is None else self.subset_indices[indices]

    @property
    def device(self) -> torch.device:
        return self.windows.device

    @property
    def pixels(self) -> torch.Tensor:
        """(N, C, H, W) uint8; a view of the stored pixels unless this is a subset."""
        unshifted = self.windows[:, self.max_shift, self.max_shift]
        if self.subset_indices is None:
            return unshifted
        return unshifted[torch.as_tensor(self.subset_indices, device=unshifted.device)]

    def __len__(self) -> int:
        return len(self.windows) if self.subset_indices is None else len(self.subset_indices)

    def plain_batch(self, indices: BatchIndices) -> torch.Tensor:
        """(B,) indices or a slice -> (B, C, H, W) float32, normalised and not augmented."""
        return self.normalise(self.raw_batch(indices))

    def raw_batch(self, indices: BatchIndices) -> torch.Tensor:
        """(B,) indices or a slice -> (B, C, H, W) uint8, the unchanged pixels."""
        return self.windows[self._absolute_indices(indices), self.max_shift, self.max_shift]

    def weak_batch(self, indices: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """(B,) indices -> (B, C, H, W) float32, shifted, flipped and normalised."""
        shifts = rng.integers(-self.max_shift, self.max_shift + 1, size=(len(indices), 2))
        batch = self.translate_batch(self._absolute_indices(indices), shifts)
        if self.flip:
            flipped = np.flatnonzero(rng.random(len(indices)) < 0.5)
            rows = torch.as_tensor(flipped, device=batch.device)
            batch[rows] = batch[rows].flip(3)
        return self.normalise(batch)

    def translate_batch(self, indices: np.ndarray, shifts: np.ndarray) -> torch.Tensor:
        """`translate_images` for indices (B,) into all stored images -> (B, C, H, W) uint8."""
        return translate_images(self.windows, indices, shifts)

    def strong_batch(self, indices: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """(B,) indices -> (B, C, H, W) float32, augmented by data.strong_augment, normalised."""
        return augment_strongly(self, indices, rng)

    def normalise(self, batch: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) pixels in [0, 255] -> network input, float32.  Floats change in place."""
        return batch.float().mul_(self.scale).add_(self.offset)


# How a batch can show its images: images, indices (B,), rng -> (B, C, H, W) float32.
AUGMENTATIONS: dict[str, Callable[[Any, np.ndarray, np.random.Generator], torch.Tensor]] = {
    "plain": lambda images, indices, rng: images.plain_batch(indices),
    "weak": lambda images, indices, rng: images.weak_batch(indices, rng),
    "strong": lambda images, indices, rng: images.strong_batch(indices, rng),
}


def make_shift_windows(pixels: torch.Tensor, max_shift: int) -> torch.Tensor:
    """Every image at every shift, as a view of the images padded once by reflection.

    (N, C, H, W) -> (N, 2s+1, 2s+1, C, H, W) with s = max_shift; axes 1 and 2 are the shifts in y
    and x."""
    height, width = pixels.shape[2:]
    if max_shift:
        pixels = reflect_pad(pixels, max_shift)
    return pixels.unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)


def reflect_pad(pixels: torch.Tensor, border: int) -> torch.Tensor:
    """(N, C, H, W) -> (N, C, H + 2 border, W + 2 border), of any type."""
    count, channels, height, width = pixels.shape
    padded = pixels.new_empty(count, channels, height + 2 * border, width + 2 * border)
    # Arrays on the CPU, since numpy starts its copies sooner than torch; tensors elsewhere.
    source: Any = pixels.numpy() if pixels.is_cpu else pixels
    target: Any = padded.numpy() if pixels.is_cpu else padded
    bottom, right = border + height - 1, border + width - 1
    inner = slice(border, right + 1)
    target[:, :, border : bottom + 1, inner] = source
    for step in range(1, border + 1):
        target[:, :, border - step, inner] = source[:, :, step]
        target[:, :, bottom + step, inner] = source[:, :, height - 1 - step]
    for step in range(1, border + 1):
        target[:, :, :, border - step] = target[:, :, :, border + step]
        target[:, :, :, right + step] = target[:, :, :, right - step]
    return padded


def translate_images(
    windows: torch.Tensor, indices: np.ndarray, shifts: np.ndarray
) -> torch.Tensor:
    """Images moved by `shifts` (B, 2), in pixels, x then y; positive x moves to the right.

    windows: from `make_shift_windows`; indices: (B,) -> (B, C, H, W), of the images' type."""
    x, y = (windows.shape[1] // 2 - shifts).T
    if windows.is_cpu:  # numpy copies windows four times as fast as torch
        return torch.from_numpy(windows.numpy()[indices, y, x])
    return windows[tuple(torch.as_tensor(i, device=windows.device) for i in (indices, y, x))]


def channel_statistics(pixels: torch.Tensor | MemmapImages) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, of pixels in [0, 1], from a count of each of the 256
    values.  pixels: (N, C, H, W) uint8.

    The deviation of a constant channel, such as many alpha channels, is set to 1, because images
    are divided by it."""
    values = np.arange(256) / 255
    means, deviations = [], []
    channel_counts = torch.zeros(pixels.shape[1], 256, dtype=torch.int64)
    for chunk in pixels.split(CHUNK_IMAGES):
        for counts, channel in zip(channel_counts, chunk.unbind(dim=1), strict=True):
            counts += torch.bincount(channel.flatten(), minlength=256).cpu()
    for counts in channel_counts.numpy():
        mean = float(counts @ values / counts.sum())
        means.append(mean)
        deviation = float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum()))
        deviations.append(deviation if (counts > 0).sum() > 1 else 1.0)
    return means, deviations
