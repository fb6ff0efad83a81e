"""A folder of images as a list: which files there are, of which class and part.

    train/<class>/...  test/<class>/...  unlabeled/...      or      <class>/...  unlabeled/...

Classes are the folders' names, sorted.  Hidden files and folders are passed over, and files whose
name does not end as an image's does are told of.
"""

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.custom import make_test_mask
from utils.console import to_one_line
from utils.errors import UserError

IMAGE_EXTENSIONS = ("png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", "webp", "pgm", "ppm", "pbm")
TRAIN_FOLDER, TEST_FOLDER, UNLABELED_FOLDER = "train", "test", "unlabeled"
MAX_NAMES_SHOWN = 5  # of many names


@dataclass(frozen=True)
class FolderListing:
    """What is in a folder.  The images are those to learn from, first those of known class, then
    those to test on, each by file name and then by class."""

    root: Path
    class_names: tuple[str, ...]
    image_paths: tuple[str, ...]  # (N,) below the root
    labels: np.ndarray  # (N,) int64, -1 where unknown
    is_test: np.ndarray  # (N,) bool
    warnings: tuple[str, ...]


def list_files(root: str) -> list[Path]:
    """All files that a change of the images would touch."""
    top = Path(os.path.expanduser(root))
    return [Path(folder, name) for folder, _, names in os.walk(top) for name in names]


def list_image_folder(root: str) -> FolderListing:
    """Raises UserError where there is no folder, a link leads out of it, two classes differ in case
    only, or there are no images."""
    top, other = Path(os.path.expanduser(root)), []
    if not top.is_dir():
        raise UserError(
            f"{top} is no folder: --dataset folder reads the folder of images that --data-root "
            "names, with a folder a class in it"
        )
    inside = _list_subfolders(top)
    if TEST_FOLDER in inside and TRAIN_FOLDER not in inside:
        raise UserError(
            f"{top} has {TEST_FOLDER}/ but no {TRAIN_FOLDER}/: name that part {TRAIN_FOLDER}"
        )
    parts = (
        [part for part in (TRAIN_FOLDER, TEST_FOLDER) if part in inside]
        if TRAIN_FOLDER in inside
        else [""]
    )
    classes = sorted(
        {
            name
            for part in parts
            for name in _list_subfolders(top / part)
            if part or name != UNLABELED_FOLDER
        }
    )
    _check_class_names(top, classes)
    rows = []  # test, unknown, name below its class, label, path
    for part in parts:
        for label, name in enumerate(classes):
            below = os.path.join(part, name)
            found = _list_images(top, below, other)
            rows += [
                (part == TEST_FOLDER, False, file, label, os.path.join(below, file))
                for file in found
            ]
    unknown = _list_images(top, UNLABELED_FOLDER, other)
    rows += [(False, True, file, -1, os.path.join(UNLABELED_FOLDER, file)) for file in unknown]
    if not rows:
        raise UserError(f"{top} has no images in folders of classes")
    if TEST_FOLDER not in parts:
        out = make_test_mask([row[2] for row in rows], np.array([row[3] for row in rows]))
        rows = [(bool(test), *row[1:]) for test, row in zip(out, rows, strict=True)]
    rows.sort(key=lambda row: row[:4])
    labels, paths = [row[3] for row in rows], tuple(row[4] for row in rows)
    test = np.array([row[0] for row in rows])
    said = tuple(_collect_warnings(top, classes, set(labels), other))
    return FolderListing(top, tuple(classes), paths, np.array(labels, np.int64), test, said)


def format_names(paths) -> str:
    """Some of many paths, in one line."""
    more = ", ..." if len(paths) > MAX_NAMES_SHOWN else ""
    return ", ".join(to_one_line(str(path)) for path in paths[:MAX_NAMES_SHOWN]) + more


def _list_subfolders(top: Path) -> list[str]:
    with os.scandir(top) as entries:
        return [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]


def _list_images(top: Path, below: str, other: list[str]) -> list[str]:
    """The images in a folder and those in it, by their names below it; the rest goes to `other`."""
    start, found = top / below, []
    for folder, folders, names in os.walk(start):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in [*folders, *([""] if folder == str(start) else [])]:
            _check_link_inside(top, os.path.join(folder, name))
        for name in names:
            path = os.path.join(folder, name)
            if name.startswith("."):
                continue
            _check_link_inside(top, path)
            known = name.lower().endswith(tuple(f".{ending}" for ending in IMAGE_EXTENSIONS))
            (found if known else other).append(os.path.relpath(path, start if known else top))
    return found


def _check_link_inside(top: Path, path: str) -> None:
    if os.path.islink(path.rstrip("/")) and not Path(os.path.realpath(path)).is_relative_to(
        os.path.realpath(top)
    ):
        raise UserError(
            f"{to_one_line(path)} is a link that leads out of {top}: put there what it leads to"
        )


def _check_class_names(top: Path, classes: list[str]) -> None:
    seen = {}
    for name in classes:
        plain = unicodedata.normalize("NFC", name).casefold()
        if plain in seen:
            raise UserError(
                f"the classes {to_one_line(seen[plain])!r} and {to_one_line(name)!r} of {top} differ in "
                "case only: rename one, or join them"
            )
        seen[plain] = name


def _collect_warnings(top: Path, classes: list[str], used: set[int], other: list[str]) -> list[str]:
    empty = [name for label, name in enumerate(classes) if label not in used]
    said = [f"{top}: {len(empty)} classes have no image: {format_names(empty)}"] if empty else []
    if other:
        said.append(
            f"{top}: {len(other)} files are not read, by their names no images: {format_names(other)}"
        )
    return said
