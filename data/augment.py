"""Images to network input: normalise, and while training translate and flip, a batch at a time.

The translation of the paper's code: shift by up to `max_shift` pixels in x and y, each image its
own, what moves in being the reflection of the image at its border.
"""

import numpy as np
import torch


class ImageBatches:
    """All images of a part on one device, and batches of them by index.

    pixels: (N, C, H, W) uint8, on the device where batches are wanted; mean, std: a value a
    channel, of pixels in [0, 1]."""

    def __init__(self, pixels: torch.Tensor, mean, std, max_shift: int = 0, flip: bool = False):
        shape, kind = (1, -1, 1, 1), {"dtype": torch.float32, "device": pixels.device}
        self.scale = 1 / (255 * torch.as_tensor(std, **kind).view(shape))
        self.offset = -torch.as_tensor(mean, **kind).view(shape) * 255 * self.scale
        self.max_shift, self.flip = max_shift, flip
        self.pixels, self.windows = pixels, shifted_windows(pixels, max_shift)

    @property
    def device(self) -> torch.device:
        return self.pixels.device

    def __len__(self) -> int:
        return len(self.pixels)

    def plain(self, indices) -> torch.Tensor:
        """(B,) indices or a slice -> (B, C, H, W) float32, normalised and not augmented."""
        return self._normalise(self.pixels[indices])

    def augmented(self, indices: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """(B,) indices -> (B, C, H, W) float32, shifted, flipped and normalised."""
        shifts = rng.integers(-self.max_shift, self.max_shift + 1, size=(len(indices), 2))
        batch = translate(self.windows, indices, shifts)
        if self.flip:
            mirrored = np.flatnonzero(rng.random(len(indices)) < 0.5)
            mirrored = torch.as_tensor(mirrored, device=batch.device)
            batch[mirrored] = batch[mirrored].flip(3)
        return self._normalise(batch)

    def _normalise(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.float().mul_(self.scale).add_(self.offset)


def shifted_windows(pixels: torch.Tensor, max_shift: int) -> torch.Tensor:
    """Every image at every shift, as a view of the images padded once by reflection.

    (N, C, H, W) -> (N, 2s+1, 2s+1, C, H, W), the axes after N being the shift in y and in x."""
    height, width = pixels.shape[2:]
    rows = np.pad(np.arange(height), max_shift, mode="reflect")
    columns = np.pad(np.arange(width), max_shift, mode="reflect")
    padded = pixels[:, :, rows][:, :, :, columns]
    return padded.unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)


def translate(windows: torch.Tensor, indices: np.ndarray, shifts: np.ndarray) -> torch.Tensor:
    """Images moved by `shifts` (B, 2), in pixels, x then y; positive x moves to the right.

    windows: of `shifted_windows`; indices: (B,) -> (B, C, H, W), the type of the images."""
    x, y = (windows.shape[1] // 2 - shifts).T
    if windows.is_cpu:  # numpy copies windows four times as fast as torch does
        return torch.from_numpy(windows.numpy()[indices, y, x])
    image, y, x = (torch.as_tensor(part, device=windows.device) for part in (indices, y, x))
    return windows[image, y, x]


def channel_statistics(pixels: torch.Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation a channel, of pixels in [0, 1].  pixels: (N, C, H, W) uint8."""
    values = pixels.double() / 255
    return values.mean(dim=(0, 2, 3)).tolist(), values.std(dim=(0, 2, 3), correction=0).tolist()
