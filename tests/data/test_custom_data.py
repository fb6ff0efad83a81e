"""Data of the user's own: what is read of them, and what becomes of odd content."""

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
from data.active_dataset import make_stores
from data.memmap import MemmapImages
from reports.run_images import load_run_images
from utils.errors import UserError

SIDE = 8


def save(path, image=None, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (SIDE, SIDE), (10, 200, 30)) if image is None else image
    image.save(path, **how)
    return path


def write_tree(root, count=4, classes=("cat", "dog"), parts=("train", "test")):
    """Images that all differ, a folder a class."""
    for number in range(count):
        for label, name in enumerate(classes):
            for part in parts:
                colour = (40 * label + number, number, 100 + len(part))
                image = Image.new("RGB", (SIDE, SIDE), colour)
                save(root / part / name / f"{number}.png", image)
    return root


def read(root, name="folder", **options):
    more = {} if name == "features" else {"flip": False}
    return DATASETS[name].load_and_check(str(root), **more | options)


def one_more(found) -> torch.Tensor:
    """The image that was added to the tree, by its place: `0.extra` comes after `0.png`."""
    (place,) = [i for i, path in enumerate(found.image_paths) if "extra" in path]
    return found.train.pixels[place]


# ---- Odd content of a folder: what is written into it, and what is found, or the refusal's words.


def added(image=None, ending="png", **how):
    return lambda root: save(root / "train" / "cat" / f"0.extra.{ending}", image, **how)


def truncated(root):
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    path = added(Image.fromarray(noise))(root)
    path.write_bytes(path.read_bytes()[:5000])


def text(name, content=b"not an image"):
    def write(root):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return write


def link(root):
    outside = save(root.parent / "elsewhere.png")
    (root / "train" / "cat" / "0.extra.png").symlink_to(outside)


def turned(root):
    halves = Image.new("RGB", (SIDE, SIDE))
    halves.paste((255, 255, 255), (0, 0, SIDE // 2, SIDE))  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right: what was left is then on top
    added(halves, exif=exif)(root)


def moving(root):
    frames = [Image.new("RGB", (SIDE, SIDE), (255, 0, shade)) for shade in (0, 250)]
    added(frames[0], "gif", save_all=True, append_images=frames[1:])(root)


def sixteen_bits(root):
    added(Image.fromarray(np.full((SIDE, SIDE), 40_000, np.uint16)))(root)


def is_colour(*colour):
    wanted = torch.tensor(colour)
    return lambda found: (one_more(found).float().mean((1, 2)) - wanted).abs().max() < 3


def palette(root):
    added(Image.new("RGB", (SIDE, SIDE), (200, 100, 0)).quantize(4))(root)


HEAD = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
HUGE = b"\x89PNG\r\n\x1a\n\0\0\0\r" + HEAD + struct.pack(">I", zlib.crc32(HEAD)) + b"\0\0\0\0IDAT"
CONTENTS = {
    "one image": (
        lambda root: save(root / "train" / "cow" / "0.extra.png"),
        lambda found: found.class_names == ("cat", "cow", "dog") and len(found.train.labels) == 9,
    ),
    "empty class": (
        lambda root: (root / "train" / "cow").mkdir(),
        lambda found: (
            found.spec_fields["num_classes"] == 3 and "no image: cow" in found.warnings[0]
        ),
    ),
    "corrupt": (
        text("train/cat/0.extra.png"),
        "1 of 17 images in {root} cannot be read: train/cat/0.extra.png (no image): mend them",
    ),
    "truncated": (truncated, "train/cat/0.extra.png (image file is truncated"),
    "1 x 1": (added(Image.new("RGB", (1, 1), (10, 20, 30))), is_colour(10, 20, 30)),
    "a bomb": (
        text("train/cat/0.extra.png", HUGE),
        "train/cat/0.extra.png (more than 89,478,485 pixels)",
    ),
    "CMYK": (added(Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0)), "tif"), is_colour(255, 0, 0)),
    "palette": (palette, is_colour(200, 100, 0)),
    "16 bits": (sixteen_bits, is_colour(156, 156, 156)),
    "alpha": (added(Image.new("RGBA", (SIDE, SIDE), (9, 80, 90, 7))), is_colour(9, 80, 90)),
    "EXIF": (
        turned,
        lambda found: (one_more(found)[:, :4] == 255).all() and not one_more(found)[:, 4:].any(),
    ),
    "animated": (moving, is_colour(255, 0, 0)),
    "no image": (
        text("train/cat/read me.txt"),
        lambda found: len(found.train.labels) == 8 and "read me.txt" in found.warnings[0],
    ),
    "hidden": (
        lambda root: (text("train/cat/.0.extra.png")(root), text(".git/x/1.png")(root)),
        lambda found: len(found.train.labels) == 8 and not found.warnings,
    ),
    "a link": (link, "train/cat/0.extra.png is a link that leads out of {root}: put there what"),
    "names": (
        lambda root: save(root / "train" / "cat" / "0.extra ü\n雪.png"),
        is_colour(10, 200, 30),
    ),
    "a class's name": (
        lambda root: save(root / "train" / "ein ü\nname" / "0.extra.png"),
        lambda found: found.class_names[2] == "ein ü\nname",
    ),
    "case": (
        lambda root: save(root / "train" / "Cat" / "0.extra.png"),
        "the classes 'Cat' and 'cat' of {root} differ in case only: rename one",
    ),
    "a class to test on alone": (
        lambda root: save(root / "test" / "cow" / "0.png"),
        "has images of 1 classes that the training part lacks: 'cow'",
    ),
    "no files": (
        lambda root: os.mkfifo(root / "train" / "cat" / "0.extra.png"),
        "train/cat/0.extra.png (it is no file)",
    ),
    "test alone": (
        lambda root: (root / "train").rename(root / "others"),
        "{root} has test/ but no train/",
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_odd_content_of_a_folder(name, tmp_path):
    write, expected = CONTENTS[name]
    root = write_tree(tmp_path / "images")
    write(root)
    if callable(expected):
        assert expected(read(root))
        return
    with pytest.raises(UserError) as error:
        read(root)
    assert expected.format(root=root) in str(error.value)


# ---- Odd arrays: what replaces good ones -> the words of the refusal.

PIXELS = np.arange(12 * 8 * 8, dtype=np.uint8).reshape(12, 8, 8)
LABELS = np.arange(12) % 3
FLOATS = PIXELS / np.float32(255)


def with_one(array, place, value):
    array = np.array(array)
    array[place] = value
    return array


ARRAYS = {
    "NaN": ({"images": with_one(FLOATS, (4, 2, 2), np.nan)}, "image 4 of {root} has a float outs"),
    "above one": ({"images": FLOATS * 2}, "has a float outside [0, 1]"),
    "pickled": ({"labels": np.array([{}] * 12)}, "holds pickled objects, and nothing is unpickled"),
    "negative": ({"labels": with_one(LABELS, 5, -2)}, "label 5 of {root} is -2, not a whole num"),
    "a gap": ({"labels": LABELS * 2}, "run up to 4, but no image is of class 1: number the 3"),
    "huge": ({"labels": with_one(LABELS, 5, 2**62)}, "but no image is of class 3"),
    "halves": ({"labels": LABELS / 2}, "label 1 of {root} is 0.5, not a whole number"),
    "length": ({"labels": LABELS[:-1]}, "{root} holds 12 images and 11 labels"),
    "one class": ({"labels": LABELS * 0}, "has 1 classes with images: two are the least"),
    "oblong": ({"images": PIXELS[:, :6]}, "are 6 x 8 pixels: crop or pad them to squares"),
    "flat": ({"images": PIXELS.reshape(12, -1)}, "of shape (12, 64), not (N, height, width)"),
    "empty": ({"images": PIXELS[:, :0]}, "of shape (12, 0, 8), not"),
    "words": ({"images": np.full((12, 8, 8), "x")}, "are of type <U1, not numbers 0 .. 255"),
    "half a test": ({"test_images": PIXELS}, "holds no test_labels"),
    "other test": (
        {"test_images": PIXELS[:, :4, :4], "test_labels": LABELS},
        "training and test images of {root} differ: (1, 8, 8) and (1, 4, 4)",
    ),
    "unknown test": (
        {"test_images": PIXELS, "test_labels": with_one(LABELS, 0, -1)},
        "label 0 of the test part of {root} is -1",
    ),
    "test alone": (
        {"labels": LABELS % 2, "test_images": PIXELS, "test_labels": LABELS},
        "has images of 1 classes that the training part lacks: '2'",
    ),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_odd_arrays(name, tmp_path):
    odd, expected = ARRAYS[name]
    path = tmp_path / "mine.npz"
    np.savez(path, **({"images": PIXELS, "labels": LABELS} | odd))
    with pytest.raises(UserError) as error:
        read(path, "arrays")
    assert expected.format(root=path) in str(error.value)


@pytest.mark.parametrize("content", [None, b"PK\x03\x04 torn", b"\x93NUMPY", b"hello\n"])
def test_a_file_that_is_not_arrays(content, tmp_path):
    path = tmp_path / "mine.npz"
    if content:
        path.write_bytes(content)
    why = r"\(it is neither" if content == b"hello\n" else ""
    with pytest.raises(UserError, match=rf"mine\.npz (is not there|cannot be read {why})"):
        read(path, "arrays")


def test_arrays_of_every_layout_are_the_same(tmp_path):
    """A file or a folder of files; grey with and without a channel; bytes, or floats in [0, 1]."""
    found = []
    for number, images in enumerate((PIXELS, PIXELS[..., None], FLOATS, PIXELS.astype(np.int64))):
        path = tmp_path / f"{number}.npz"
        np.savez(path, images=images, labels=LABELS)
        found.append(read(path, "arrays"))
    np.save(tmp_path / "images.npy", PIXELS)
    np.save(tmp_path / "labels.npy", LABELS)
    found.append(read(tmp_path, "arrays"))
    for other in found:
        assert torch.equal(other.train.pixels, found[0].train.pixels)
        assert torch.equal(other.test.pixels, found[0].test.pixels)
        assert other.spec_fields == {
            "num_classes": 3, "channels": 1, "size": 8, "max_shift": 1, "flip": False,
        }  # fmt: skip


def test_images_are_mirrored_where_mirror_images_could_be_among_them(tmp_path, digits):
    ramps = np.tile(np.arange(0, 256, 4, np.uint8), (60, 64, 1))  # all get lighter to the right
    both = np.concatenate([ramps[:30] // 2, ramps[30:, :, ::-1] // 2])
    both += np.random.default_rng(0).integers(0, 3, both.shape, np.uint8)
    np.savez(tmp_path / "both.npz", images=both, labels=np.arange(60) % 2)
    found = read(tmp_path / "both.npz", "arrays", flip="auto")
    assert found.spec_fields["flip"] and "half of the images are mirrored" in found.warnings[0]
    assert not read(tmp_path / "both.npz", "arrays").warnings
    found = read(digits["folder"], flip="auto")
    assert not found.spec_fields["flip"] and not found.warnings
    assert read(digits["folder"], flip=True).spec_fields["flip"]


# ---- A folder's parts, sizes and cache


def test_a_fifth_that_no_other_image_moves(tmp_path):
    names, labels = [f"{n}.png" for n in range(2000)], np.arange(2000) % 4
    out = custom.make_test_mask(names, labels)
    assert all(0.15 < out[labels == c].mean() < 0.25 for c in range(4))
    more = custom.make_test_mask([*names, "new.png"], np.append(labels, 2))
    np.testing.assert_array_equal(more[:-1], out)
    assert not custom.make_test_mask(
        names, np.arange(2000)
    ).any()  # a class's only image is to learn from
    assert not custom.make_test_mask(names, np.full(2000, -1)).any()
    root = write_tree(tmp_path / "tree", 30, parts=("",))
    found = read(root)
    out = custom.make_test_mask([f"{n}.png" for n in range(30)] * 2, np.repeat([0, 1], 30))
    assert len(found.test.labels) == out.sum()
    save(root / "dog" / "another.png")
    assert set(found.image_paths) <= set(read(root).image_paths)


def test_grey_and_size_are_those_of_all(tmp_path):
    grey = Image.new("L", (12, 20), 77)
    root = tmp_path / "images"
    for part in ("train", "test"):
        for name in "ab":
            for number in range(2):
                save(root / part / name / f"{number}.png", grey)
    save(root / "train" / "a" / "0.extra.png", Image.new("L", (200, 300)))
    found = read(root)
    assert found.train.pixels.shape == (5, 1, 12, 12) and found.spec_fields["max_shift"] == 1
    assert read(root, image_size=5).train.pixels.shape == (5, 1, 5, 5)
    save(root / "test" / "a" / "colour.png")
    assert read(root).train.pixels.shape == (5, 3, 12, 12)
    for path in root.rglob("*.png"):
        save(path, Image.new("L", (300, 200)))
    assert read(root).spec_fields["size"] == 64


def test_corrupt_images_are_named_or_left_out(tmp_path, monkeypatch):
    root, cache = write_tree(tmp_path / "images"), str(tmp_path / "cache")
    whole = read(root)
    for number in range(7):
        text(f"train/cat/bad {number}.png")(root)
    with pytest.raises(UserError) as error:
        read(root, cache=cache)
    assert f"7 of 23 images in {root} cannot be read: train/cat/bad 0.png (no" in str(error.value)
    assert "bad 4.png" in str(error.value) and "bad 5.png" not in str(error.value)
    assert str(error.value).endswith(", ...: mend them, or give --skip-corrupt")
    monkeypatch.setattr(decoded_cache, "decode_image", None)  # they are not read a second time
    found = read(root, cache=cache, skip_corrupt=True)
    assert (
        "7 of 23" in found.warnings[0] and "are left out: train/cat/bad 0.png" in found.warnings[0]
    )
    assert found.fingerprint == whole.fingerprint and found.image_paths == whole.image_paths


def test_the_cache_is_made_once_and_checked(tmp_path, monkeypatch, capsys):
    root, cache = write_tree(tmp_path / "images"), tmp_path / "cache"
    first = read(root, cache=str(cache))
    assert "reading 16 images into" in capsys.readouterr().out
    again = read(root, cache=str(cache))
    assert capsys.readouterr().out == "" and again.fingerprint == first.fingerprint
    pixels = next(cache.glob("*/pixels.bin"))
    content = bytearray(pixels.read_bytes())
    content[100] ^= 1
    pixels.write_bytes(content)
    left = pixels.with_name(".pixels.bin.killed00")
    left.write_bytes(b"")
    assert read(root, cache=str(cache)).fingerprint == first.fingerprint
    assert "has changed since it was made" in capsys.readouterr().out and not left.exists()
    pixels.write_bytes(content[:50])
    assert read(root, cache=str(cache)).fingerprint == first.fingerprint
    save(root / "train" / "cat" / "0.png")  # another image of the same name
    assert read(root, cache=str(cache)).fingerprint != first.fingerprint
    assert len(list(cache.iterdir())) == 2


def test_images_of_unknown_class(tmp_path):
    root = write_tree(tmp_path / "images")
    save(root / "unlabeled" / "below" / "0.png")
    found = read(root)
    assert found.train.labels.tolist() == [0, 1] * 4 + [-1]
    assert found.image_paths[-1] == os.path.join("unlabeled", "below", "0.png")
    np.testing.assert_array_equal(
        splits.draw_balanced_split(found.train.labels, 8, 0), np.arange(8)
    )
    with pytest.raises(UserError, match="which has 4: at most 8 fit"):
        splits.draw_balanced_split(found.train.labels, 9, 0)


# ---- Runs


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """scikit-learn's digits as a folder of PNG and as arrays."""
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


def test_a_folder_arrays_and_the_reader_give_the_same_run(digits, tmp_path, capsys, home):
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
            assert status == 0 and "Finished before; nothing to do" in out
    assert len(results) == len(acquired) == 1
    status, out = run(capsys, *words, "--flip", "True")
    assert status == 0 and "Finished before" not in out


@pytest.mark.parametrize("varying", [0, 2])
def test_channels_that_never_vary(tmp_path, capsys, home, varying):
    """An alpha channel, or all of the images."""
    pixels = np.full((40, SIDE, SIDE, 4), 255, np.uint8)
    pixels[..., :varying] = np.random.default_rng(0).integers(256, size=(40, SIDE, SIDE, varying))
    np.savez(tmp_path / "a.npz", images=pixels, labels=np.arange(40) % 2)
    words = ["--dataset", "arrays", "--data-root", tmp_path / "a.npz", "--epochs", 1, "--al-budget"]
    status, out = run(capsys, *words, 3, "--al-nb-cycles", 1, "-b", 2, "--run-dir", tmp_path / "r")
    assert status == 0, out  # of three labels a batch of two and one of one
    facts = json.loads((tmp_path / "r" / "preprocessing.json").read_text())
    assert facts["std"][varying:] == [1.0] * (4 - varying) and 0 not in facts["std"]


def test_a_changed_folder_is_another_run_with_its_own_splits(tmp_path, capsys, home, monkeypatch):
    root = write_tree(tmp_path / "images", 12)
    words = ["--dataset", "folder", "--data-root", root, "--al-budget", 4, "--al-nb-cycles", 1]
    words += ["--epochs", 1, "--device", "cpu"]
    monkeypatch.chdir(tmp_path)
    assert run(capsys, *words)[0] == 0
    assert "Finished before" in run(capsys, *words)[1]
    before = set(home.glob("folder-*"))
    save(root / "train" / "cat" / "new.png")
    status, out = run(capsys, *words)
    assert status == 0 and "Finished before" not in out
    (after,) = set(home.glob("folder-*")) - before
    split = after / "4_balanced_labels" / "00.txt"
    lines = split.read_text().splitlines()
    split.write_text("\n".join(lines[::-1]) + "\n")  # the user's own
    status, out = run(capsys, *words, "--run-dir", tmp_path / "mine" / "run")
    assert status == 0 and "is your own, not the one" in out
    assert (tmp_path / "mine" / "cache").is_dir()
    seen = load_run_images(json.loads((tmp_path / "mine" / "run" / "config.json").read_text()))
    assert [*seen.initial_indices] == [
        int(line.split()[0]) for line in lines[::-1]
    ] and not seen.reason_missing
    save(root / "unlabeled" / "0.png")
    status, line = run(capsys, *words)
    assert status == 2 and "1 training images of unknown class" in line and "--oracle file" in line


def test_the_generator_makes_the_splits_that_a_run_reads(digits, home, capsys):
    before = set(home.glob("folder-*/30_balanced_labels/00.txt"))
    words = ["--split-size", "30", "--nr-splits", "1", "--data-root"]
    assert generate_splits.main(["--dataset", "folder", *words, str(digits["folder"])]) == 0
    (mine,) = set(home.glob("folder-*/30_balanced_labels/00.txt")) - before
    assert generate_splits.main(["--dataset", "digits", *words, "."]) == 0
    assert mine.read_text() == splits.split_path("digits", 30, 0).read_text()
    assert generate_splits.main(["--dataset", "digits", "--flip", "True", *words, "."]) == 2
    assert "--dataset digits does not read --flip" in capsys.readouterr().err


# ---- More than fits in memory


def test_pixels_that_stay_in_the_file_are_shown_as_those_in_memory(digits, tmp_path, monkeypatch):
    held = read(digits["folder"])
    np.save(tmp_path / "images.npy", held.train.pixels[:, 0])
    np.save(tmp_path / "labels.npy", held.train.labels)
    for module in ("data.decoded_cache", "data.arrays"):
        monkeypatch.setattr(f"{module}.MAX_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("data.memmap.MAX_RESIDENT_BYTES", 2**20)  # given back after every 16 images
    mapped = read(digits["folder"])
    assert isinstance(mapped.train.pixels, MemmapImages) and mapped.fingerprint == held.fingerprint
    assert_same_batches(held, mapped)
    stored = read(tmp_path, "arrays")
    assert isinstance(stored.train.pixels, MemmapImages)
    monkeypatch.setattr("data.arrays.HELD", 2**30)
    assert_same_batches(read(tmp_path, "arrays"), stored)


def assert_same_batches(held, mapped):
    spec = dataclasses.replace(DATASETS["folder"], **held.spec_fields | {"flip": True})
    ids = np.random.default_rng(1).permutation(len(held.train.labels))[:300]
    parts = zip(make_stores(spec, held, "cpu"), make_stores(spec, mapped, "cpu"), strict=True)
    for one, other in parts:
        assert torch.equal(one.plain_batch(slice(None)), other.plain_batch(slice(None)))
        one, other = (batches.subset(ids[ids < len(one)][::2]) for batches in (one, other))
        some = np.array([3, 0, 7, 3])
        for view in ("plain", "weak", "strong"):
            pair = []
            for batches in (one, other):
                rng = [np.random.default_rng(5)] if view != "plain" else []
                pair.append(getattr(batches, view)(some, *rng))
            assert torch.equal(*pair) and len(one) == len(other)
