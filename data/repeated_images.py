"""Finds images that are in the folders of two classes."""

from collections.abc import Sequence

from data.duplicates import digest_images
from data.image_tree import format_names
from data.images import Images


def describe_images_of_two_classes(
    parts: Sequence[tuple[Images, Sequence[str]]], source: str
) -> list[str]:
    """A line with the number of distinct images that have more than one class, if there are any.

    parts: images of one shape, and their paths; label -1 is not a class.
    source: where they are, for the line."""
    first: dict[bytes, tuple[int, str]] = {}
    examples: dict[bytes, str] = {}
    for images, paths in parts:
        for digest, label, path in zip(
            digest_images(images.pixels), images.labels.tolist(), paths, strict=True
        ):
            if label < 0:
                continue
            other_label, other_path = first.setdefault(digest, (label, path))
            if label != other_label:
                examples.setdefault(digest, f"{other_path} = {path}")
    if not examples:
        return []
    return [
        f"{source}: {len(examples):,} images are in the folders of two classes: "
        f"{format_names(list(examples.values()))}"
    ]
