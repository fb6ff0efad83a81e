"""Recognises folders in the formats of object detection and segmentation, which have no classes of
whole images: their folders must not be taken for classes."""

import os
import re
from typing import NamedTuple

from data.image_tree import ImageTree, format_folder
from utils.errors import UserError

IMAGE_CONTAINERS = {
    *("images", "image", "imgs", "img", "jpegimages", "rgb"),
    *("obj_train_data", "obj_valid_data", "obj_test_data"),
}
MASK_CONTAINERS = {
    *("masks", "mask", "labels", "annotations", "segmentations", "segmentation", "trimaps"),
    *("segmentationclass", "segmentationobject", "gt", "groundtruth", "ground_truth", "imagesets"),
}
PART_CONTAINER = re.compile(
    r"(train|training|trainval|val|valid|validation|dev|test|testing|unlabell?ed)[-_]?\d*"
)
DARKNET_FILES = {"obj.data", "obj.names", "darknet.data"}
COCO_FILE = re.compile(r"(_annotations\.coco|instances[^/]*|[^/]*coco[^/]*)\.json")
SIDECARS = {  # ending of the file beside an image -> format
    ".xml": "Pascal VOC",
    ".txt": "YOLO",
    ".json": "LabelMe",
}


class ForeignFormat(NamedTuple):
    """A format that is not read, and what it was recognised by."""

    name: str
    evidence: str


def refuse_foreign_formats(tree: ImageTree) -> None:
    """Raises UserError where the folder is a data set in a format that is not read."""
    found = find_foreign_format(tree)
    if found:
        raise UserError(
            f"{tree.root} is a {found.name} data set ({found.evidence}), which --dataset folder "
            "does not read; copy or link each image into the folder of its class, "
            "train/<class>/ and test/<class>/"
        )


def find_foreign_format(tree: ImageTree) -> ForeignFormat | None:
    """The format of the root, or of a folder in it that is not a class."""
    candidates = [] if _count_class_folders(tree, "") else ["", *tree.subfolders.get("", [])]
    for name in tree.subfolders.get("", []):  # VOCdevkit/VOC2012
        candidates += [
            os.path.join(name, inner)
            for inner in tree.subfolders.get(name, [])
            if "jpegimages" in _folders_by_name(tree, os.path.join(name, inner))
        ]
    for folder in candidates:
        found = _find_format_in(tree, folder)
        if found:
            return found
    return None


def _count_class_folders(tree: ImageTree, folder: str) -> int:
    """How many folders in `folder`, or in its parts, may be classes."""
    count = 0
    for name in tree.subfolders_with_images(folder):
        key = name.casefold()
        if PART_CONTAINER.fullmatch(key):
            count += 0 if folder else _count_class_folders(tree, name)
        elif key not in IMAGE_CONTAINERS | MASK_CONTAINERS:
            is_wrapper = not tree.image_counts[os.path.join(folder, name)] and any(
                inner in IMAGE_CONTAINERS
                for inner in _folders_by_name(tree, os.path.join(folder, name))
            )
            count += not is_wrapper
    return count


def _folders_by_name(tree: ImageTree, folder: str) -> dict[str, str]:
    """The folders in `folder`: name in lower case -> path."""
    names = tree.subfolders.get(folder, [])
    return {name.casefold(): os.path.join(folder, name) for name in names}


def _find_format_in(tree: ImageTree, folder: str) -> ForeignFormat | None:
    """The format by the folders and files of one folder."""
    folders = _folders_by_name(tree, folder)
    if "jpegimages" in folders and tree.total_counts[folders["jpegimages"]]:
        return ForeignFormat("Pascal VOC", format_folder(folders["jpegimages"]))
    if _count_class_folders(tree, folder):
        return None
    if "annotations" in folders:
        if _has_files(tree, folders["annotations"], ".xml"):
            return ForeignFormat("Pascal VOC", f"{format_folder(folders['annotations'])}*.xml")
        if _has_files(tree, folders["annotations"], ".json"):
            return ForeignFormat("COCO", f"{format_folder(folders['annotations'])}*.json")
    if "labels" in folders and _has_files(tree, folders["labels"], ".txt"):
        return ForeignFormat("YOLO", f"{format_folder(folders['labels'])}*.txt")
    containers = [folders[name] for name in IMAGE_CONTAINERS if name in folders]
    masks = [folders[name] for name in sorted(MASK_CONTAINERS) if name in folders]
    masks = [path for path in masks if tree.total_counts[path]]
    if masks and any(tree.total_counts[path] for path in containers):
        return ForeignFormat("segmentation", format_folder(masks[0]))
    return _find_format_by_files(tree, folder)


def _find_format_by_files(tree: ImageTree, folder: str) -> ForeignFormat | None:
    """The format by files that lie directly in a folder, beside its images."""
    names = [path for path in tree.other_files if os.path.dirname(path) == folder]
    stems = {
        os.path.splitext(image.path)[0]
        for image in tree.images
        if os.path.dirname(image.path) == folder
    }
    for path in names:
        name, (stem, extension) = os.path.basename(path).casefold(), os.path.splitext(path)
        if name in DARKNET_FILES:
            return ForeignFormat("YOLO", path)
        if COCO_FILE.fullmatch(name):
            return ForeignFormat("COCO", path)
        if stem in stems and extension.lower() in SIDECARS:
            return ForeignFormat(SIDECARS[extension.lower()], f"{path} beside an image")
    return None


def _has_files(tree: ImageTree, folder: str, extension: str) -> bool:
    return any(
        path.startswith(folder + os.sep) and path.lower().endswith(extension)
        for path in tree.other_files
    )
