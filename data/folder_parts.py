"""Which folders are the parts of a folder of images: training, test, validation, unlabeled.

    train/<class>/  test/<class>/  val/<class>/  unlabeled/      or      <class>/  unlabeled/

Names are understood in any case and in the forms that other tools write.  Whatever else has images
is left out with a line, or refused where it could be a part under a name that is not known.
"""

import os
import re
from dataclasses import dataclass, field

from data.image_tree import ImageTree, format_folder
from utils.errors import UserError

TRAIN, TEST, VALIDATION, UNLABELED = "train", "test", "val", "unlabeled"
PART_NAMES = {
    TRAIN: ("train", "training"),
    TEST: ("test", "testing"),
    VALIDATION: ("val", "valid", "validation", "dev"),
    UNLABELED: ("unlabeled", "unlabelled", "nolabel", "nolabels", "unknown"),
}
_PARTS_BY_NAME = {name: part for part, names in PART_NAMES.items() for name in names}
# Names that may be a class where no other folder is a part: valid and invalid, for example.
AMBIGUOUS_NAMES = ("valid", "dev")
AMBIGUOUS_UNLABELED = "unknown"


@dataclass
class Layout:
    """Where the parts are; paths of folders are relative to the root, which is ""."""

    parts: dict[str, str]  # TRAIN, TEST, VALIDATION -> the folder with its class folders
    unlabeled: list[str] = field(default_factory=list)  # folders
    not_classes: set[str] = field(default_factory=set)  # folders in a part that are not classes
    warnings: list[str] = field(default_factory=list)

    def class_folders(self, tree: ImageTree, part: str) -> dict[str, str]:
        """The classes of a part, with and without images: name -> folder."""
        paths = {
            name: os.path.join(self.parts[part], name)
            for name in tree.subfolders.get(self.parts[part], [])
        }
        skipped = {*self.unlabeled, *self.not_classes}
        return {name: path for name, path in paths.items() if path not in skipped}


def part_of_name(name: str) -> str | None:
    """The part that a folder of this name is, or None."""
    return _PARTS_BY_NAME.get(re.sub(r"[\s_.-]", "", name.casefold()))


def find_layout(tree: ImageTree) -> Layout:
    """Raises UserError where two folders mean the same part, or it is unclear what the folders
    are."""
    folders = _find_part_folders(tree)
    train = folders.get(TRAIN)
    if train is not None and not _is_class(tree, train, folders):
        return _layout_with_parts(tree, folders)
    return _layout_without_parts(tree, folders)


def _find_part_folders(tree: ImageTree) -> dict[str, str]:
    """Part -> the top folder with its name; one without images only if there is no other."""
    folders: dict[str, str] = {}
    for name in tree.subfolders.get("", []):
        part = part_of_name(name)
        if part is None:
            continue
        earlier = folders.setdefault(part, name)
        if earlier == name or not tree.total_counts[name]:
            continue
        if tree.total_counts[earlier]:
            raise _make_duplicate_error(tree, part, earlier, name)
        folders[part] = name
    return folders


def _make_duplicate_error(tree: ImageTree, part: str, first: str, second: str) -> UserError:
    return UserError(
        f"{tree.root}: {format_folder(first)} and {format_folder(second)} mean the same part; "
        f"merge them into {part}/, or rename the one that is not that part"
    )


def _is_class(tree: ImageTree, folder: str, part_folders: dict[str, str]) -> bool:
    """Whether a folder with the name of a part is a class beside other classes."""
    others = set(tree.subfolders_with_images("")) - set(part_folders.values())
    evaluated = [part_folders[part] for part in (TEST, VALIDATION) if part in part_folders]
    return bool(
        others
        and tree.image_counts[folder]
        and not tree.subfolders_with_images(folder)
        and not any(tree.total_counts[name] for name in evaluated)
    )


def _layout_without_parts(tree: ImageTree, part_folders: dict[str, str]) -> Layout:
    """The layout of class folders directly in the root."""
    layout = Layout({TRAIN: ""})
    for part, name in part_folders.items():
        shown = format_folder(name)
        if part == UNLABELED:
            layout.unlabeled.append(name)
        elif not tree.total_counts[name]:
            layout.not_classes.add(name)
            layout.warnings.append(f"{tree.root}: {shown} has no images and is ignored")
        elif part == TRAIN or (
            name.casefold() in AMBIGUOUS_NAMES and not tree.subfolders_with_images(name)
        ):
            layout.warnings.append(
                f"{tree.root}: {shown} is read as a class, like the folders beside it, because it "
                "has images and no class folders"
            )
        else:
            raise UserError(
                f"{tree.root} has {shown} but no {TRAIN}/; name the training part {TRAIN}, or "
                f"rename {shown} if it is a class"
            )
    return layout


def _layout_with_parts(tree: ImageTree, part_folders: dict[str, str]) -> Layout:
    """The layout of a training part and, where they exist, other parts."""
    layout = Layout({TRAIN: part_folders[TRAIN]})
    for part in (TEST, VALIDATION):
        name = part_folders.get(part)
        if name is None:
            continue
        if _has_class_images(tree, name):
            layout.parts[part] = name
        elif not tree.total_counts[name]:
            layout.warnings.append(f"{tree.root}: {format_folder(name)} has no images")
    if TEST not in layout.parts and VALIDATION in layout.parts:
        name = layout.parts[TEST] = layout.parts.pop(VALIDATION)
        layout.warnings.append(f"{tree.root}: {format_folder(name)} is used as the test part")
    if UNLABELED in part_folders:
        layout.unlabeled.append(part_folders[UNLABELED])
    _find_unlabeled_inside_parts(tree, layout)
    _warn_about_class_names(tree, layout)
    return layout


def _has_class_images(tree: ImageTree, folder: str) -> bool:
    return any(part_of_name(name) != UNLABELED for name in tree.subfolders_with_images(folder))


def _find_unlabeled_inside_parts(tree: ImageTree, layout: Layout) -> None:
    """Adds train/unlabeled to the unlabeled folders; test/unlabeled is not a class either.

    A folder named AMBIGUOUS_UNLABELED is a class where training and test part have it."""
    inside = {
        part: [n for n in tree.subfolders_with_images(folder) if part_of_name(n) == UNLABELED]
        for part, folder in layout.parts.items()
    }
    evaluated = {name for part, names in inside.items() if part != TRAIN for name in names}
    shared = {
        name for name in evaluated & set(inside[TRAIN]) if name.casefold() == AMBIGUOUS_UNLABELED
    }
    for name in shared:
        layout.warnings.append(
            f"{tree.root}: {format_folder(name)} is in more than one part and is read as a class"
        )
    for part, names in inside.items():
        names = [name for name in names if name not in shared]
        if len(names) > 1:
            raise _make_duplicate_error(tree, UNLABELED, *names[:2])
        paths = [os.path.join(layout.parts[part], name) for name in names]
        if part == TRAIN:
            layout.unlabeled += paths
        else:
            layout.not_classes.update(paths)


def _warn_about_class_names(tree: ImageTree, layout: Layout) -> None:
    for part in layout.parts:
        for name, path in layout.class_folders(tree, part).items():
            if part_of_name(name) and tree.total_counts[path] and part == TRAIN:
                layout.warnings.append(
                    f"{tree.root}: {format_folder(path)} is read as a class named {name!r}"
                )
