"""A folder of images as a list: which files it has, and the class and part of each.

    train/<class>/...  test/<class>/...  val/<class>/...  unlabeled/...
    <class>/...  unlabeled/...                      (a fifth of each class becomes the test part)

Classes are the names of the folders, sorted.  Every image is in the list or is counted as left out,
with the reason.  data.folder_parts says which folder is which part, data.folder_walk how links are
followed.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.custom import make_test_mask
from data.folder_checks import (
    check_class_count,
    check_class_names,
    check_links,
    describe_classes,
    describe_contents,
    describe_left_out,
)
from data.folder_parts import TEST, TRAIN, VALIDATION, Layout, find_layout, part_of_name
from data.folder_walk import FolderContents, FoundFile, walk_folder
from data.foreign_formats import refuse_foreign_formats
from data.image_formats import has_image_extension
from data.image_tree import (
    ImageTree,
    format_folder,
    hidden_or_system_part,
    make_image_tree,
)
from data.linked_files import ImageFile, describe_repeated_files, drop_repeated_files
from data.unclear_layouts import refuse_misplaced_parts, refuse_similar_names
from utils.errors import SystemRefusal, UserError

PART_ORDER = (TRAIN, TEST, VALIDATION)


@dataclass(frozen=True)
class FolderListing:
    """The N images in a folder: training images of known class, then those of unknown class, then
    test images, then validation images, each sorted by file name and then by class."""

    root: Path
    class_names: tuple[str, ...]
    image_paths: tuple[str, ...]  # (N,) relative to the root
    labels: np.ndarray  # (N,) int64, -1 where unknown
    is_test: np.ndarray  # (N,) bool
    is_validation: np.ndarray  # (N,) bool
    left_out: dict[str, int]  # reason -> number of images that are not in the list
    warnings: tuple[str, ...]

    def describe_counts(self, unreadable: np.ndarray | None = None) -> str:
        """One line with the number of images in each part, and of those left out and why.

        unreadable: (n,) indices of images in the list that are left out too."""
        is_read = np.ones(len(self.labels), bool)
        left_out = dict(self.left_out)
        if unreadable is not None and len(unreadable):
            is_read[unreadable] = False
            left_out["that cannot be read"] = len(unreadable)
        is_train = is_read & ~self.is_test & ~self.is_validation
        counts = {
            "train": int((is_train & (self.labels >= 0)).sum()),
            "test": int((is_read & self.is_test).sum()),
            "validation": int((is_read & self.is_validation).sum()),
            "unlabeled": int((is_train & (self.labels < 0)).sum()),
        }
        words = [f"{n:,} {part}" for part, n in counts.items() if n or part in ("train", "test")]
        if left_out:
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in left_out.items())
            words.append(f"{sum(left_out.values()):,} left out ({reasons})")
        total = sum(counts.values()) + sum(left_out.values())
        return f"{total:,} images: {', '.join(words)}"


def list_files(root: str) -> list[Path]:
    """All files in the folder; a change of the images changes one of them."""
    top = Path(os.path.expanduser(root))
    if not _is_folder(top):
        return []
    return [top / file.path for file in walk_folder(top).files]


def list_image_folder(root: str) -> FolderListing:
    """Raises UserError where the folder does not exist, has fewer than two classes with images, or
    is in a layout that could mean several things."""
    top = Path(os.path.expanduser(root))
    if not _is_folder(top):
        raise UserError(
            f"{top} is not a folder; --dataset folder reads the folder of images that --data-root "
            "names, with one folder per class in it"
        )
    contents = walk_folder(top)
    tree = make_image_tree(top, contents)
    layout = _find_clear_layout(tree, contents)
    folders = [layout.class_folders(tree, part) for part in layout.parts]
    class_names = _order_classes(tree, folders)
    check_class_names(top, class_names)
    all_images, others = _sort_into_parts(tree, layout, class_names)
    check_class_count(tree, layout, {image.label for image in all_images} - {-1})
    images = drop_repeated_files(top, all_images)
    if TEST not in layout.parts:
        images = _take_test_part(images)
    images.sort(key=lambda image: image[:4])
    labels = np.array([image.label for image in images], np.int64)
    parts = np.array([image.part for image in images])
    left_out = _group_left_out(contents, others, {image.real_path for image in images})
    warnings = (
        *layout.warnings,
        *describe_classes(tree, layout, class_names, set(labels.tolist())),
        *describe_left_out(top, {reason: left_out.get(reason, []) for reason in others.values()}),
        *describe_repeated_files(top, all_images, images),
        *describe_contents(top, contents),
    )
    return FolderListing(
        top,
        tuple(class_names),
        tuple(image.path for image in images),
        labels,
        parts == PART_ORDER.index(TEST),
        parts == PART_ORDER.index(VALIDATION),
        {reason: len(paths) for reason, paths in left_out.items()},
        warnings,
    )


def _order_classes(tree: ImageTree, parts: list[dict[str, str]]) -> list[str]:
    """The names of the classes in the order of their numbers: sorted, but those without any image
    last, so that a new, empty class folder moves no number.

    parts: class name -> its folder, for each part."""
    names = {name for folders in parts for name in folders}

    def is_empty(name: str) -> bool:
        paths = [folders[name] for folders in parts if name in folders]
        return not any(tree.total_counts[path] for path in paths)

    return sorted(names, key=lambda name: (is_empty(name), name))


def list_images_below(root: Path) -> tuple[list[str], list[str]]:
    """The images in a folder without classes and in its subfolders, and the other files; both
    sorted and relative to the folder.  Hidden and system files are neither."""
    paths = [file.path for file in walk_folder(root).files if not hidden_or_system_part(file.path)]
    images = sorted(path for path in paths if has_image_extension(path))
    return images, sorted(set(paths) - set(images))


def _find_clear_layout(tree: ImageTree, contents: FolderContents) -> Layout:
    """Raises UserError where the folder has another format, could mean several things, or has a
    link that leads nowhere."""
    check_links(tree, contents)
    refuse_foreign_formats(tree)
    layout = find_layout(tree)
    refuse_similar_names(tree, layout)
    refuse_misplaced_parts(tree, layout)
    return layout


def _is_folder(top: Path) -> bool:
    try:
        return top.is_dir()
    except OSError as error:
        raise SystemRefusal(
            f"{top} cannot be read: {error.strerror}; give permission to read it"
        ) from None


def _sort_into_parts(
    tree: ImageTree, layout: Layout, class_names: list[str]
) -> tuple[list[ImageFile], dict[FoundFile, str]]:
    """The images in class folders and unlabeled folders; other image -> why it is left out."""
    labels = {name: label for label, name in enumerate(class_names)}
    places = {
        path: (PART_ORDER.index(part), labels[name])
        for part in layout.parts
        for name, path in layout.class_folders(tree, part).items()
    }
    places |= {path: (PART_ORDER.index(TRAIN), -1) for path in layout.unlabeled}
    images: list[ImageFile] = []
    others: dict[FoundFile, str] = {}
    for file in tree.images:
        path = file.path
        folder = next((f for n in (1, 2) if (f := _first_folders(path, n)) in places), None)
        if folder is None:
            others[file] = _reason_for_leaving_out(path.split(os.sep)[:-1], layout)
            continue
        part, label = places[folder]
        name = path[len(folder) + 1 :]
        images.append(ImageFile(part, label < 0, name, label, path, file.real_path))
    return images, others


def _first_folders(path: str, count: int) -> str:
    """The path of the first folders that a file is in, at most `count`."""
    return os.sep.join(path.split(os.sep)[:-1][:count])


def _reason_for_leaving_out(folders: list[str], layout: Layout) -> str:
    """Why an image in these folders, one in another, has no class."""
    if not folders:
        return "beside the folders"
    if folders[0] == layout.parts[TRAIN]:
        return f"beside the class folders in {format_folder(folders[0])}"
    if part_of_name(folders[0]) in PART_ORDER:
        return f"of unknown class in {format_folder(os.path.join(*folders[:2]))}"
    return f"in {format_folder(folders[0])} (not a part)"


def _take_test_part(images: list[ImageFile]) -> list[ImageFile]:
    """About a fifth of each class becomes the test part."""
    labels = np.array([image.label for image in images])
    mask = make_test_mask([image.name for image in images], labels)
    return [
        image._replace(part=PART_ORDER.index(TEST)) if is_test else image
        for image, is_test in zip(images, mask, strict=True)
    ]


def _group_left_out(
    contents: FolderContents, others: dict[FoundFile, str], used: set[str]
) -> dict[str, list[str]]:
    """Reason -> paths of the images that are not in the list, each file once.

    used: real paths of the files in the list."""
    reasons = [(file, reason) for file, reason in others.items()]
    reasons += [
        (file, _reason_for_skipping(part))
        for file in contents.files
        if has_image_extension(file.path) and (part := hidden_or_system_part(file.path))
    ]
    used = set(used)
    result: dict[str, list[str]] = {}
    for file, reason in reasons:
        if file.real_path not in used:
            used.add(file.real_path)
            result.setdefault(reason, []).append(file.path)
    return result


def _reason_for_skipping(name: str) -> str:
    if name.startswith("."):
        return "hidden files" if has_image_extension(name) else "in hidden folders"
    return f"{'thumbnails ' if name.casefold() == '@eadir' else ''}in {name}"
