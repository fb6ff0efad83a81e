"""Pascal VOC: one list per class in ImageSets/Main, and a whole-image box in Annotations.

A list has a line per image, its name without ending and 1 or -1.  Guesses are in
results/Main/comp1_cls_<subset>_<class>.txt as the challenge wanted them: name and confidence.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from labeling.formats.spec import (
    Format,
    Task,
    ToolAnswer,
    files_with_ending,
    read_text,
    refuse_as_file_name,
    unpack_if_zip,
)
from utils.errors import UserError
from utils.files import os_errors_refused

SUBSET = "default"
LIST_LINE = re.compile(r"(.*\S)\s+(-1|0|1)")


def write(tasks: Sequence[Task], class_names: Sequence[str]) -> dict[str, bytes]:
    """Lists of images, overall and per class; size, box and guess of every image."""
    files = {f"ImageSets/Main/{SUBSET}.txt": "".join(f"{task.stem}\n" for task in tasks)}
    answered = [task for task in tasks if task.answer is not None]
    for name in class_names:
        lines = [f"{task.stem} {1 if task.answer == name else -1}\n" for task in answered]
        files[f"ImageSets/Main/{name}_{SUBSET}.txt"] = "".join(lines)
        guessed = [task for task in tasks if task.guess == name]
        if guessed:
            lines = [f"{task.stem} {task.confidence:.4f}\n" for task in guessed]
            files[f"results/Main/comp1_cls_{SUBSET}_{name}.txt"] = "".join(lines)
    files["labelmap.txt"] = "# label:color_rgb:parts:actions\n" + "".join(
        f"{name}:{number},{number},{number}::\n" for number, name in enumerate(class_names, 1)
    )
    contents = {name: text.encode() for name, text in files.items()}
    return contents | {f"Annotations/{task.stem}.xml": _render_boxes(task) for task in tasks}


def _render_boxes(task: Task) -> bytes:
    width, height = task.image_size()
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "folder").text = "JPEGImages"
    ElementTree.SubElement(root, "filename").text = task.file_name
    size = ElementTree.SubElement(root, "size")
    for name, value in (("width", width), ("height", height), ("depth", 3)):
        ElementTree.SubElement(size, name).text = str(value)
    if task.answer is not None:
        box = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(box, "name").text = task.answer
        corners = ElementTree.SubElement(box, "bndbox")
        sides = (("xmin", 0), ("ymin", 0), ("xmax", width), ("ymax", height))
        for name, value in sides:
            ElementTree.SubElement(corners, name).text = str(value)
    ElementTree.indent(root)
    return ElementTree.tostring(root) + b"\n"


def read(path: Path) -> list[ToolAnswer]:
    """The classes of every image, from the lists and from the boxes; each class once per image."""
    with unpack_if_zip(path) as folder:
        lists = [file for file in files_with_ending(folder, ".txt") if file.parent.name == "Main"]
        lists = [file for file in lists if file.parent.parent.name == "ImageSets"]
        boxes = files_with_ending(folder, ".xml") if folder.is_dir() else [path]
        if not lists and not boxes:
            raise UserError(f"{path} has neither ImageSets/Main nor .xml files of Pascal VOC")
        subsets = {file.stem for file in lists}
        answers = [answer for file in lists for answer in _read_list(file, subsets)]
        answers += [answer for file in boxes for answer in _read_boxes(file)]
    return list(dict.fromkeys(answers))


def _read_list(path: Path, subsets: set[str]) -> Iterator[ToolAnswer]:
    """The images that the list <class>_<subset>.txt of a class marks with 1."""
    ends = [f"_{subset}" for subset in subsets if path.stem.endswith(f"_{subset}")]
    if not ends:
        return  # the list of all images of a subset
    name = path.stem.removesuffix(min(ends, key=len))
    for line in read_text(path).splitlines():
        match = LIST_LINE.fullmatch(line.strip())
        if match and match[2] == "1":
            yield ToolAnswer(match[1], name)


def _read_boxes(path: Path) -> Iterator[ToolAnswer]:
    try:
        with os_errors_refused(path, "read"):
            root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path} is not an XML file ({error})") from None
    if root.tag != "annotation":
        raise UserError(f"{path} is not in the format Pascal VOC (its root is not annotation)")
    for box in root.iter("object"):
        yield ToolAnswer(path.stem, box.findtext("name", ""))


def refuse_class(name: str) -> str | None:
    """Why a class name cannot be written, or None."""
    if ":" in name or name.startswith("#"):
        return "labelmap.txt separates with colons, and # begins a comment"
    return refuse_as_file_name(name)


FORMAT = Format(
    write,
    read,
    lambda task: f"JPEGImages/{task.file_name}",
    "open {out} with a tool that reads Pascal VOC, give every image one box of its class",
    refuse_class,
)
