"""How many images the folders below a root have, and which other files lie there."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from data.folder_walk import FolderContents, FoundFile, is_skipped_folder
from data.image_formats import has_image_extension
from utils.console import to_one_line

MAX_NAMES_SHOWN = 5  # per message


@dataclass(frozen=True)
class ImageTree:
    """The files of a folder that are neither hidden nor in a folder of the system.

    Paths of folders are relative to the root, which is ""."""

    root: Path
    images: list[FoundFile]
    other_files: list[str]
    image_counts: Counter[str]  # folder -> images directly in it
    total_counts: Counter[str]  # folder -> images in it and below it
    subfolders: dict[str, list[str]]  # folder -> names of the folders in it, sorted

    def subfolders_with_images(self, folder: str) -> list[str]:
        """The names of the folders in `folder` that have images in or below them."""
        names = self.subfolders.get(folder, [])
        return [name for name in names if self.total_counts[os.path.join(folder, name)]]


def hidden_or_system_part(path: str) -> str:
    """The first part of a path that is hidden or a folder of the system; "" where there is none."""
    folder, _, name = path.rpartition(os.sep)
    return _system_folder_in(folder) or (name if name.startswith(".") else "")


@lru_cache
def _system_folder_in(path: str) -> str:
    """The first folder of a path that is skipped; "" where there is none."""
    return next((name for name in path.split(os.sep) if is_skipped_folder(name)), "")


def make_image_tree(root: Path, contents: FolderContents) -> ImageTree:
    """The images and other files among the contents of `root`."""
    visible = [file for file in contents.files if not hidden_or_system_part(file.path)]
    images = [file for file in visible if has_image_extension(file.path)]
    image_counts = Counter(os.path.dirname(file.path) for file in images)
    total_counts: Counter[str] = Counter()
    for folder, count in image_counts.items():
        total_counts[folder] += count
        while folder:
            folder = os.path.dirname(folder)
            total_counts[folder] += count
    subfolders: dict[str, list[str]] = {}
    for path in sorted(contents.folders):
        if not hidden_or_system_part(os.path.join(path, "file")):
            subfolders.setdefault(os.path.dirname(path), []).append(os.path.basename(path))
    others = sorted(file.path for file in visible if not has_image_extension(file.path))
    return ImageTree(root, images, others, image_counts, total_counts, subfolders)


def format_names(names: Sequence[str]) -> str:
    """The first of many names, in one line."""
    more = ", ..." if len(names) > MAX_NAMES_SHOWN else ""
    return ", ".join(to_one_line(name) for name in names[:MAX_NAMES_SHOWN]) + more


def format_folder(path: str) -> str:
    """A folder of the root in one line, with a slash."""
    return f"{to_one_line(path)}/"
