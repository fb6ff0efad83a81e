"""Strong augmentation: an affine map, intensity, colour and an erased square, a batch at a time.

In place of RandAugment, which FixMatch follows with Cutout (Sohn et al., NeurIPS 2020, section
2.3): of its transforms those that suit grey and small images too, and scale; all of them at once,
so that a batch takes one pass.  A flip, or a change of colour, only where the class survives it.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class AugmentStrength:
    """How far each part goes, up to; 0 leaves it out."""

    rotation: float = 15  # degrees, either way
    scale: float = 0.15  # log-uniform in [1 / (1 + scale), 1 + scale]
    shift: float = 0.125  # of the side
    shear: float = 0.15
    brightness: float = 0.1  # of the range of a pixel
    contrast: float = 0.2  # about the image's mean
    saturation: float = 0.4  # about the pixel's grey; three channels only
    gain: float = 0.1  # of each channel; three channels only
    cutout: float = 0.25  # of the side


DEFAULT_STRENGTH = AugmentStrength()


def augment_strongly(
    images,
    indices: np.ndarray,
    rng: np.random.Generator,
    strength: AugmentStrength = DEFAULT_STRENGTH,
) -> torch.Tensor:
    """images: augment.ImageBatches; indices: (B,) -> (B, C, H, W) float32, normalised.

    All numbers are drawn on the CPU: the same on every device."""
    batch = images.raw_batch(indices).float()
    batch = warp_images(
        batch, draw_affine_maps(len(batch), batch.shape[2:], images.flip, rng, strength)
    )
    if batch.shape[1] == 3:
        batch = jitter_colour(batch, rng, strength)
    batch = jitter_brightness(batch, rng, strength)
    return images.normalise(apply_cutout(batch, rng, strength.cutout))


def draw_affine_maps(count: int, sides, flip: bool, rng, strength: AugmentStrength) -> np.ndarray:
    """Where in an image the pixels of its view come from, both as (x, y, 1) in pixels from the
    middle; sides: height, width -> (B, 2, 3)."""

    def draw(limit, *shape):
        return rng.uniform(-limit, limit, (count, *shape))

    angle, shear = np.radians(draw(strength.rotation)), draw(strength.shear)
    size, cos, sin = np.exp(draw(np.log1p(strength.scale))), np.cos(angle), np.sin(angle)
    maps = np.empty((count, 2, 3))
    maps[:, 0, 0], maps[:, 0, 1] = cos / size, (shear * cos - sin) / size
    maps[:, 1, 0], maps[:, 1, 1] = sin / size, (shear * sin + cos) / size
    maps[:, :, 2] = draw(strength.shift, 2) * tuple(sides)[::-1]
    if flip:
        maps[rng.random(count) < 0.5, :, 0] *= -1
    return maps


def warp_images(batch: torch.Tensor, maps: np.ndarray) -> torch.Tensor:
    """(B, C, H, W) float32 seen through `draw_maps`, between pixels bilinearly; what moves in is
    the reflection of the image at its border, as in the weak view."""
    half = (np.array(batch.shape[:1:-1]) - 1) / 2  # x, y: what affine_grid has as 1
    maps = maps * np.append(half, 1) / half[:, None]
    maps = torch.as_tensor(maps, dtype=torch.float32, device=batch.device)
    grid = F.affine_grid(maps, batch.shape, align_corners=True)
    return F.grid_sample(batch, grid, padding_mode="reflection", align_corners=True)


def jitter_colour(batch: torch.Tensor, rng, strength: AugmentStrength) -> torch.Tensor:
    """Colours nearer to or farther from grey, and a gain for each channel."""
    grey = batch.mean(1, keepdim=True)
    batch = grey + _draw_factors(batch, strength.saturation, 1, rng) * (batch - grey)
    return batch * _draw_factors(batch, strength.gain, 3, rng)


def jitter_brightness(batch: torch.Tensor, rng, strength: AugmentStrength) -> torch.Tensor:
    """Contrast about an image's own mean, brightness, and back into the range of a pixel."""
    middle = batch.mean((1, 2, 3), keepdim=True)
    batch = middle + _draw_factors(batch, strength.contrast, 1, rng) * (batch - middle)
    lighter = _draw_factors(batch, strength.brightness, 1, rng) - 1
    return (batch + 255 * lighter).clamp_(0, 255)


def apply_cutout(batch: torch.Tensor, rng, cutout: float) -> torch.Tensor:
    """A square of `hole` of the side in the image's mean, a value a channel: a hole, and not a
    colour that tells the network where it is."""
    rows, columns = (
        _random_interval_mask(len(batch), side, cutout, rng) for side in batch.shape[2:]
    )
    erased = torch.as_tensor(rows[:, None, :, None] & columns[:, None, None, :])
    return torch.where(erased.to(batch.device), batch.mean((2, 3), keepdim=True), batch)


def _random_interval_mask(count: int, side: int, part: float, rng) -> np.ndarray:
    """`part` of a side, anywhere on it: (count, side) bool."""
    size, places = round(side * part), np.arange(side)
    first = rng.integers(side - size + 1, size=(count, 1))
    return (places >= first) & (places < first + size)


def _draw_factors(batch: torch.Tensor, spread: float, channels: int, rng) -> torch.Tensor:
    """(B, channels, 1, 1), uniform in 1 ± spread."""
    drawn = rng.uniform(1 - spread, 1 + spread, (len(batch), channels, 1, 1))
    return torch.as_tensor(drawn, dtype=torch.float32, device=batch.device)
