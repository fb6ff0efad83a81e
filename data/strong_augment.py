"""Strong augmentation of a batch: an affine map, brightness and contrast, colour, a cutout.

It replaces RandAugment, which FixMatch combines with Cutout (Sohn et al., NeurIPS 2020, section
2.3).  Of RandAugment's transforms it has those that also suit grey and small images, plus scale,
and applies all of them at once so that a batch takes one pass.  Images are flipped, and colours
changed, only where the class survives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from data.augment import ImageStore


@dataclass(frozen=True)
class AugmentStrength:
    """The largest change by each transform; 0 disables it."""

    rotation: float = 15  # degrees, in both directions
    scale: float = 0.15  # log-uniform in [1 / (1 + scale), 1 + scale]
    shift: float = 0.125  # fraction of the side
    shear: float = 0.15
    brightness: float = 0.1  # fraction of the range of a pixel
    contrast: float = 0.2  # about the image's mean
    saturation: float = 0.4  # about the pixel's grey; three channels only
    gain: float = 0.1  # of each channel; three channels only
    cutout: float = 0.25  # fraction of the side


DEFAULT_STRENGTH = AugmentStrength()


def augment_strongly(
    images: ImageStore,
    indices: np.ndarray,
    rng: np.random.Generator,
    strength: AugmentStrength = DEFAULT_STRENGTH,
) -> torch.Tensor:
    """indices: (B,) -> (B, C, H, W) float32, normalised.

    All random numbers are drawn on the CPU, so they are the same on every device."""
    batch = images.raw_batch(indices).float()
    height, width = batch.shape[2:]
    maps = draw_affine_maps(len(batch), (height, width), images.flip, rng, strength)
    batch = warp_images(batch, maps)
    if batch.shape[1] == 3:
        batch = jitter_colour(batch, rng, strength)
    batch = jitter_brightness(batch, rng, strength)
    return images.normalise(apply_cutout(batch, rng, strength.cutout))


def draw_affine_maps(
    count: int,
    sides: Sequence[int],
    flip: bool,
    rng: np.random.Generator,
    strength: AugmentStrength,
) -> np.ndarray:
    """Random maps from the pixels of an augmented image to those of the original, both given as
    (x, y, 1) in pixels from the centre.  sides: height, width -> (count, 2, 3)."""

    def draw(limit: float, *shape: int) -> np.ndarray:
        return rng.uniform(-limit, limit, (count, *shape))

    angle = np.radians(draw(strength.rotation))
    shear = draw(strength.shear)
    size = np.exp(draw(np.log1p(strength.scale)))
    cos, sin = np.cos(angle), np.sin(angle)
    maps = np.empty((count, 2, 3))
    maps[:, 0, 0] = cos / size
    maps[:, 0, 1] = (shear * cos - sin) / size
    maps[:, 1, 0] = sin / size
    maps[:, 1, 1] = (shear * sin + cos) / size
    maps[:, :, 2] = draw(strength.shift, 2) * tuple(sides)[::-1]
    if flip:
        maps[rng.random(count) < 0.5, :, 0] *= -1
    return maps


def warp_images(batch: torch.Tensor, maps: np.ndarray) -> torch.Tensor:
    """(B, C, H, W) float32 transformed by `draw_affine_maps`, with bilinear interpolation; the
    border is filled by reflecting the image, as in the weak augmentation."""
    half = (np.array(batch.shape[:1:-1]) - 1) / 2  # x, y; affine_grid has them as 1
    relative_maps = maps * np.append(half, 1) / half[:, None]
    theta = torch.as_tensor(relative_maps, dtype=torch.float32, device=batch.device)
    grid = F.affine_grid(theta, list(batch.shape), align_corners=True)
    return F.grid_sample(batch, grid, padding_mode="reflection", align_corners=True)


def jitter_colour(
    batch: torch.Tensor, rng: np.random.Generator, strength: AugmentStrength
) -> torch.Tensor:
    """Random saturation, and a random gain per channel.  (B, 3, H, W), floats -> the same."""
    grey = batch.mean(1, keepdim=True)
    batch = grey + _draw_factors(batch, strength.saturation, 1, rng) * (batch - grey)
    return batch * _draw_factors(batch, strength.gain, 3, rng)


def jitter_brightness(
    batch: torch.Tensor, rng: np.random.Generator, strength: AugmentStrength
) -> torch.Tensor:
    """Random contrast about each image's mean and random brightness, clipped to [0, 255].

    (B, C, H, W), floats -> the same."""
    mean = batch.mean((1, 2, 3), keepdim=True)
    batch = mean + _draw_factors(batch, strength.contrast, 1, rng) * (batch - mean)
    brightness_change = _draw_factors(batch, strength.brightness, 1, rng) - 1
    return (batch + 255 * brightness_change).clamp_(0, 255)


def apply_cutout(batch: torch.Tensor, rng: np.random.Generator, cutout: float) -> torch.Tensor:
    """Replace a square, of `cutout` times the side, by the image's mean per channel.

    The mean, because a fixed colour would show the network where the square is."""
    rows, columns = (
        _random_interval_mask(len(batch), side, cutout, rng) for side in batch.shape[2:]
    )
    erased = torch.as_tensor(rows[:, None, :, None] & columns[:, None, None, :])
    return torch.where(erased.to(batch.device), batch.mean((2, 3), keepdim=True), batch)


def _random_interval_mask(
    count: int, side: int, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """A random interval of `fraction` of the side, per image: (count, side) bool."""
    size, positions = round(side * fraction), np.arange(side)
    first = rng.integers(side - size + 1, size=(count, 1))
    return (positions >= first) & (positions < first + size)


def _draw_factors(
    batch: torch.Tensor, spread: float, channels: int, rng: np.random.Generator
) -> torch.Tensor:
    """(B, channels, 1, 1), uniform in 1 ± spread."""
    factors = rng.uniform(1 - spread, 1 + spread, (len(batch), channels, 1, 1))
    return torch.as_tensor(factors, dtype=torch.float32, device=batch.device)
