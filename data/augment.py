"""Images to network input: normalise, and while training translate and flip, a batch at a time.

The translation of the paper's code: shift by up to `max_shift` pixels in x and y, each image its
own, what moves in being the reflection of the image at its border.
"""

import numpy as np
import torch

from data.strong_augment import augment_strongly

CHUNK_IMAGES = 4096  # images that are counted together


class ImageStore:
    """All images of a part on one device, and batches of them by index.

    mean, std: a value a channel, of pixels in [0, 1].  The pixels are held once, with the border
    that shifting needs; a subset shares them."""

    def __init__(self, pixels: torch.Tensor, mean, std, max_shift: int = 0, flip: bool = False):
        """pixels: (N, C, H, W) uint8, on the device where batches are wanted."""
        self._set_preprocessing(mean, std, max_shift, flip, pixels.device)
        self.windows = make_shift_windows(pixels, max_shift)
        self.subset_indices = None

    def _set_preprocessing(
        self, mean, std, max_shift: int, flip: bool, device: torch.device
    ) -> None:
        shape, kind = (1, -1, 1, 1), {"dtype": torch.float32, "device": device}
        self.scale = 1 / (255 * torch.as_tensor(std, **kind).view(shape))
        self.offset = -torch.as_tensor(mean, **kind).view(shape) * 255 * self.scale
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        self.max_shift, self.flip = max_shift, flip

    def subset(self, indices: np.ndarray) -> "ImageStore":
        """Some of these images, by index (n,); no pixel is copied."""
        part = object.__new__(type(self))
        vars(part).update(vars(self))
        part.subset_indices = (
            indices if self.subset_indices is None else self.subset_indices[indices]
        )
        return part

    @property
    def device(self) -> torch.device:
        return self.windows.device

    @property
    def pixels(self) -> torch.Tensor:
        """(N, C, H, W) uint8: without a subset a view of what is held."""
        still = self.windows[:, self.max_shift, self.max_shift]
        return (
            still
            if self.subset_indices is None
            else still[torch.as_tensor(self.subset_indices, device=still.device)]
        )

    def __len__(self) -> int:
        return len(self.windows) if self.subset_indices is None else len(self.subset_indices)

    def plain_batch(self, indices) -> torch.Tensor:
        """(B,) indices or a slice -> (B, C, H, W) float32, normalised and not augmented."""
        return self.normalise(self.raw_batch(indices))

    def raw_batch(self, indices) -> torch.Tensor:
        """(B,) indices or a slice -> (B, C, H, W) uint8, the pixels as they are."""
        chosen = indices if self.subset_indices is None else self.subset_indices[indices]
        return self.windows[chosen, self.max_shift, self.max_shift]

    def weak_batch(self, indices: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """(B,) indices -> (B, C, H, W) float32, shifted, flipped and normalised."""
        shifts = rng.integers(-self.max_shift, self.max_shift + 1, size=(len(indices), 2))
        chosen = indices if self.subset_indices is None else self.subset_indices[indices]
        batch = self.translate_batch(chosen, shifts)
        if self.flip:
            mirrored = np.flatnonzero(rng.random(len(indices)) < 0.5)
            mirrored = torch.as_tensor(mirrored, device=batch.device)
            batch[mirrored] = batch[mirrored].flip(3)
        return self.normalise(batch)

    def translate_batch(self, indices: np.ndarray, shifts: np.ndarray) -> torch.Tensor:
        """`translate` of images by index into all that is held, (B,) -> (B, C, H, W) uint8."""
        return translate_images(self.windows, indices, shifts)

    def strong_batch(self, indices: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """(B,) indices -> (B, C, H, W) float32, as data.strong_augment changes them, and normalised."""
        return augment_strongly(self, indices, rng)

    def normalise(self, batch: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) pixels in [0, 255] -> what a network takes, float32; floats in place."""
        return batch.float().mul_(self.scale).add_(self.offset)


# The ways in which a batch can show images: images, indices (B,), rng -> (B, C, H, W) float32.
AUGMENTATIONS = {
    "plain": lambda images, indices, rng: images.plain_batch(indices),
    "weak": lambda images, indices, rng: images.weak_batch(indices, rng),
    "strong": lambda images, indices, rng: images.strong_batch(indices, rng),
}


def make_shift_windows(pixels: torch.Tensor, max_shift: int) -> torch.Tensor:
    """Every image at every shift, as a view of the images padded once by reflection.

    (N, C, H, W) -> (N, 2s+1, 2s+1, C, H, W), the axes after N being the shift in y and in x."""
    height, width = pixels.shape[2:]
    if max_shift:
        pixels = reflect_pad(pixels, max_shift)
    return pixels.unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)


def reflect_pad(pixels: torch.Tensor, border: int) -> torch.Tensor:
    """(N, C, H, W) -> (N, C, H + 2 border, W + 2 border), of any type."""
    count, channels, height, width = pixels.shape
    found = pixels.new_empty(count, channels, height + 2 * border, width + 2 * border)
    # numpy starts its copies sooner than torch does.
    to, of = (found.numpy(), pixels.numpy()) if pixels.is_cpu else (found, pixels)
    bottom, right = border + height - 1, border + width - 1
    inner = slice(border, right + 1)
    to[:, :, border : bottom + 1, inner] = of
    for step in range(1, border + 1):
        to[:, :, border - step, inner] = of[:, :, step]
        to[:, :, bottom + step, inner] = of[:, :, height - 1 - step]
    for step in range(1, border + 1):
        to[:, :, :, border - step] = to[:, :, :, border + step]
        to[:, :, :, right + step] = to[:, :, :, right - step]
    return found


def translate_images(
    windows: torch.Tensor, indices: np.ndarray, shifts: np.ndarray
) -> torch.Tensor:
    """Images moved by `shifts` (B, 2), in pixels, x then y; positive x moves to the right.

    windows: of `shifted_windows`; indices: (B,) -> (B, C, H, W), the type of the images."""
    x, y = (windows.shape[1] // 2 - shifts).T
    if windows.is_cpu:  # numpy copies windows four times as fast as torch does
        return torch.from_numpy(windows.numpy()[indices, y, x])
    image, y, x = (torch.as_tensor(part, device=windows.device) for part in (indices, y, x))
    return windows[image, y, x]


def channel_statistics(pixels) -> tuple[list[float], list[float]]:
    """Mean and standard deviation a channel, of pixels in [0, 1], from how often each of the 256
    values comes.  pixels: (N, C, H, W) uint8, a tensor or data.memmap.Mapped.  Of a channel that
    never varies, as many alpha channels, the deviation is 1: it is there to divide by."""
    values = np.arange(256) / 255
    means, deviations = [], []
    counted = torch.zeros(pixels.shape[1], 256, dtype=torch.int64)
    for part in pixels.split(CHUNK_IMAGES):
        for counts, channel in zip(counted, part.unbind(dim=1), strict=True):
            counts += torch.bincount(channel.flatten(), minlength=256).cpu()
    for counts in counted.numpy():
        mean = float(counts @ values / counts.sum())
        means.append(mean)
        deviation = float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum()))
        deviations.append(deviation if (counts > 0).sum() > 1 else 1.0)
    return means, deviations
