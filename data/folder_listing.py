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

from data.custom import held_out
from utils.console import one_line
from utils.errors import UserError

ENDINGS = ("png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", "webp", "pgm", "ppm", "pbm")
TRAIN, TEST, UNLABELED = "train", "test", "unlabeled"
SHOWN = 5  # of many names


@dataclass(frozen=True)
class Tree:
    """What is in a folder.  The images are those to learn from, first those of known class, then
    those to test on, each by file name and then by class."""

    root: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]  # (N,) below the root
    labels: np.ndarray  # (N,) int64, -1 where unknown
    test: np.ndarray  # (N,) bool
    notices: tuple[str, ...]


def files(root: str) -> list[Path]:
    """All files that a change of the images would touch."""
    top = Path(os.path.expanduser(root))
    return [Path(folder, name) for folder, _, names in os.walk(top) for name in names]


def listed(root: str) -> Tree:
    """Raises UserError where there is no folder, a link leads out of it, two classes differ in case
    only, or there are no images."""
    top, other = Path(os.path.expanduser(root)), []
    if not top.is_dir():
        raise UserError(
            f"{top} is no folder: --dataset folder reads the folder of images that --data-root "
            "names, with a folder a class in it"
        )
    inside = _folders(top)
    if TEST in inside and TRAIN not in inside:
        raise UserError(f"{top} has {TEST}/ but no {TRAIN}/: name that part {TRAIN}")
    parts = [part for part in (TRAIN, TEST) if part in inside] if TRAIN in inside else [""]
    classes = sorted(
        {name for part in parts for name in _folders(top / part) if part or name != UNLABELED}
    )
    _check_names(top, classes)
    rows = []  # test, unknown, name below its class, label, path
    for part in parts:
        for label, name in enumerate(classes):
            below = os.path.join(part, name)
            found = _images(top, below, other)
            rows += [
                (part == TEST, False, file, label, os.path.join(below, file)) for file in found
            ]
    unknown = _images(top, UNLABELED, other)
    rows += [(False, True, file, -1, os.path.join(UNLABELED, file)) for file in unknown]
    if not rows:
        raise UserError(f"{top} has no images in folders of classes")
    if TEST not in parts:
        out = held_out([row[2] for row in rows], np.array([row[3] for row in rows]))
        rows = [(bool(test), *row[1:]) for test, row in zip(out, rows, strict=True)]
    rows.sort(key=lambda row: row[:4])
    labels, paths = [row[3] for row in rows], tuple(row[4] for row in rows)
    test = np.array([row[0] for row in rows])
    said = tuple(_notices(top, classes, set(labels), other))
    return Tree(top, tuple(classes), paths, np.array(labels, np.int64), test, said)


def named(paths) -> str:
    """Some of many paths, in one line."""
    more = ", ..." if len(paths) > SHOWN else ""
    return ", ".join(one_line(str(path)) for path in paths[:SHOWN]) + more


def _folders(top: Path) -> list[str]:
    with os.scandir(top) as entries:
        return [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]


def _images(top: Path, below: str, other: list[str]) -> list[str]:
    """The images in a folder and those in it, by their names below it; the rest goes to `other`."""
    start, found = top / below, []
    for folder, folders, names in os.walk(start):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in [*folders, *([""] if folder == str(start) else [])]:
            _stay_inside(top, os.path.join(folder, name))
        for name in names:
            path = os.path.join(folder, name)
            if name.startswith("."):
                continue
            _stay_inside(top, path)
            known = name.lower().endswith(tuple(f".{ending}" for ending in ENDINGS))
            (found if known else other).append(os.path.relpath(path, start if known else top))
    return found


def _stay_inside(top: Path, path: str) -> None:
    if os.path.islink(path.rstrip("/")) and not Path(os.path.realpath(path)).is_relative_to(
        os.path.realpath(top)
    ):
        raise UserError(
            f"{one_line(path)} is a link that leads out of {top}: put there what it leads to"
        )


def _check_names(top: Path, classes: list[str]) -> None:
    seen = {}
    for name in classes:
        plain = unicodedata.normalize("NFC", name).casefold()
        if plain in seen:
            raise UserError(
                f"the classes {one_line(seen[plain])!r} and {one_line(name)!r} of {top} differ in "
                "case only: rename one, or join them"
            )
        seen[plain] = name


def _notices(top: Path, classes: list[str], used: set[int], other: list[str]) -> list[str]:
    empty = [name for label, name in enumerate(classes) if label not in used]
    said = [f"{top}: {len(empty)} classes have no image: {named(empty)}"] if empty else []
    if other:
        said.append(
            f"{top}: {len(other)} files are not read, by their names no images: {named(other)}"
        )
    return said
