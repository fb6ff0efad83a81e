"""The look at a user's data before training: counts, warnings, and the picture of each class."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import main_al
from data import DATASETS, overview
from data.images import Images
from data.overview import look_at_images
from utils.errors import UserError


@pytest.fixture(scope="module")
def digits():
    return DATASETS["digits"].load("")


def part(pixels, labels):
    return Images(torch.as_tensor(pixels), np.asarray(labels))


NAMES = [str(digit) for digit in range(10)]


def test_digits(digits):
    found = look_at_images(*digits, NAMES)
    counts, classes = found.lines  # nothing about near-duplicates, of which there are none
    assert "1437 training" in counts and "360 test" in counts and "1797 distinct" in counts
    assert "17 of 256 levels" in counts
    assert "0 142, 1 146" in classes and not found.warnings


def test_exact_and_near_duplicates(digits):
    train, test = digits
    noise = np.random.default_rng(0).integers(-1, 2, (40, 1, 8, 8))
    close = np.clip(train.pixels[:40].int().numpy() + noise, 0, 255).astype(np.uint8)
    doubled = part(torch.cat([train.pixels, torch.as_tensor(close)]), [*train.labels, *[0] * 40])
    leaking = part(torch.cat([test.pixels, train.pixels[:7]]), [*test.labels, *train.labels[:7]])
    found = look_at_images(doubled, leaking, NAMES)
    assert "80 training images have a near-duplicate" in found.lines[1]
    assert any("7 of 367 test images are also training images" in line for line in found.warnings)


def test_near_duplicates_across_the_parts_are_counted_beside_the_exact_ones(digits):
    train, test = digits
    close = np.minimum(train.pixels[:5].int().numpy() + 1, 255).astype(np.uint8)
    leaking = part(torch.cat([test.pixels, torch.as_tensor(close)]), [*test.labels, *[0] * 5])
    (line,) = look_at_images(train, leaking, NAMES).warnings
    assert line.startswith("5 test images are near-duplicates")


def test_dim_images_are_not_all_near_duplicates():
    """Two levels are a lot where all images are within three."""
    pixels = np.random.default_rng(0).integers(10, 14, (60, 1, 8, 8)).astype(np.uint8)
    found = look_at_images(part(pixels[:40], [0] * 40), part(pixels[40:], [0] * 20), ["a"])
    assert "near-duplicate" not in " ".join(found.lines) and not found.warnings


def test_identical_images_are_refused():
    pixels = np.full((6, 3, 8, 8), 9, np.uint8)
    with pytest.raises(UserError, match="all 6 images have the same pixels"):
        look_at_images(part(pixels[:4], [0, 1, 0, 1]), part(pixels[4:], [0, 1]), ["a", "b"])


def test_many_classes_and_unknown_images():
    pixels = np.random.default_rng(0).integers(0, 256, (90, 3, 12, 12)).astype(np.uint8)
    labels = np.where(np.arange(90) < 60, np.arange(90) % 30, -1)
    names = [f"class {number} with a name that is very long" for number in range(30)]
    found = look_at_images(part(pixels, labels), part(pixels[:1] + 1, [0]), names)
    assert "30 classes of 2" in found.lines[1] and "30 of unknown class" in found.lines[1]
    sheet = Image.open(io.BytesIO(found.contact_sheet))
    rows = overview.SHEET_CLASSES + 1
    assert sheet.height > rows * overview.SHEET_SIDE and len(found.contact_sheet) < 1_000_000


def test_the_sheet_shows_the_images_of_each_class_in_its_row(digits):
    train, test = digits
    found = look_at_images(train, test, NAMES)
    sheet = np.asarray(Image.open(io.BytesIO(found.contact_sheet)))
    step, left = overview.SHEET_SIDE + overview.GAP, overview.LABEL_WIDTH
    for digit in range(10):
        first = train.pixels[np.flatnonzero(train.labels == digit)[0]][0].numpy()
        tile = sheet[digit * step :, left:][: overview.SHEET_SIDE, : overview.SHEET_SIDE]
        np.testing.assert_array_equal(tile[2::5, 2::5, 0], first)


def test_a_run_logs_the_look_and_writes_the_sheet(digits, tmp_path):
    train, _ = digits
    np.savez(tmp_path / "a.npz", images=train.pixels[:300, 0], labels=train.labels[:300])
    run = ["--dataset", "arrays", "--data-root", str(tmp_path / "a.npz"), "--epochs", "1"]
    run += ["--al-budget", "10", "--al-nb-cycles", "1", "--run-dir", str(tmp_path / "run")]
    assert main_al.main(run) == 0
    assert "levels used" in (tmp_path / "run" / "log.txt").read_text()
    assert Image.open(tmp_path / "run" / "data.png").width > 500
