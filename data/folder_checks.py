"""What is refused in a folder of images, and which lines a user reads about the rest."""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from data.folder_parts import PART_NAMES, TEST, TRAIN, UNLABELED, Layout, part_of_name
from data.folder_walk import FolderContents
from data.image_tree import ImageTree, format_folder, format_names
from utils.console import pluralize, to_one_line
from utils.errors import UserError


def check_links(tree: ImageTree, contents: FolderContents) -> None:
    """Raises UserError where a link that may have been a folder of images leads nowhere."""
    for path in contents.broken_links:
        if not os.path.splitext(path)[1]:
            target = os.readlink(tree.root / path)
            raise UserError(
                f"{to_one_line(str(tree.root / path))} is a link to {to_one_line(target)}, which "
                "does not exist; repair or remove it"
            )


def check_class_names(top: Path, class_names: list[str]) -> None:
    """Raises UserError where two names differ in nothing but case or blanks, or one is blank."""
    names: dict[str, str] = {}
    for name in class_names:
        key = unicodedata.normalize("NFC", to_one_line(name)).casefold()
        if not key:
            raise UserError(f"the class name {name!r} in {top} is blank; rename the folder")
        if key in names:
            raise UserError(
                f"the class names {names[key]!r} and {name!r} in {top} differ only in case or "
                "blanks; rename or merge the folders"
            )
        names[key] = name


def check_class_count(tree: ImageTree, layout: Layout, labels: set[int]) -> None:
    """Raises UserError where fewer than two classes have images.

    labels: of all images of known class."""
    if len(labels) >= 2:
        return
    if not tree.images:
        raise UserError(
            f"{tree.root} has no images in class folders; --data-root must name the folder with "
            f"one folder per class, or with {TRAIN}/ and {TEST}/"
        )
    folder = layout.parts[TRAIN]
    top = tree.root / folder
    problem = f"{top} has {pluralize(len(labels), 'class')} with images; at least two are needed"
    paths = [p for p in layout.class_folders(tree, TRAIN).values() if tree.total_counts[p]]
    inner = tree.subfolders_with_images(paths[0]) if len(paths) == 1 else []
    if len(inner) > 1 and not any(part_of_name(name) for name in inner):
        shown = format_names([os.path.join(paths[0], name) for name in inner])
        raise UserError(
            f"{problem}; if the folders in {format_folder(paths[0])} are the classes ({shown}), "
            + (f"move them up to {TRAIN}/" if folder else f"give --data-root {top / paths[0]}")
        )
    loose = tree.image_counts[folder]
    where = f" ({loose} images lie in no class folder)" if loose else ""
    raise UserError(
        f"{problem}{where}; put each image into the folder of its class, {TRAIN}/<class>/, and "
        f"images of unknown class into {UNLABELED}/"
    )


def describe_left_out(top: Path, left_out: dict[str, list[str]]) -> Iterator[str]:
    """One line, with a cure, for each reason for which images are left out.

    left_out: reason -> paths of the images; hidden images and those of systems are not in it."""
    for reason, paths in left_out.items():
        if not paths:  # links lead to all of them
            continue
        if reason.startswith("beside"):
            cure = f"move them into the folder of their class, or into {UNLABELED}/"
        elif reason.startswith("of unknown class"):
            cure = "put them into folders of classes, or classify them with predict.py --images"
        else:
            cure = f"only the parts {', '.join(PART_NAMES)} are read"
        yield f"{top}: {len(paths):,} images {reason} are left out ({format_names(paths)}); {cure}"


def describe_classes(
    tree: ImageTree, layout: Layout, class_names: list[str], labels: set[int]
) -> Iterator[str]:
    """Lines about classes without images, and about files in class folders that are no images.

    labels: of the images in the list."""
    empty = [name for label, name in enumerate(class_names) if label not in labels]
    if empty:
        yield f"{tree.root}: {len(empty)} classes have no images: {format_names(empty)}"
    folders = {path for part in layout.parts for path in layout.class_folders(tree, part).values()}
    folders.update(layout.unlabeled)
    others = [
        path
        for path in tree.other_files
        if any(os.sep.join(path.split(os.sep)[:n]) in folders for n in (1, 2))
    ]
    if others:
        yield (
            f"{tree.root}: {len(others)} files without the extension of an image are ignored: "
            f"{format_names(others)}"
        )


def describe_contents(top: Path, contents: FolderContents) -> Iterator[str]:
    """Lines about links that are not followed and folders that are not listed."""
    if contents.loops:
        yield (
            f"{top}: {len(contents.loops)} links to a folder that contains them are not followed: "
            f"{format_names(contents.loops)}"
        )
    if contents.unlisted:
        yield (
            f"{top}: {len(contents.unlisted)} hidden folders cannot be read and are left out: "
            f"{format_names(contents.unlisted)}"
        )
