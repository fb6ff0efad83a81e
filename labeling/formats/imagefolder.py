"""One folder per class, as a file manager shows it: drag every image into the folder of its class.

Images without an answer are in `no_label`, the name that datumaro gives to this folder.
"""

from collections.abc import Sequence
from pathlib import Path

from labeling.formats.spec import Format, Task, ToolAnswer, refuse_as_file_name, unpack_if_zip
from utils.errors import UserError
from utils.files import os_errors_refused

UNLABELED_FOLDER = "no_label"


def write(tasks: Sequence[Task], class_names: Sequence[str]) -> dict[str, bytes]:
    """The folders of the classes, if there are images to put there; datumaro does not recognise a
    folder of finished answers in which one is empty."""
    if all(task.answer is not None for task in tasks):
        return {}
    return {f"{name}/": b"" for name in class_names}


def image_path(task: Task) -> str:
    """The image in the folder of its answer."""
    return f"{UNLABELED_FOLDER if task.answer is None else task.answer}/{task.file_name}"


def read(path: Path) -> list[ToolAnswer]:
    """The files in every folder; hidden files, and images that lie in no folder of a class, say
    nothing."""
    with unpack_if_zip(path) as folder:
        if not folder.is_dir():
            raise UserError(f"{path} is not a folder of class folders")
        with os_errors_refused(folder, "read"):
            files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        parts = [file.relative_to(folder).parts for file in files]
    visible = [part for part in parts if not any(name.startswith(".") for name in part)]
    return [
        ToolAnswer(part[-1], part[-2])
        for part in visible
        if len(part) > 1 and part[-2] != UNLABELED_FOLDER
    ]


def refuse_class(name: str) -> str | None:
    """Why a class name cannot be a folder, or None."""
    if name == UNLABELED_FOLDER:
        return "it is the folder of images without an answer"
    return refuse_as_file_name(name)


FORMAT = Format(
    write,
    read,
    image_path,
    f"drag the images from {{out}}/{UNLABELED_FOLDER} into the folders of their classes",
    refuse_class,
)
