"""The user's own data: how folders and arrays are read, and what happens with odd content."""

import dataclasses
import json
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import main_al
from data import DATASETS, custom, decoded_cache, generate_splits, splits
from data.custom import FlipOptions, ValueOptions
from data.folder import FolderOptions
from data.memmap import MemmapImages
from data.stores import make_stores
from reports.run_images import load_run_images
from utils.errors import UserError

SIDE = 8


def save(path, image=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (SIDE, SIDE), (10, 200, 30)) if image is None else image
    image.save(path, **options)
    return path


def write_image_folder(root, count=4, classes=("cat", "dog"), parts=("train", "test")):
    """Distinct images, with one folder per class."""
    for number in range(count):
        for label, name in enumerate(classes):
            for part in parts:
                colour = (40 * label + number, number, 100 + len(part))
                image = Image.new("RGB", (SIDE, SIDE), colour)
                save(root / part / name / f"{number}.png", image)
    return root


def read_folder(root, *, flip=False, **options):
    return DATASETS["folder"].load_and_check(
        str(root),
        flip=FlipOptions(flip),
        folder=FolderOptions(**options),
        values=ValueOptions(),
    )


def read_arrays(root, flip=False):
    return DATASETS["arrays"].load_and_check(
        str(root), flip=FlipOptions(flip), values=ValueOptions()
    )


def assert_contains(message, expected, root):
    """Every expected part is in the message, which is one line."""
    for part in expected:
        assert part.format(root=root) in message
    assert "\n" not in message


def extra_image(loaded) -> torch.Tensor:
    """The image added to the folder as `0.extra`, found by its path."""
    (index,) = [i for i, path in enumerate(loaded.image_paths) if "extra" in path]
    return loaded.train.pixels[index]


# ---- Odd content of a folder: what is added, and the check of the data or parts of the error


def add_image(image=None, extension="png", **options):
    return lambda root: save(root / "train" / "cat" / f"0.extra.{extension}", image, **options)


def add_truncated_image(root):
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    path = add_image(Image.fromarray(noise))(root)
    path.write_bytes(path.read_bytes()[:5000])


def add_file(name, content=b"not an image"):
    def write(root):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return write


def add_outside_link(root):
    outside = save(root.parent / "elsewhere.png")
    (root / "train" / "cat" / "0.extra.png").symlink_to(outside)


def add_rotated_image(root):
    halves = Image.new("RGB", (SIDE, SIDE))
    halves.paste((255, 255, 255), (0, 0, SIDE // 2, SIDE))  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate clockwise: the left half becomes the upper one
    add_image(halves, exif=exif)(root)


def add_animation(root):
    frames = [Image.new("RGB", (SIDE, SIDE), (255, 0, shade)) for shade in (0, 250)]
    add_image(frames[0], "gif", save_all=True, append_images=frames[1:])(root)


def add_16_bit_image(root):
    add_image(Image.fromarray(np.full((SIDE, SIDE), 40_000, np.uint16)))(root)


def add_palette_image(root):
    add_image(Image.new("RGB", (SIDE, SIDE), (200, 100, 0)).quantize(4))(root)


def has_colour(*colour):
    expected = torch.tensor(colour)
    return lambda loaded: (extra_image(loaded).float().mean((1, 2)) - expected).abs().max() < 3


HEADER = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
HUGE_PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\r" + HEADER + struct.pack(">I", zlib.crc32(HEADER)) + b"\0\0\0\0IDAT"
)
FOLDER_CONTENTS = {
    "one image of a class": (
        lambda root: save(root / "train" / "cow" / "0.extra.png"),
        lambda loaded: (
            loaded.class_names == ("cat", "cow", "dog") and len(loaded.train.labels) == 9
        ),
    ),
    "empty class": (
        lambda root: (root / "train" / "cow").mkdir(),
        lambda loaded: (
            loaded.spec_fields["num_classes"] == 3 and "no images: cow" in loaded.warnings[0]
        ),
    ),
    "corrupt": (
        add_file("train/cat/0.extra.png"),
        ("1 of 17 images in {root}", "train/cat/0.extra.png (not an image)", "--skip-corrupt"),
    ),
    "truncated": (add_truncated_image, ("train/cat/0.extra.png (image file is truncated",)),
    "1 x 1": (add_image(Image.new("RGB", (1, 1), (10, 20, 30))), has_colour(10, 20, 30)),
    "decompression bomb": (
        add_file("train/cat/0.extra.png", HUGE_PNG),
        ("train/cat/0.extra.png (more than 89,478,485 pixels)",),
    ),
    "CMYK": (
        add_image(Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0)), "tif"),
        has_colour(255, 0, 0),
    ),
    "palette": (add_palette_image, has_colour(200, 100, 0)),
    "16 bits": (add_16_bit_image, has_colour(156, 156, 156)),
    "alpha": (
        add_image(Image.new("RGBA", (SIDE, SIDE), (9, 80, 90, 7))),
        has_colour(9, 80, 90),
    ),
    "EXIF": (
        add_rotated_image,
        lambda loaded: (
            (extra_image(loaded)[:, :4] == 255).all() and not extra_image(loaded)[:, 4:].any()
        ),
    ),
    "animated": (add_animation, has_colour(255, 0, 0)),
    "text file": (
        add_file("train/cat/read me.txt"),
        lambda loaded: len(loaded.train.labels) == 8 and "read me.txt" in loaded.warnings[0],
    ),
    "hidden files": (
        lambda root: (add_file("train/cat/.0.extra.png")(root), add_file(".git/x/1.png")(root)),
        lambda loaded: len(loaded.train.labels) == 8 and not loaded.warnings,
    ),
    "link": (add_outside_link, has_colour(10, 200, 30)),
    "file name": (
        lambda root: save(root / "train" / "cat" / "0.extra ü\n雪.png"),
        has_colour(10, 200, 30),
    ),
    "class name": (
        lambda root: save(root / "train" / "ein ü\nname" / "0.extra.png"),
        lambda loaded: loaded.class_names[2] == "ein ü\nname",
    ),
    "class names that differ in case": (
        lambda root: save(root / "train" / "Cat" / "0.extra.png"),
        ("'Cat' and 'cat'", "{root}", "case"),
    ),
    "class without training images": (
        lambda root: save(root / "test" / "cow" / "0.png"),
        ("1 classes that the training part lacks: 'cow'",),
    ),
    "named pipe": (
        lambda root: os.mkfifo(root / "train" / "cat" / "0.extra.png"),
        ("train/cat/0.extra.png (not a regular file)",),
    ),
    "test part only": (
        lambda root: (root / "train").rename(root / "others"),
        ("{root} has test/", "train/"),
    ),
}


@pytest.mark.parametrize("name", FOLDER_CONTENTS)
def test_odd_content_of_a_folder(name, tmp_path):
    add, expected = FOLDER_CONTENTS[name]
    root = write_image_folder(tmp_path / "images")
    add(root)
    if callable(expected):
        assert expected(read_folder(root))
        return
    with pytest.raises(UserError) as error:
        read_folder(root)
    assert_contains(str(error.value), expected, root)


# ---- Odd arrays: what replaces the valid ones -> parts of the error

PIXELS = np.arange(12 * 8 * 8, dtype=np.uint8).reshape(12, 8, 8)
LABELS = np.arange(12) % 3
FLOATS = PIXELS / np.float32(255)


def with_value(array, place, value):
    array = np.array(array)
    array[place] = value
    return array


ARRAYS = {
    "NaN": ({"images": with_value(FLOATS, (4, 2, 2), np.nan)}, ("image 4 of {root}", "float")),
    "pickled": ({"labels": np.array([{}] * 12)}, ("{root}", "pickled objects")),
    "negative": ({"labels": with_value(LABELS, 5, -2)}, ("label 5 of {root} is -2",)),
    "huge": ({"labels": with_value(LABELS, 5, 2**62)}, ("label 5 of {root} is 46116860",)),
    "halves": ({"labels": LABELS / 2}, ("label 1 of {root} is 0.5", "whole number")),
    "length": ({"labels": LABELS[:-1]}, ("{root}", "12 images", "11 labels")),
    "one class": ({"labels": LABELS * 0}, ("{root} has 1 class", "two")),
    "flat": ({"images": PIXELS.reshape(12, -1)}, ("{root}", "(12, 64)", "(N, height, width)")),
    "empty": ({"images": PIXELS[:, :0]}, ("{root}", "(12, 0, 8)")),
    "words": ({"images": np.full((12, 8, 8), "x")}, ("{root}", "type <U1", "0 .. 255")),
    "half a test part": ({"test_images": PIXELS}, ("{root}", "no array test_labels")),
    "other test images": (
        {"test_images": PIXELS[:, :4, :4], "test_labels": LABELS},
        ("{root}", "(1, 8, 8) and (1, 4, 4)"),
    ),
    "unknown test labels": (
        {"test_images": PIXELS, "test_labels": with_value(LABELS, 0, -1)},
        ("label 0 of the test part of {root} is -1",),
    ),
    "class without training images": (
        {"labels": LABELS % 2, "test_images": PIXELS, "test_labels": LABELS},
        ("1 classes that the training part lacks: '2'",),
    ),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_odd_arrays(name, tmp_path):
    arrays, expected = ARRAYS[name]
    path = tmp_path / "mine.npz"
    np.savez(path, **({"images": PIXELS, "labels": LABELS} | arrays))
    with pytest.raises(UserError) as error:
        read_arrays(path)
    assert_contains(str(error.value), expected, path)


@pytest.mark.parametrize(
    "content, problem",
    [
        (None, "does not exist"),
        (b"PK\x03\x04 torn", "cannot be read"),
        (b"\x93NUMPY", "cannot be read"),
        (b"hello\n", "cannot be read (it is neither"),
    ],
)
def test_files_that_are_not_arrays_are_refused(content, problem, tmp_path):
    path = tmp_path / "mine.npz"
    if content:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_arrays(path)
    assert f"{path} {problem}" in str(error.value)


def test_arrays_of_every_layout_are_the_same(tmp_path):
    """A file or a folder of files; grey with and without a channel; bytes, or floats in [0, 1]."""
    versions = []
    for number, images in enumerate((PIXELS, PIXELS[..., None], FLOATS, PIXELS.astype(np.int64))):
        path = tmp_path / f"{number}.npz"
        np.savez(path, images=images, labels=LABELS)
        versions.append(read_arrays(path))
    np.save(tmp_path / "images.npy", PIXELS)
    np.save(tmp_path / "labels.npy", LABELS)
    versions.append(read_arrays(tmp_path))
    for loaded in versions:
        assert torch.equal(loaded.train.pixels, versions[0].train.pixels)
        assert torch.equal(loaded.test.pixels, versions[0].test.pixels)
        assert loaded.spec_fields == {
            "num_classes": 3, "channels": 1, "size": 8, "max_shift": 1, "flip": False,
        }  # fmt: skip


def test_flip_auto_follows_the_images(tmp_path, digits):
    ramps = np.tile(np.arange(0, 256, 4, np.uint8), (60, 64, 1))  # all get lighter to the right
    both = np.concatenate([ramps[:30] // 2, ramps[30:, :, ::-1] // 2])
    both += np.random.default_rng(0).integers(0, 3, both.shape, np.uint8)
    np.savez(tmp_path / "both.npz", images=both, labels=np.arange(60) % 2)
    loaded = read_arrays(tmp_path / "both.npz", flip="auto")
    assert loaded.spec_fields["flip"]
    assert "mirror" in loaded.warnings[0] and "--flip False" in loaded.warnings[0]
    assert not read_arrays(tmp_path / "both.npz").warnings
    loaded = read_folder(digits["folder"], flip="auto")
    assert not loaded.spec_fields["flip"] and not loaded.warnings
    assert read_folder(digits["folder"], flip=True).spec_fields["flip"]


# ---- A folder's parts, sizes and cache


def test_adding_images_moves_no_image_to_another_part(tmp_path):
    names, labels = [f"{n}.png" for n in range(2000)], np.arange(2000) % 4
    mask = custom.make_test_mask(names, labels)
    assert all(0.15 < mask[labels == c].mean() < 0.25 for c in range(4))
    larger = custom.make_test_mask([*names, "new.png"], np.append(labels, 2))
    np.testing.assert_array_equal(larger[:-1], mask)
    # The only image of a class is for training.
    assert not custom.make_test_mask(names, np.arange(2000)).any()
    assert not custom.make_test_mask(names, np.full(2000, -1)).any()
    root = write_image_folder(tmp_path / "images", 30, parts=("",))
    loaded = read_folder(root)
    mask = custom.make_test_mask([f"{n}.png" for n in range(30)] * 2, np.repeat([0, 1], 30))
    assert len(loaded.test.labels) == mask.sum()
    save(root / "dog" / "another.png")
    assert set(loaded.image_paths) <= set(read_folder(root).image_paths)


def test_channels_and_size_follow_from_all_images(tmp_path):
    grey = Image.new("L", (12, 20), 77)
    root = tmp_path / "images"
    for part in ("train", "test"):
        for name in "ab":
            for number in range(2):
                save(root / part / name / f"{number}.png", grey)
    save(root / "train" / "a" / "0.extra.png", Image.new("L", (200, 300)))
    loaded = read_folder(root)
    assert loaded.train.pixels.shape == (5, 1, 12, 12) and loaded.spec_fields["max_shift"] == 1
    assert read_folder(root, image_size=5).train.pixels.shape == (5, 1, 5, 5)
    save(root / "test" / "a" / "colour.png")
    assert read_folder(root).train.pixels.shape == (5, 3, 12, 12)
    for path in root.rglob("*.png"):
        save(path, Image.new("L", (300, 200)))
    assert read_folder(root).spec_fields["size"] == 64


def test_corrupt_images_are_named_or_left_out(tmp_path, monkeypatch):
    root, cache = write_image_folder(tmp_path / "images"), str(tmp_path / "cache")
    without = read_folder(root)
    for number in range(7):
        add_file(f"train/cat/bad {number}.png")(root)
    with pytest.raises(UserError) as error:
        read_folder(root, cache=cache)
    message = str(error.value)
    assert f"7 of 23 images in {root}" in message and "train/cat/bad 0.png (not an im" in message
    assert "bad 4.png" in message and "bad 5.png" not in message and ", ..." in message
    assert "--skip-corrupt" in message
    monkeypatch.setattr(decoded_cache, "ImageSpool", None)  # they are not read a second time
    loaded = read_folder(root, cache=cache, skip_corrupt=True)
    assert "7 of 23" in loaded.warnings[0] and "train/cat/bad 0.png" in loaded.warnings[0]
    assert loaded.fingerprint == without.fingerprint and loaded.image_paths == without.image_paths


def test_cache_is_written_once_and_checked(tmp_path, monkeypatch, capsys):
    root, cache = write_image_folder(tmp_path / "images"), tmp_path / "cache"
    first = read_folder(root, cache=str(cache))
    assert "reading 16 images into" in capsys.readouterr().out
    second = read_folder(root, cache=str(cache))
    assert capsys.readouterr().out == "" and second.fingerprint == first.fingerprint
    pixels = next(cache.glob("*/pixels.bin"))
    content = bytearray(pixels.read_bytes())
    content[100] ^= 1
    pixels.write_bytes(content)
    leftover = pixels.with_name(".pixels.bin.killed00")
    leftover.write_bytes(b"")
    assert read_folder(root, cache=str(cache)).fingerprint == first.fingerprint
    assert f"{pixels} has changed" in capsys.readouterr().out and not leftover.exists()
    pixels.write_bytes(content[:50])
    assert read_folder(root, cache=str(cache)).fingerprint == first.fingerprint
    save(root / "train" / "cat" / "0.png")  # another image of the same name
    assert read_folder(root, cache=str(cache)).fingerprint != first.fingerprint
    assert len(list(cache.iterdir())) == 2


def test_images_of_unknown_class(tmp_path):
    root = write_image_folder(tmp_path / "images")
    save(root / "unlabeled" / "below" / "0.png")
    loaded = read_folder(root)
    labels = loaded.train.labels
    assert labels.tolist() == [0, 1] * 4 + [-1]
    assert loaded.image_paths[-1] == os.path.join("unlabeled", "below", "0.png")
    np.testing.assert_array_equal(splits.draw_balanced_split(labels, 8, 0), np.arange(8))
    with pytest.raises(UserError, match=r"there are 4; .* 8$"):
        splits.draw_balanced_split(labels, 9, 0)


# ---- Runs


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """scikit-learn's digits as a folder of PNG files and as arrays."""
    root = tmp_path_factory.mktemp("digits")
    train, test = DATASETS["digits"].load("")
    for name, part in (("train", train), ("test", test)):
        for number, label in enumerate(part.labels):
            image = Image.fromarray(part.pixels[number, 0].numpy())
            save(root / "folder" / name / str(label) / f"{number:05}.png", image)
    np.savez(
        root / "arrays.npz", images=train.pixels[:, 0], labels=train.labels,
        test_images=test.pixels[:, 0], test_labels=test.labels,
    )  # fmt: skip
    return {"digits": ".", "folder": root / "folder", "arrays": root / "arrays.npz"}


RUN = (
    "--al-method coreset --add-lp --arch sized_cnn --lp-k 10 --al-budget 10 --al-nb-cycles 2 "
    "--epochs 1 --device cpu"
)


def run(capsys, *words) -> tuple[int, str]:
    try:
        status = main_al.main([str(word) for word in words])
    except SystemExit as error:
        status = error.code
    return status, "".join(capsys.readouterr())


def test_every_reader_of_the_same_images_gives_the_same_run(digits, tmp_path, capsys, home):
    results, acquired, before = set(), set(), set(home.glob("*/10_balanced_labels/00.txt"))
    for name, root in digits.items():
        words = ["--dataset", name, "--data-root", root, *RUN.split(), "--out", tmp_path]
        assert run(capsys, *words)[0] == 0
        (folder,) = tmp_path.glob(f"{name}/budget10/sized_cnn/coreset_with_lp/*/split0")
        results.add((folder / "results.csv").read_bytes())
        acquired.add((folder / "acquired.csv").read_bytes())
        if name != "digits":
            assert (folder / "classes.txt").read_text().split() == [*"0123456789"]
            assert len(set(home.glob(f"{name}-*/10_balanced_labels/00.txt")) - before) == 1
            status, out = run(capsys, *words)
            assert status == 0 and main_al.ALREADY_FINISHED_MESSAGE in out
    assert len(results) == len(acquired) == 1
    status, out = run(capsys, *words, "--flip", "True", "--al-nb-cycles", 1)
    assert status == 0 and main_al.ALREADY_FINISHED_MESSAGE not in out


def test_constant_channels(tmp_path, capsys, home):
    """An alpha channel, for example."""
    varying = 2
    pixels = np.full((40, SIDE, SIDE, 4), 255, np.uint8)
    pixels[..., :varying] = np.random.default_rng(0).integers(256, size=(40, SIDE, SIDE, varying))
    np.savez(tmp_path / "a.npz", images=pixels, labels=np.arange(40) % 2)
    words = ["--dataset", "arrays", "--data-root", tmp_path / "a.npz", "--epochs", 1, "--al-budget"]
    status, out = run(capsys, *words, 3, "--al-nb-cycles", 1, "-b", 2, "--run-dir", tmp_path / "r")
    assert status == 0, out  # three labels: one batch of two and one of one
    facts = json.loads((tmp_path / "r" / "preprocessing.json").read_text())
    assert facts["std"][varying:] == [1.0] * (4 - varying) and 0 not in facts["std"]


def test_changed_folder_is_another_run_with_its_own_splits(tmp_path, capsys, home, monkeypatch):
    root = write_image_folder(tmp_path / "images", 12)
    words = ["--dataset", "folder", "--data-root", root, "--al-budget", 4, "--al-nb-cycles", 1]
    words += ["--epochs", 1, "--device", "cpu"]
    monkeypatch.chdir(tmp_path)
    assert run(capsys, *words)[0] == 0
    assert main_al.ALREADY_FINISHED_MESSAGE in run(capsys, *words)[1]
    before = set(home.glob("folder-*"))
    save(root / "train" / "cat" / "new.png")
    status, out = run(capsys, *words)
    assert status == 0 and main_al.ALREADY_FINISHED_MESSAGE not in out
    (after,) = set(home.glob("folder-*")) - before
    split = after / "4_balanced_labels" / "00.txt"
    lines = split.read_text().splitlines()
    split.write_text("\n".join(lines[::-1]) + "\n")  # the user's own split
    status, out = run(capsys, *words, "--run-dir", tmp_path / "mine" / "run")
    assert status == 0 and f"split {split} is your own" in out
    assert (tmp_path / "mine" / "cache").is_dir()
    images = load_run_images(json.loads((tmp_path / "mine" / "run" / "config.json").read_text()))
    assert not images.reason_missing
    assert [*images.initial_indices] == [int(line.split()[0]) for line in lines[::-1]]
    save(root / "unlabeled" / "0.png")
    status, line = run(capsys, *words)
    assert status == 2 and "1 training images of unknown class" in line and "--oracle file" in line


def test_generator_writes_the_splits_that_a_run_reads(digits, home, capsys):
    before = set(home.glob("folder-*/30_balanced_labels/00.txt"))
    words = ["--split-size", "30", "--nr-splits", "1", "--data-root"]
    assert generate_splits.main(["--dataset", "folder", *words, str(digits["folder"])]) == 0
    (split,) = set(home.glob("folder-*/30_balanced_labels/00.txt")) - before
    assert generate_splits.main(["--dataset", "digits", *words, "."]) == 0
    assert split.read_text() == splits.split_path("digits", 30, 0).read_text()
    assert generate_splits.main(["--dataset", "digits", "--flip", "True", *words, "."]) == 2
    line = capsys.readouterr().err
    assert "--dataset digits" in line and "--flip" in line


# ---- Data that do not fit into memory


def test_memory_mapped_pixels_give_the_same_batches(digits, tmp_path, monkeypatch):
    in_memory = read_folder(digits["folder"])
    np.save(tmp_path / "images.npy", in_memory.train.pixels[:, 0])
    np.save(tmp_path / "labels.npy", in_memory.train.labels)
    arrays_in_memory = read_arrays(tmp_path)
    for module in ("data.decoded_cache", "data.arrays"):
        monkeypatch.setattr(f"{module}.MAX_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("data.memmap.MAX_RESIDENT_BYTES", 2**20)  # released after every 16 images
    mapped = read_folder(digits["folder"])
    assert isinstance(mapped.train.pixels, MemmapImages)
    assert mapped.fingerprint == in_memory.fingerprint
    assert_same_batches(in_memory, mapped)
    arrays_mapped = read_arrays(tmp_path)
    assert isinstance(arrays_mapped.train.pixels, MemmapImages)
    assert not isinstance(arrays_in_memory.train.pixels, MemmapImages)
    assert_same_batches(arrays_in_memory, arrays_mapped)


def assert_same_batches(in_memory, mapped):
    spec = dataclasses.replace(DATASETS["folder"], **in_memory.spec_fields | {"flip": True})
    ids = np.random.default_rng(1).permutation(len(in_memory.train.labels))[:300]
    parts = zip(make_stores(spec, in_memory, "cpu"), make_stores(spec, mapped, "cpu"), strict=True)
    for one, other in parts:
        assert torch.equal(one.plain_batch(slice(None)), other.plain_batch(slice(None)))
        one, other = (store.subset(ids[ids < len(one)][::2]) for store in (one, other))
        assert len(one) == len(other)
        indices = np.array([3, 0, 7, 3])
        for augmentation in ("plain", "weak", "strong"):
            pair = []
            for store in (one, other):
                rng = [np.random.default_rng(5)] if augmentation != "plain" else []
                pair.append(getattr(store, f"{augmentation}_batch")(indices, *rng))
            assert torch.equal(*pair)
