"""Links and permissions below a folder of images."""

import os
import shutil
import subprocess
import sys

import pytest

from data.folder_listing import list_files
from tests.conftest import ROOT
from tests.data.folder_files import add_files, count_parts, read
from utils.errors import SystemRefusal, UserError

PARTS = ("train/{cat,dog}/{1-4}.png", "test/{cat,dog}/{1-4}.png")
EIGHTS = {"train": 8, "test": 8}


@pytest.fixture
def root(tmp_path):
    return add_files(tmp_path / "root", *PARTS)


def link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def test_links_to_class_folders_outside_are_followed(tmp_path):
    """The usual way to make a subset: the paths are those of the links."""
    store = add_files(tmp_path / "store", "{cat,dog,cow}/{1-4}.png", "cat/below/5.png")
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            link(tmp_path / "root" / part / name, store / name)
    listing = read(tmp_path / "root")
    assert count_parts(listing) == {"train": 9, "test": 9}
    assert "train/cat/below/5.png" in listing.image_paths
    assert any("9 images are in more than one part" in line for line in listing.warnings)
    before = list_files(str(tmp_path / "root"))
    assert sorted(before) == sorted(tmp_path / "root" / path for path in listing.image_paths)


def test_the_parts_and_the_root_may_be_links(tmp_path, root):
    link(tmp_path / "parts" / "Train", root / "train")
    link(tmp_path / "parts" / "Test", root / "test")
    link(tmp_path / "root link", tmp_path / "parts")
    listing = read(tmp_path / "root link")
    assert count_parts(listing) == EIGHTS and not listing.warnings
    assert listing.image_paths[0] == "Train/cat/1.png"


def test_links_to_files_outside_are_followed(tmp_path, root):
    add_files(tmp_path / "store", "5.png")
    link(root / "train/cat/5.png", tmp_path / "store/5.png")
    link(root / "train/dog/5.png", "../cat/5.png")
    assert count_parts(read(root)) == {"train": 10, "test": 8}


def test_a_link_into_a_hidden_folder_is_followed(root):
    add_files(root, ".store/more/{1-3}.png", ".store/4.png")
    link(root / "train/cat/more", "../../.store/more")
    listing = read(root)
    assert count_parts(listing) == {"train": 11, "test": 8, "left out": 1}
    assert listing.describe_counts().startswith("20 images: 11 train, 8 test, 1 left out")


def test_a_store_beside_links_to_its_images(root):
    """Images of the store that a class folder links to are read once, the others are counted."""
    add_files(root, "all/{1-5}.png")
    for number in range(1, 4):
        link(root / f"train/cat/new{number}.png", f"../../all/{number}.png")
    listing = read(root)
    assert count_parts(listing) == {"train": 11, "test": 8, "left out": 2}
    assert any("2 images in all/" in line for line in listing.warnings)


def test_unlabeled_links_to_labeled_images_are_read_once(root):
    add_files(root, "unlabeled/{5-6}.png")
    for number in range(1, 5):
        link(root / f"unlabeled/cat{number}.png", f"../train/cat/{number}.png")
    listing = read(root)
    assert count_parts(listing) == EIGHTS | {"unlabeled": 2}
    assert any("4 links lead to images that are read already" in line for line in listing.warnings)


def test_no_image_is_counted_twice_through_two_links(tmp_path, root):
    store = add_files(tmp_path / "store", "a/{1-3}.png")
    for name in ("one", "two"):
        link(root / "train/cat" / name, store / "a")
    link(root / "train/cat/three", store)
    link(root / "train/cat/four.png", "1.png")
    listing = read(root)
    assert count_parts(listing) == {"train": 11, "test": 8}
    assert any("not read again" in line for line in listing.warnings)
    assert "train/cat/1.png" in listing.image_paths


def test_the_same_image_in_two_classes_and_parts_is_said(root):
    link(root / "train/dog/a.png", "../cat/1.png")
    link(root / "test/cat/b.png", "../../train/cat/2.png")
    listing = read(root)
    assert count_parts(listing) == {"train": 9, "test": 9}
    (line,) = listing.warnings
    assert "1 images are in more than one part" in line and "test/cat/b.png" in line


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "/"])
def test_loops_are_not_followed(root, target):
    link(root / "train/cat/loop", target)
    listing = read(root)
    assert count_parts(listing) == EIGHTS
    (line,) = listing.warnings
    assert "1 links to a folder that contains them" in line and "train/cat/loop" in line


def test_loops_out_of_the_root_and_between_folders_end(tmp_path, root):
    add_files(tmp_path / "store", "{a,b}/{1-2}.png")
    link(tmp_path / "store/a/b", "../b")
    link(tmp_path / "store/b/a", "../a")
    link(tmp_path / "store/b/up", "..")
    link(root / "train/cat/a", tmp_path / "store/a")
    link(root / "train/dog/b", tmp_path / "store/b")
    listing = read(root)
    assert count_parts(listing) == {"train": 16, "test": 8}


def test_many_folders_that_link_to_each_other(tmp_path):
    names = [f"{n:02}" for n in range(6)]
    for name in names:
        add_files(tmp_path, f"{name}/{{1-2}}.png")
        for other in names:
            link(tmp_path / name / f"to{other}", f"../{other}")
    listing = read(tmp_path)
    assert len(listing.labels) == 6 * 12


@pytest.mark.parametrize("target", ["nowhere", "cow"])
def test_a_link_that_may_be_a_class_and_leads_nowhere_is_refused(root, target):
    link(root / "train/cow", target)
    with pytest.raises(UserError, match=r"train/cow is a link to .* does not exist"):
        read(root)


def test_a_broken_link_to_an_image_is_an_image_that_cannot_be_read(root):
    link(root / "train/cat/5.png", "nowhere.png")
    link(root / "train/cat/notes.txt", "nowhere.txt")
    link(root / "train/cat/.#lock", "nobody@nowhere")
    assert count_parts(read(root)) == {"train": 9, "test": 8}


# ---- Permissions: the reader runs as a user whom they concern

LIST_FOLDERS = """
import sys
from data.folder_listing import list_files, list_image_folder
from utils.errors import SystemRefusal
for root in sys.argv[1:]:
    try:
        list_files(root)
        listing = list_image_folder(root)
        print(listing.describe_counts(), *listing.warnings)
    except SystemRefusal as error:
        print("refused:", error)
"""
# Folder without permission -> words of the line for its root.
WITHOUT_PERMISSION = {
    ".": ["refused: {root} cannot be read", "Permission denied", "permission"],
    **{
        folder: [f"refused: {{root}}/{folder} cannot be read", "Permission denied", "permission"]
        for folder in ("train", "train/cat", "train/cat/more", "test/dog", "new")
    },
    "../store": ["refused: {root}/train/cow cannot be read", "Permission denied"],
    "lost+found": ["18 images: 9 train, 8 test", "1 hidden folders", "lost+found"],
    "train/cat/.Trash": ["18 images: 9 train, 8 test", "1 hidden folders", ".Trash"],
}


def read_without_privileges(roots) -> list[str]:
    """What the reader says where permissions are respected, also if the tests run as root."""
    capabilities = "-dac_override,-dac_read_search"
    drop = ["setpriv", f"--bounding-set={capabilities}", f"--inh-caps={capabilities}"]
    result = subprocess.run(
        [*(drop if os.geteuid() == 0 else []), sys.executable, "-c", LIST_FOLDERS, *roots],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert not result.stderr
    return result.stdout.splitlines()


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="needs setpriv")
def test_folders_without_permission_are_refused_or_said(tmp_path):
    roots = []
    for number, folder in enumerate(WITHOUT_PERMISSION):
        root = add_files(
            tmp_path / str(number), *PARTS, "train/cat/more/1.png", "new/1.txt", f"{folder}/a"
        )
        if folder == "../store":
            add_files(root, f"{folder}/cow/1.png")
            link(root / "train/cow", tmp_path / "store/cow")
        if folder in ("lost+found", "train/cat/.Trash"):
            add_files(root, ".hidden.png", f"{folder}/1.png")
        roots.append(root)
    for root, folder in zip(roots, WITHOUT_PERMISSION, strict=True):
        (root / folder).chmod(0)
    try:
        lines = read_without_privileges(map(str, roots))
    finally:
        for root, folder in zip(roots, WITHOUT_PERMISSION, strict=True):
            (root / folder).chmod(0o755)
    for root, line, words in zip(roots, lines, WITHOUT_PERMISSION.values(), strict=True):
        for word in words:
            assert word.format(root=root) in line


def test_a_file_instead_of_a_folder(tmp_path):
    add_files(tmp_path, "a.zip")
    with pytest.raises(UserError, match="not a folder") as error:
        read(tmp_path / "a.zip")
    assert not isinstance(error.value, SystemRefusal)
    assert list_files(str(tmp_path / "a.zip")) == []
