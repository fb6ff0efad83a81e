"""The preprocessing of encoders that have no library to do it: resize, crop, normalise."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of pixels in [0, 1], as torchvision and timm use them
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Resize with Pillow, crop to the central square, subtract a mean and divide by a deviation.

    size: side of the result in pixels; mean, std: per channel, of pixels in [0, 1].
    keep_ratio: the shorter side is resized to `size` and the longer one cropped; otherwise both
    sides are resized, which distorts images that are not square.
    channels_last: whether the result is (S, S, 3) instead of (3, S, S)."""

    size: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    keep_ratio: bool = True
    bicubic: bool = False
    channels_last: bool = False

    def __call__(self, image: Image.Image) -> np.ndarray:
        """An RGB image -> (3, S, S) or (S, S, 3) float32"""
        resampling = Image.Resampling.BICUBIC if self.bicubic else Image.Resampling.BILINEAR
        width, height = target = (self.size, self.size)
        if self.keep_ratio:
            shorter = min(image.size)
            width, height = (self.size * side // shorter for side in image.size)
        image = image.resize((width, height), resampling)
        if (width, height) != target:
            left, top = round((width - self.size) / 2), round((height - self.size) / 2)
            image = image.crop((left, top, left + self.size, top + self.size))
        pixels = np.asarray(image, np.float32) / np.float32(255)
        pixels = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(pixels if self.channels_last else pixels.transpose(2, 0, 1))

    @property
    def description(self) -> str:
        """In words, for encoding.json."""
        fit = "shorter side to" if self.keep_ratio else "both sides to"
        way = "bicubic" if self.bicubic else "bilinear"
        crop = ", centre crop" if self.keep_ratio else ""
        mean, std = (" ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return f"{way}, {fit} {self.size} pixels{crop}, mean {mean}, deviation {std}"
