"""Folders of image files for the tests; most tests need only the names of the files."""

import os
import re
from pathlib import Path

import numpy as np
from PIL import Image

from data.folder_listing import FolderListing, list_image_folder


def add_files(root: Path, *paths: str) -> Path:
    """Empty files; `{a,b}` stands for a and b, `{1-3}` for 1, 2, 3."""
    for path in paths:
        for name in expand(path):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"")
    return root


def add_images(root: Path, *paths: str) -> Path:
    """Distinct images of 8 x 8 pixels."""
    add_files(root, *paths)
    for path in paths:
        for name in expand(path):
            pixels = np.random.default_rng(list(os.fsencode(name))).integers(256, size=(8, 8, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(root / name)
    return root


def expand(path: str) -> list[str]:
    match = re.search(r"\{([^}]*)\}", path)
    if match is None:
        return [path]
    words = match[1].split(",")
    if re.fullmatch(r"\d+-\d+", match[1]):
        first, last = match[1].split("-")
        words = [str(n) for n in range(int(first), int(last) + 1)]
    return [more for w in words for more in expand(path[: match.start()] + w + path[match.end() :])]


def count_parts(listing: FolderListing) -> dict[str, int]:
    """The number of images by part; parts without images are left out."""
    is_train = ~listing.is_test & ~listing.is_validation
    counts = {
        "train": is_train & (listing.labels >= 0),
        "test": listing.is_test,
        "val": listing.is_validation,
        "unlabeled": is_train & (listing.labels < 0),
    }
    counts = {name: int(mask.sum()) for name, mask in counts.items()}
    counts["left out"] = sum(listing.left_out.values())
    return {name: count for name, count in counts.items() if count}


def read(root: Path) -> FolderListing:
    return list_image_folder(str(root))
