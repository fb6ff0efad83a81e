"""Strong augmentation: against slow reference implementations, and what it must not change."""

import dataclasses

import numpy as np
import pytest
import scipy.ndimage
import torch

from data.augment import AUGMENTATIONS, ImageStore
from data.strong_augment import (
    DEFAULT_STRENGTH,
    AugmentStrength,
    apply_cutout,
    augment_strongly,
    draw_affine_maps,
    jitter_brightness,
    jitter_colour,
    warp_images,
)

NOTHING = AugmentStrength(**dict.fromkeys(vars(DEFAULT_STRENGTH), 0.0))
SHAPES = [(1, 8, 8), (3, 8, 8), (1, 32, 32), (3, 64, 64), (3, 17, 33)]


def only(**parts) -> AugmentStrength:
    return dataclasses.replace(NOTHING, **parts)


def random_pixels(channels, height, width, count=6) -> torch.Tensor:
    drawn = np.random.default_rng(3).integers(256, size=(count, channels, height, width))
    return torch.tensor(drawn, dtype=torch.uint8)


def random_images(channels=1, height=8, width=8, flip=False, count=6) -> ImageStore:
    pixels = random_pixels(channels, height, width, count)
    return ImageStore(pixels, [0.5] * channels, [0.25] * channels, max_shift=1, flip=flip)


def augment_all(images, strength=DEFAULT_STRENGTH, seed=0) -> np.ndarray:
    """All images once, as pixels in [0, 255]."""
    batch = augment_strongly(images, np.arange(len(images)), np.random.default_rng(seed), strength)
    return ((batch - images.offset) / images.scale).numpy()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_has_the_right_shape_range_and_randomness(shape, flip):
    images = random_images(*shape, flip=flip)
    chosen = np.array([4, 0, 4])
    first, same_seed, other_seed = (
        AUGMENTATIONS["strong"](images, chosen, np.random.default_rng(s)) for s in (0, 0, 1)
    )
    assert first.dtype == torch.float32 and first.shape == (3, *shape)
    assert torch.equal(first, same_seed) and not torch.equal(first, other_seed)
    assert not torch.equal(first[0], first[2])  # the same image with different random numbers
    pixels = (first - images.offset) / images.scale
    assert pixels.min() >= -1e-3 and pixels.max() <= 255 + 1e-3
    part = images.subset(np.array([5, 4, 0]))
    again = augment_strongly(part, np.array([1, 2, 1]), np.random.default_rng(0))
    assert torch.equal(again, first)
    assert torch.equal(images.pixels, random_pixels(*shape))  # the stored pixels are unchanged


@pytest.mark.parametrize("shape", SHAPES)
def test_affine_map_against_scipy(shape):
    """The augmented pixel at (y, x) from the centre is the image's pixel at the map of it.  scipy
    calls reflection about the centres of the border pixels "mirror"."""
    pixels = random_pixels(*shape).numpy().astype(np.float32)
    sides = np.array(shape[1:])
    maps = draw_affine_maps(len(pixels), sides, True, np.random.default_rng(1), DEFAULT_STRENGTH)
    warped = warp_images(torch.from_numpy(pixels), maps).numpy()
    centre = (sides - 1) / 2
    for image, result, (linear, shift) in zip(pixels, warped, scipy_maps(maps), strict=True):
        for channel, warped_channel in zip(image, result, strict=True):
            expected = scipy.ndimage.affine_transform(
                channel, linear, centre - linear @ centre + shift, order=1, mode="mirror"
            )
            np.testing.assert_allclose(warped_channel, expected, atol=0.02)


def scipy_maps(maps):
    """(B, 2, 3) in x, y -> linear part and shift of each map in y, x, the order of scipy."""
    return [(m[::-1, 1::-1], m[::-1, 2]) for m in maps]


def test_parts_of_the_affine_map():
    """Each part alone follows its definition and uses its whole range, in both directions.  The map
    leads from the augmented image to the original."""

    def draw(**parts):
        maps = draw_affine_maps(4000, (8, 16), False, np.random.default_rng(0), only(**parts))
        return maps[:, :, :2], maps[:, :, 2]

    identity, rotations = np.eye(2), draw(rotation=15)[0]
    angles = np.degrees(np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0]))
    products = rotations @ rotations.transpose(0, 2, 1)
    np.testing.assert_allclose(products, np.broadcast_to(identity, products.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1)
    assert abs(angles).max() <= 15 and angles.min() < -14.9 and angles.max() > 14.9
    sizes = 1 / draw(scale=0.15)[0][:, 0, 0]
    assert 1 / 1.15 <= sizes.min() < 0.872 and 1.148 < sizes.max() <= 1.15
    assert abs(np.log(sizes).mean()) < 0.005  # twice as large is as likely as half as large
    shears = draw(shear=0.15)[0]
    assert (shears[:, [0, 1, 1], [0, 1, 0]] == [1, 1, 0]).all()
    assert -0.15 <= shears[:, 0, 1].min() < -0.149 and 0.149 < shears[:, 0, 1].max() <= 0.15
    linear, shifts = draw(shift=0.125)
    assert (linear == identity).all()
    x, y = abs(shifts).max(axis=0)
    assert 1.99 < x <= 2 and 0.99 < y <= 1  # for width 16 and height 8


def test_mass_grows_with_the_square_of_the_scale():
    """For a spot on black, far from the border.  Rotation, shear and shift do not change it."""
    spot = torch.exp(-((torch.arange(64) - 31.5) ** 2) / 72)
    pixels = 200 * torch.outer(spot, spot)[None, None]
    for parts in ({}, {"rotation": 15}, {"shear": 0.15}, {"shift": 0.1}, {"scale": 0.15}):
        maps = draw_affine_maps(20, (64, 64), False, np.random.default_rng(0), only(**parts))
        masses = warp_images(pixels.expand(20, 1, 64, 64), maps).sum((1, 2, 3)) / pixels.sum()
        size = 1 / np.sqrt(np.linalg.det(maps[:, :, :2]))
        np.testing.assert_allclose(masses, size**2, rtol=0.005)


def test_zero_strength_is_the_plain_augmentation():
    images = random_images(3, 16, 16)
    plain = images.plain_batch(np.arange(6))
    np.testing.assert_allclose(augment_all(images, NOTHING), images.pixels, atol=0.01)
    batch = augment_strongly(images, np.arange(6), np.random.default_rng(0), NOTHING)
    torch.testing.assert_close(batch, plain, atol=1e-3, rtol=0)


def test_images_are_flipped_only_with_flip():
    """Half of the images with flip; without, none, and no map reverses an image."""
    for flip, fraction in ((False, 0.0), (True, 0.5)):
        images = random_images(flip=flip, count=200)
        pixels = images.pixels.numpy()
        augmented = augment_all(images, NOTHING)
        flipped = np.isclose(augmented, pixels[..., ::-1], atol=0.01).all((1, 2, 3))
        unchanged = np.isclose(augmented, pixels, atol=0.01).all((1, 2, 3))
        assert (flipped != unchanged).all()
        assert abs(flipped.mean() - fraction) < 0.1
        maps = draw_affine_maps(500, (8, 8), flip, np.random.default_rng(0), DEFAULT_STRENGTH)
        reversing = np.linalg.det(maps[:, :, :2]) < 0
        assert abs(reversing.mean() - fraction) < 0.1 and (flip or not reversing.any())


def test_brightness_against_a_loop():
    strength = only(contrast=0.2, brightness=0.1)
    batch = torch.linspace(40, 210, 3 * 3 * 25).view(3, 3, 5, 5)
    jittered = jitter_brightness(batch, np.random.default_rng(2), strength)
    rng = np.random.default_rng(2)
    contrasts, brightnesses = rng.uniform(0.8, 1.2, 3), rng.uniform(0.9, 1.1, 3)
    for image, brightness, contrast, result in zip(
        batch, brightnesses, contrasts, jittered, strict=True
    ):
        mean = image.mean()
        expected = (mean + contrast * (image - mean) + 255 * (brightness - 1)).clamp(0, 255)
        torch.testing.assert_close(result, expected)
    assert jitter_brightness(torch.full((9, 1, 2, 2), 250.0), rng, DEFAULT_STRENGTH).max() == 255


def test_colour_against_a_loop():
    batch = torch.linspace(40, 210, 2 * 3 * 4).view(2, 3, 2, 2)
    jittered = jitter_colour(batch, np.random.default_rng(2), DEFAULT_STRENGTH)
    rng = np.random.default_rng(2)
    saturations, gains = rng.uniform(0.6, 1.4, 2), rng.uniform(0.9, 1.1, (2, 3))
    for i, c, y, x in np.ndindex(*batch.shape):
        grey = batch[i, :, y, x].mean()
        expected = (grey + saturations[i] * (batch[i, c, y, x] - grey)) * gains[i, c]
        torch.testing.assert_close(jittered[i, c, y, x], expected.float())


def test_colour_changes_only_with_three_channels():
    images = random_images(1, 8, 8)
    assert (
        augment_all(images)
        == augment_all(images, dataclasses.replace(DEFAULT_STRENGTH, saturation=0, gain=0))
    ).all()
    images = random_images(3, 8, 8)
    colour = augment_all(images, only(saturation=0.4, gain=0.1))
    assert abs(colour - images.pixels.numpy()).max() > 5


@pytest.mark.parametrize("shape, side", [((1, 8, 8), 2), ((3, 32, 32), 8), ((3, 17, 33), (4, 8))])
def test_cutout(shape, side):
    """One square of a quarter of the side, inside the image and at every position in turn, has the
    mean of each channel; nothing else changes."""
    rows, columns = np.broadcast_to(side, 2)
    batch = random_pixels(*shape, count=400).float()
    erased = apply_cutout(batch, np.random.default_rng(0), DEFAULT_STRENGTH.cutout)
    corners = set()
    for image, result in zip(batch, erased, strict=True):
        changed = (image != result).any(0).nonzero()
        (top, left), (bottom, right) = changed.min(0).values, changed.max(0).values
        assert (bottom - top + 1, right - left + 1) == (rows, columns)
        square = result[:, top : bottom + 1, left : right + 1]
        torch.testing.assert_close(square, image.mean((1, 2), keepdim=True).expand_as(square))
        corners.add((int(top), int(left)))
        expected = image.clone()
        expected[:, top : bottom + 1, left : right + 1] = square
        assert torch.equal(expected, result)
    tops, lefts = np.array(sorted(corners)).T
    assert (tops.min(), lefts.min()) == (0, 0)
    assert (tops.max(), lefts.max()) == (shape[1] - rows, shape[2] - columns)
