"""Whether mirror images look like images of the data."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images

from data import digits
from data.flip_check import MAX_FLIP_DISTANCE_RATIO, flip_distance_ratio


def photograph_windows(side=16, count=1500):
    """Windows of two grey photographs: (N, 1, side, side) uint8."""
    rng = np.random.default_rng(0)
    photographs = [image.mean(axis=2)[::2, ::2] for image in load_sample_images().images]
    pixels = []
    for n in range(count):
        photograph = photographs[n % 2]
        row, column = (rng.integers(length - side) for length in photograph.shape)
        pixels.append(photograph[row : row + side, column : column + side])
    return torch.as_tensor(np.array(pixels)[:, None].astype(np.uint8))


def test_photographs_can_be_flipped_and_digits_cannot():
    assert flip_distance_ratio(digits.load("")[0].pixels) > MAX_FLIP_DISTANCE_RATIO
    assert flip_distance_ratio(photograph_windows()) < MAX_FLIP_DISTANCE_RATIO


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_or_equal_images(count):
    pixels = torch.arange(count * 12, dtype=torch.uint8).reshape(count, 1, 3, 4)
    assert flip_distance_ratio(pixels) >= 1 or count < 3
    assert flip_distance_ratio(pixels[:1].expand(count, -1, -1, -1)) == 1


def test_against_a_loop():
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (9, 1, 4, 4), np.uint8))
    x = pixels.double().flatten(1)
    flipped = pixels.flip(3).double().flatten(1)
    ratios = []
    for i in range(9):
        others = [j for j in range(9) if j != i]
        near, far = (
            sorted(float((queries[i] - x[j]).norm()) for j in others)[:5]
            for queries in (x, flipped)
        )
        ratios.append(sum(far) / sum(near))
    assert flip_distance_ratio(pixels) == pytest.approx(sorted(ratios)[4], rel=1e-4)


def test_copies_of_images_change_nothing():
    """Six copies of an image would be neighbours at distance zero if copies did not count once."""
    pixels = digits.load("")[0].pixels[:150]
    assert flip_distance_ratio(pixels.repeat(6, 1, 1, 1)) == pytest.approx(
        flip_distance_ratio(pixels)
    )
