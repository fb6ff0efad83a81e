"""Pixels as feature vectors."""

import numpy as np
import pytest
import torch

from data import pixel_features
from data.augment import ImageStore


@pytest.mark.parametrize(
    "max_pixels, side", [(1200 * 42, 1), (1200 * 41, 2), (1200 * 11, 4), (0, 8)]
)
def test_pixels_above_the_limit_are_averaged(monkeypatch, max_pixels, side):
    """600 images of 7 x 6 pixels of 4 bytes: unchanged, or averaged over squares, which are smaller
    at the right and lower border."""
    monkeypatch.setattr(pixel_features, "MAX_PIXEL_BYTES", 2 * max_pixels)
    pixels = np.random.default_rng(0).integers(256, size=(600, 1, 7, 6), dtype=np.uint8)
    images = ImageStore(torch.from_numpy(pixels), [0.2], [0.5], max_shift=1)
    vectors = pixel_features.extract_in_batches(images, pixel_features.make_pixel_extractor(images))
    normal = (pixels[:, 0] / 255 - 0.2) / 0.5
    squares = [
        normal[:, y : y + side, x : x + side].mean(axis=(1, 2))
        for y in range(0, 7, side)
        for x in range(0, 6, side)
    ]
    np.testing.assert_allclose(vectors.numpy(), np.stack(squares, axis=1), atol=1e-5)
