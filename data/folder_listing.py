"""A folder of images as a list: which files it has, and the class and part of each.

    train/<class>/...  test/<class>/...  unlabeled/...      or      <class>/...  unlabeled/...

Classes are the names of the folders, sorted.  Hidden files and folders are ignored; files without
the extension of an image are ignored with a warning.
"""

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.custom import make_test_mask
from data.image_formats import has_image_extension
from utils.console import to_one_line
from utils.errors import UserError

TRAIN_FOLDER, TEST_FOLDER, UNLABELED_FOLDER = "train", "test", "unlabeled"
MAX_NAMES_SHOWN = 5  # per message


@dataclass(frozen=True)
class FolderListing:
    """The N images in a folder: training images of known class, then those of unknown class, then
    test images, each sorted by file name and then by class."""

    root: Path
    class_names: tuple[str, ...]
    image_paths: tuple[str, ...]  # (N,) relative to the root
    labels: np.ndarray  # (N,) int64, -1 where unknown
    is_test: np.ndarray  # (N,) bool
    warnings: tuple[str, ...]


class _ImageFile(NamedTuple):
    """An image of the listing; the fields except `path` are its sort key."""

    is_test: bool
    is_unlabeled: bool
    name: str  # relative to the folder of its class
    label: int
    path: str  # relative to the root


def list_files(root: str) -> list[Path]:
    """All files in the folder; a change of the images changes one of them."""
    top = Path(os.path.expanduser(root))
    return [Path(folder, name) for folder, _, names in os.walk(top) for name in names]


def list_image_folder(root: str) -> FolderListing:
    """Raises UserError where the folder does not exist or has no images, a link leads out of it, or
    the names of two classes differ only in case."""
    top = Path(os.path.expanduser(root))
    parts = _list_parts(top)
    class_names = sorted(
        {
            name
            for part in parts
            for name in _list_subfolders(top / part)
            if part or name != UNLABELED_FOLDER
        }
    )
    _check_class_names(top, class_names)
    images: list[_ImageFile] = []
    other_files: list[str] = []
    for part in parts:
        for label, class_name in enumerate(class_names):
            folder = os.path.join(part, class_name)
            images += [
                _ImageFile(part == TEST_FOLDER, False, name, label, os.path.join(folder, name))
                for name in _list_images(top, folder, other_files)
            ]
    images += [
        _ImageFile(False, True, name, -1, os.path.join(UNLABELED_FOLDER, name))
        for name in _list_images(top, UNLABELED_FOLDER, other_files)
    ]
    if not images:
        raise UserError(f"{top} has no images in class folders")
    if TEST_FOLDER not in parts:
        labels = np.array([image.label for image in images])
        mask = make_test_mask([image.name for image in images], labels)
        images = [
            image._replace(is_test=bool(test)) for test, image in zip(mask, images, strict=True)
        ]
    images.sort(key=lambda image: image[:4])
    return FolderListing(
        top,
        tuple(class_names),
        tuple(image.path for image in images),
        np.array([image.label for image in images], np.int64),
        np.array([image.is_test for image in images]),
        tuple(_collect_warnings(top, class_names, {i.label for i in images}, other_files)),
    )


def list_images_below(root: Path) -> tuple[list[str], list[str]]:
    """The images in a folder without classes and in its subfolders, and the other files; both
    sorted and relative to the folder."""
    other_files: list[str] = []
    return sorted(_list_images(root, "", other_files)), sorted(other_files)


def format_names(names: Sequence[str]) -> str:
    """The first of many names, in one line."""
    more = ", ..." if len(names) > MAX_NAMES_SHOWN else ""
    return ", ".join(to_one_line(name) for name in names[:MAX_NAMES_SHOWN]) + more


def _list_parts(top: Path) -> list[str]:
    """The folders with class folders in them, relative to `top`: train and test, or "" alone."""
    if not top.is_dir():
        raise UserError(
            f"{top} is not a folder; --dataset folder reads the folder of images that --data-root "
            "names, with one folder per class in it"
        )
    subfolders = _list_subfolders(top)
    if TRAIN_FOLDER in subfolders:
        return [part for part in (TRAIN_FOLDER, TEST_FOLDER) if part in subfolders]
    if TEST_FOLDER in subfolders:
        raise UserError(
            f"{top} has {TEST_FOLDER}/ but not {TRAIN_FOLDER}/; name the training part "
            f"{TRAIN_FOLDER}"
        )
    return [""]


def _list_subfolders(top: Path) -> list[str]:
    with os.scandir(top) as entries:
        return [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]


def _list_images(top: Path, folder: str, other_files: list[str]) -> list[str]:
    """The images in `folder`, below `top`, and its subfolders, relative to `folder`.

    The names of all other files are appended to `other_files`, relative to `top`."""
    start = top / folder
    images = []
    for current, subfolders, names in os.walk(start):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in [*subfolders, *([""] if current == str(start) else [])]:
            _check_link_inside(top, os.path.join(current, name))
        for name in names:
            path = os.path.join(current, name)
            if name.startswith("."):
                continue
            _check_link_inside(top, path)
            if has_image_extension(name):
                images.append(os.path.relpath(path, start))
            else:
                other_files.append(os.path.relpath(path, top))
    return images


def _check_link_inside(top: Path, path: str) -> None:
    if os.path.islink(path.rstrip("/")) and not Path(os.path.realpath(path)).is_relative_to(
        os.path.realpath(top)
    ):
        raise UserError(
            f"{to_one_line(path)} is a link that leads out of {top}; replace it by a copy of its "
            "target"
        )


def _check_class_names(top: Path, class_names: list[str]) -> None:
    folded_names: dict[str, str] = {}
    for name in class_names:
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in folded_names:
            raise UserError(
                f"the class names {to_one_line(folded_names[folded])!r} and "
                f"{to_one_line(name)!r} in {top} differ only in case; rename or merge them"
            )
        folded_names[folded] = name


def _collect_warnings(
    top: Path, class_names: list[str], labels: set[int], other_files: list[str]
) -> list[str]:
    warnings = []
    empty = [name for label, name in enumerate(class_names) if label not in labels]
    if empty:
        warnings.append(f"{top}: {len(empty)} classes have no images: {format_names(empty)}")
    if other_files:
        warnings.append(
            f"{top}: {len(other_files)} files without the extension of an image are ignored: "
            f"{format_names(other_files)}"
        )
    return warnings
