"""Strong augmentation: against slow twins, and what it must not do to an image."""

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


def some_pixels(channels, height, width, count=6) -> torch.Tensor:
    drawn = np.random.default_rng(3).integers(256, size=(count, channels, height, width))
    return torch.tensor(drawn, dtype=torch.uint8)


def some_images(channels=1, height=8, width=8, flip=False, count=6) -> ImageStore:
    pixels = some_pixels(channels, height, width, count)
    return ImageStore(pixels, [0.5] * channels, [0.25] * channels, max_shift=1, flip=flip)


def seen(images, strength=DEFAULT_STRENGTH, seed=0) -> np.ndarray:
    """All images once, as pixels in [0, 255]."""
    batch = augment_strongly(images, np.arange(len(images)), np.random.default_rng(seed), strength)
    return ((batch - images.offset) / images.scale).numpy()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_view(shape, flip):
    images = some_images(*shape, flip=flip)
    chosen = np.array([4, 0, 4])
    views = [AUGMENTATIONS["strong"](images, chosen, np.random.default_rng(s)) for s in (0, 0, 1)]
    assert views[0].dtype == torch.float32 and views[0].shape == (3, *shape)
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])
    assert not torch.equal(views[0][0], views[0][2])  # the same image, each time its own numbers
    pixels = (views[0] - images.offset) / images.scale
    assert pixels.min() >= -1e-3 and pixels.max() <= 255 + 1e-3
    part = images.subset(np.array([5, 4, 0]))
    again = augment_strongly(part, np.array([1, 2, 1]), np.random.default_rng(0))
    assert torch.equal(again, views[0])
    assert torch.equal(images.pixels, some_pixels(*shape))  # none was written to


@pytest.mark.parametrize("shape", SHAPES)
def test_the_map_against_scipy(shape):
    """A view's pixel at (y, x) from the middle is the image's at `map` of it; "mirror" is scipy's
    word for the reflection at a border pixel's centre."""
    pixels = some_pixels(*shape).numpy().astype(np.float32)
    sides = np.array(shape[1:])
    maps = draw_affine_maps(len(pixels), sides, True, np.random.default_rng(1), DEFAULT_STRENGTH)
    found = warp_images(torch.from_numpy(pixels), maps).numpy()
    middle = (sides - 1) / 2
    for image, seen_as, (linear, shift) in zip(pixels, found, split(maps), strict=True):
        for channel, view in zip(image, seen_as, strict=True):
            twin = scipy.ndimage.affine_transform(
                channel, linear, middle - linear @ middle + shift, order=1, mode="mirror"
            )
            np.testing.assert_allclose(view, twin, atol=0.02)


def split(maps):
    """(B, 2, 3) in x, y -> each linear part and shift in y, x, as scipy has them."""
    return [(m[::-1, 1::-1], m[::-1, 2]) for m in maps]


def test_the_parts_of_the_map():
    """Each alone, by its definition and within its limit, both ways; the map leads from the view
    to the image."""

    def drawn(**parts):
        maps = draw_affine_maps(4000, (8, 16), False, np.random.default_rng(0), only(**parts))
        return maps[:, :, :2], maps[:, :, 2]

    still, turned = np.eye(2), drawn(rotation=15)[0]
    angles = np.degrees(np.arctan2(turned[:, 1, 0], turned[:, 0, 0]))
    products = turned @ turned.transpose(0, 2, 1)
    np.testing.assert_allclose(products, np.broadcast_to(still, products.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turned), 1)
    assert abs(angles).max() <= 15 and angles.min() < -14.9 and angles.max() > 14.9
    sizes = 1 / drawn(scale=0.15)[0][:, 0, 0]
    assert 1 / 1.15 <= sizes.min() < 0.872 and 1.148 < sizes.max() <= 1.15
    assert abs(np.log(sizes).mean()) < 0.005  # twice as large is as likely as half as large
    shears = drawn(shear=0.15)[0]
    assert (shears[:, [0, 1, 1], [0, 1, 0]] == [1, 1, 0]).all()
    assert -0.15 <= shears[:, 0, 1].min() < -0.149 and 0.149 < shears[:, 0, 1].max() <= 0.15
    linear, shifts = drawn(shift=0.125)
    assert (linear == still).all()
    x, y = abs(shifts).max(axis=0)
    assert 1.99 < x <= 2 and 0.99 < y <= 1  # of a width of 16 and a height of 8


def test_what_is_larger_has_more_mass():
    """A spot on black, far from the border: mass grows with the square of the scale, and a turn, a
    shear or a shift keeps it."""
    spot = torch.exp(-((torch.arange(64) - 31.5) ** 2) / 72)
    pixels = 200 * torch.outer(spot, spot)[None, None]
    for parts in ({}, {"rotation": 15}, {"shear": 0.15}, {"shift": 0.1}, {"scale": 0.15}):
        maps = draw_affine_maps(20, (64, 64), False, np.random.default_rng(0), only(**parts))
        masses = warp_images(pixels.expand(20, 1, 64, 64), maps).sum((1, 2, 3)) / pixels.sum()
        size = 1 / np.sqrt(np.linalg.det(maps[:, :, :2]))
        np.testing.assert_allclose(masses, size**2, rtol=0.005)


def test_nothing_is_the_plain_view():
    images = some_images(3, 16, 16)
    plain = images.plain_batch(np.arange(6))
    np.testing.assert_allclose(seen(images, NOTHING), images.pixels, atol=0.01)
    found = augment_strongly(images, np.arange(6), np.random.default_rng(0), NOTHING)
    torch.testing.assert_close(found, plain, atol=1e-3, rtol=0)


def test_a_flip_only_where_the_class_survives_it():
    """Half of the images where it does; where not, none, and no map turns an image over."""
    for flip, part in ((False, 0.0), (True, 0.5)):
        images = some_images(flip=flip, count=200)
        pixels = images.pixels.numpy()
        found = seen(images, NOTHING)
        mirrored = np.isclose(found, pixels[..., ::-1], atol=0.01).all((1, 2, 3))
        straight = np.isclose(found, pixels, atol=0.01).all((1, 2, 3))
        assert (mirrored != straight).all()
        assert abs(mirrored.mean() - part) < 0.1
        maps = draw_affine_maps(500, (8, 8), flip, np.random.default_rng(0), DEFAULT_STRENGTH)
        overturned = np.linalg.det(maps[:, :, :2]) < 0
        assert abs(overturned.mean() - part) < 0.1 and (flip or not overturned.any())


def test_light_against_a_loop():
    strength = only(contrast=0.2, brightness=0.1)
    batch = torch.linspace(40, 210, 3 * 3 * 25).view(3, 3, 5, 5)
    found = jitter_brightness(batch, np.random.default_rng(2), strength)
    rng = np.random.default_rng(2)
    contrasts, lights = rng.uniform(0.8, 1.2, 3), rng.uniform(0.9, 1.1, 3)
    for image, light, contrast, view in zip(batch, lights, contrasts, found, strict=True):
        mean = image.mean()
        twin = (mean + contrast * (image - mean) + 255 * (light - 1)).clamp(0, 255)
        torch.testing.assert_close(view, twin)
    assert jitter_brightness(torch.full((9, 1, 2, 2), 250.0), rng, DEFAULT_STRENGTH).max() == 255


def test_colour_against_a_loop():
    batch = torch.linspace(40, 210, 2 * 3 * 4).view(2, 3, 2, 2)
    found = jitter_colour(batch, np.random.default_rng(2), DEFAULT_STRENGTH)
    rng = np.random.default_rng(2)
    saturations, gains = rng.uniform(0.6, 1.4, 2), rng.uniform(0.9, 1.1, (2, 3))
    for i, c, y, x in np.ndindex(*batch.shape):
        grey = batch[i, :, y, x].mean()
        twin = (grey + saturations[i] * (batch[i, c, y, x] - grey)) * gains[i, c]
        torch.testing.assert_close(found[i, c, y, x], twin.float())


def test_colour_is_left_alone_with_one_channel():
    images = some_images(1, 8, 8)
    assert (
        seen(images) == seen(images, dataclasses.replace(DEFAULT_STRENGTH, saturation=0, gain=0))
    ).all()
    images = some_images(3, 8, 8)
    colour = seen(images, only(saturation=0.4, gain=0.1))
    assert abs(colour - images.pixels.numpy()).max() > 5


@pytest.mark.parametrize("shape, side", [((1, 8, 8), 2), ((3, 32, 32), 8), ((3, 17, 33), (4, 8))])
def test_the_hole(shape, side):
    """One square of a quarter of the side, wholly inside and everywhere in turn, in the mean of
    each channel; nothing else changes."""
    rows, columns = np.broadcast_to(side, 2)
    batch = some_pixels(*shape, count=400).float()
    found = apply_cutout(batch, np.random.default_rng(0), DEFAULT_STRENGTH.cutout)
    corners = set()
    for image, view in zip(batch, found, strict=True):
        changed = (image != view).any(0).nonzero()
        (top, left), (bottom, right) = changed.min(0).values, changed.max(0).values
        assert (bottom - top + 1, right - left + 1) == (rows, columns)
        hole = view[:, top : bottom + 1, left : right + 1]
        torch.testing.assert_close(hole, image.mean((1, 2), keepdim=True).expand_as(hole))
        corners.add((int(top), int(left)))
        twin = image.clone()
        twin[:, top : bottom + 1, left : right + 1] = hole
        assert torch.equal(twin, view)
    tops, lefts = np.array(sorted(corners)).T
    assert (tops.min(), lefts.min()) == (0, 0)
    assert (tops.max(), lefts.max()) == (shape[1] - rows, shape[2] - columns)
