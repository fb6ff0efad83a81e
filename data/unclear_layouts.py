"""Refuses folders of images in which it is unclear what the parts are."""

import os
import re
from collections.abc import Iterable

from data.folder_parts import TEST, TRAIN, VALIDATION, Layout, part_of_name
from data.image_tree import ImageTree, format_folder, format_names
from utils.errors import UserError

_SIMILAR_WORDS = {  # words in a folder's name that make it look like a part
    TRAIN: "train|training|trn",
    TEST: "test|testing|tst|eval|evaluation|holdout",
    VALIDATION: "val|valid|validation|dev",
}
SIMILAR_NAMES = {
    part: re.compile(rf"(^|[\W_\d])({words})(set|data|images|imgs)?($|[\W_\d])")
    for part, words in _SIMILAR_WORDS.items()
}


def refuse_similar_names(tree: ImageTree, layout: Layout) -> None:
    """Raises UserError where a top folder looks like a part that is missing."""
    known = {*layout.parts.values(), *layout.unlabeled}
    others = [name for name in tree.subfolders_with_images("") if name not in known]
    similar = {}
    for name in others:
        for part, pattern in SIMILAR_NAMES.items():
            if part_of_name(name) is None and pattern.search(name.casefold()):
                similar[name] = part
                break
    # A class may look like a part if another class does not.
    is_clear = len(similar) < len(others) or TRAIN not in similar.values()
    if "" in known and is_clear:
        return
    for name, part in similar.items():
        if "" in known or (part != TRAIN and TEST not in layout.parts):
            raise UserError(
                f"{tree.root}: {format_folder(name)} looks like the part {part}; rename it {part}, "
                "or move it out of the folder"
            )


def refuse_misplaced_parts(tree: ImageTree, layout: Layout) -> None:
    """Raises UserError where the class folders hold parts, or are parts themselves."""
    folders = layout.class_folders(tree, TRAIN)
    paths = [path for path in folders.values() if tree.total_counts[path]]
    inner = {
        path: {part_of_name(name) for name in tree.subfolders_with_images(path)} for path in paths
    }
    hold_parts = bool(paths) and all(TRAIN in p and len(p) > 1 for p in inner.values())
    train, top = layout.parts[TRAIN], tree.root
    if hold_parts and len(paths) > 1:
        raise UserError(
            f"{top}: the class folders hold parts ({format_names(paths)}); put the parts above "
            f"the classes, {TRAIN}/<class>/ and {TEST}/<class>/"
        )
    if hold_parts and _has_folders_inside(tree, _subfolder_paths(tree, paths[0])):
        raise UserError(
            f"{top} has its parts in {format_folder(paths[0])}; give --data-root {top / paths[0]}"
        )
    inside = {part_of_name(os.path.basename(path)) for path in paths}
    if not train or TRAIN not in inside or not inside <= {TRAIN, TEST, VALIDATION}:
        return
    if not _has_folders_inside(tree, paths):
        return
    if len(paths) == 1:
        raise UserError(
            f"{top} has its class folders in {format_folder(paths[0])}; move them up, to "
            f"{TRAIN}/<class>/, and those of the other parts as well"
        )
    raise UserError(
        f"{top} has its parts in {format_folder(train)}; give --data-root {top / train}"
    )


def _subfolder_paths(tree: ImageTree, folder: str) -> list[str]:
    return [os.path.join(folder, name) for name in tree.subfolders_with_images(folder)]


def _has_folders_inside(tree: ImageTree, paths: Iterable[str]) -> bool:
    return any(tree.subfolders_with_images(path) for path in paths)
