"""Whatever a folder holds, every image in it is accounted for, or one line refuses it."""

import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.folder_files import add_files, add_images, count_parts, read
from tests.data.test_folder_layouts import load
from tests.examples import examples
from utils.errors import UserError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")

KINDS = {
    "class folders": lambda root: add_files(root, "{cat,dog}/{1-5}.png"),
    "parts": lambda root: add_files(root, "{train,test}/{cat,dog}/{1-3}.JPG"),
    "capitals": lambda root: add_files(root, "Training/{cat,dog}/{1-3}.png"),
    "train": lambda root: add_files(root, "train/{cat,dog,cow}/{1-3}.png"),
    "validation": lambda root: add_files(root, "val/{cat,dog}/{1-2}.png"),
    "second validation": lambda root: add_files(root, "Valid/cat/a.png"),
    "unlabeled": lambda root: add_files(root, "unlabeled/a/{1-2}.png"),
    "unlabelled": lambda root: add_files(root, "Unlabelled/{1-2}.png"),
    "unlabeled in train": lambda root: add_files(root, "train/unlabeled/{7-8}.png"),
    "unknown": lambda root: add_files(root, "{train,test}/unknown/9.png"),
    "loose": lambda root: add_files(root, "{1-3}.png"),
    "loose in train": lambda root: add_files(root, "train/{x,y}.png"),
    "flat test": lambda root: add_files(root, "test/{x,y}.png"),
    "other folder": lambda root: add_files(root, "extra/more/1.gif"),
    "hidden folder": lambda root: add_files(root, ".git/a/1.png", "train/cat/.x/2.png"),
    "hidden files": lambda root: add_files(root, ".1.png", "train/cat/._1.png", "cat/.2.png"),
    "thumbnails": lambda root: add_files(root, "train/cat/@eaDir/1.png/T.jpg", "@eaDir/1.jpg"),
    "macOS": lambda root: add_files(root, "__MACOSX/train/._cat", "train/__MACOSX/1.png"),
    "system files": lambda root: add_files(root, "train/cat/{Thumbs.db,desktop.ini}", ".DS_Store"),
    "VOC": lambda root: add_files(root, "JPEGImages/1.jpg", "Annotations/1.xml"),
    "COCO": lambda root: add_files(root, "images/1.jpg", "annotations/a.json"),
    "YOLO": lambda root: add_files(root, "{images,labels}/1.txt", "images/1.jpg"),
    "class named train": lambda root: add_files(root, "train/train/1.png"),
    "empty folders": lambda root: add_files(root, "train/cow/a.txt", "test/a.txt", "dog/a.txt"),
    "blank at the end": lambda root: add_files(root, "train/cat /1.png"),
    "deep": lambda root: add_files(root, "train/cat/a/b/c/{1-2}.webp"),
    "strange names": lambda root: add_files(root, "train/cat/a\nb.png", "train/ü 雪/1.png"),
    "link to a class": lambda root: add_link(root, "train/linked", "../../store/cow"),
    "link in a class": lambda root: add_link(root, "cat/more", "../../store"),
    "second link": lambda root: add_link(root, "train/cat/again", "../../../store/cow"),
    "link to a file": lambda root: add_link(root, "train/dog/l.png", "../../../store/cow/1.png"),
    "link inside": lambda root: add_link(root, "test/inside", "../train/cat"),
    "loop": lambda root: add_link(root, "train/cat/loop", "../.."),
    "hidden link": lambda root: add_link(root, ".hidden link", "../store"),
    "part as a link": lambda root: add_link(root, "testing", "train"),
}


def add_link(root, path, target):
    add_files(root.parent / "store", "cow/{1-2}.png")
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).symlink_to(target)


def find_images(root) -> set[str]:
    """All image files that can be reached, without links; a slow and simple search."""
    found, visited, waiting = set(), set(), [str(root)]
    while waiting:
        folder = os.path.realpath(waiting.pop())
        if folder in visited or Path(root).parent.is_relative_to(folder):
            continue
        visited.add(folder)
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if os.path.isdir(path):
                if not (os.path.islink(path) and name.startswith(".")):
                    waiting.append(path)
            elif name.lower().endswith(ENDINGS):
                found.add(os.path.realpath(path))
    return found


@examples(200)
@given(
    st.sampled_from(["class folders", "parts", "train"]),
    st.lists(st.sampled_from(sorted(KINDS)), max_size=6, unique=True),
)
def test_every_image_is_accounted_for_or_one_line(base, names):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root").resolve()
        root.mkdir()
        for name in dict.fromkeys([base, *names]):
            KINDS[name](root)
        try:
            listing = read(root)
        except UserError as error:
            assert str(root) in str(error) and "\n" not in str(error)
            return
        used = [os.path.realpath(root / path) for path in listing.image_paths]
        several = len(used) - len(set(used))  # in two classes or parts
        counts = count_parts(listing)
        assert sum(counts.values()) == len(find_images(root)) + several
        assert set(used) <= find_images(root)
        assert listing.describe_counts().startswith(f"{sum(counts.values()):,} images: ")
        in_parts = set(zip(used, listing.is_test, listing.is_validation, strict=True))
        is_said = any("more than one part through links" in line for line in listing.warnings)
        assert is_said == (len(in_parts) > len(set(used)))
        assert len(listing.class_names) >= 2 and not {"__MACOSX", "@eaDir"} & {*listing.class_names}
        assert all(not re.search("[\n\r]", line) for line in listing.warnings)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_each_kind_beside_parts_ends_with_a_count_or_one_line(name, tmp_path):
    """As the whole reader sees it, with images that can be read."""
    root = add_images(tmp_path / "root", "{train,test}/{cat,dog}/{11-14}.png")
    KINDS[name](root)
    try:
        loaded = load(root, skip_corrupt=True)
    except UserError as error:
        assert str(root) in str(error) and "\n" not in str(error)
        return
    total = int(re.match(r"([0-9,]+) images: ", loaded.notes[0].split(": ", 1)[1])[1])
    assert len(loaded.train.labels) >= 8 and len(loaded.test.labels) >= 8
    assert total >= len(find_images(root))
