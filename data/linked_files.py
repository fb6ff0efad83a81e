"""Image files that a folder has under several paths, by symbolic links."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data.image_tree import format_names


class ImageFile(NamedTuple):
    """An image of the listing; the fields before `path` are its sort key."""

    part: int  # index in data.folder_listing.PART_ORDER
    is_unlabeled: bool
    name: str  # relative to the folder of its class
    label: int
    path: str  # relative to the root
    real_path: str


def drop_repeated_files(top: Path, images: list[ImageFile]) -> list[ImageFile]:
    """Without further paths, through links, to an image that its part has already: with the same
    class, or with a class where the further path has none."""
    if len({image.real_path for image in images}) == len(images):
        return list(images)
    groups: dict[str, list[ImageFile]] = {}
    for image in images:
        groups.setdefault(image.real_path, []).append(image)
    real_top = os.path.realpath(top)
    result = []
    for real_path, group in groups.items():
        kept: list[ImageFile] = []
        group.sort(
            key=lambda i: (i.is_unlabeled, os.path.join(real_top, i.path) != real_path, i.path)
        )
        for image in group:
            same_part = [other.label for other in kept if other.part == image.part]
            if image.label not in same_part and not (image.is_unlabeled and same_part):
                kept.append(image)
        result += kept
    return result


def describe_repeated_files(
    top: Path, all_images: list[ImageFile], images: list[ImageFile]
) -> Iterator[str]:
    """Lines about files that several links lead to."""
    kept = {image.path for image in images}
    repeated = sorted(image.path for image in all_images if image.path not in kept)
    if repeated:
        yield (
            f"{top}: {len(repeated):,} links lead to images that are read already, and are not "
            f"read again: {format_names(repeated)}"
        )
    parts: dict[str, set[int]] = {}
    for image in images:
        parts.setdefault(image.real_path, set()).add(image.part)
    shared = sorted(image.path for image in images if len(parts[image.real_path]) > 1)
    if shared:
        count = sum(len(of_file) > 1 for of_file in parts.values())
        yield (
            f"{top}: {count:,} images are in more than one part through links: "
            f"{format_names(shared)}"
        )
