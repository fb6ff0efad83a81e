"""CVAT: images to upload, the labels as JSON, and the guesses as tags in "CVAT for images 1.1".

Read is "CVAT for images 1.1", an XML file or a .zip with one.  A tag that a person has set has the
source "manual"; CVAT marks imported tags with "file" (earlier versions kept "auto"), and those
that a person has changed with "semi-auto" or "manual".
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from labeling.formats.spec import (
    Format,
    Task,
    ToolAnswer,
    files_with_ending,
    render_json,
    unpack_if_zip,
)
from utils.errors import UserError
from utils.files import os_errors_refused

LABELS_FILE, ANNOTATIONS_FILE = "labels.json", "annotations.xml"
IMPORTED_SOURCES = ("auto", "file")


def write(tasks: Sequence[Task], class_names: Sequence[str]) -> dict[str, bytes]:
    """The labels for the task's Raw editor, and guesses and answers as tags."""
    labels = [{"name": name, "type": "tag", "attributes": []} for name in class_names]
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task_element = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    ElementTree.SubElement(task_element, "size").text = str(len(tasks))
    labels_element = ElementTree.SubElement(task_element, "labels")
    for name in class_names:
        label = ElementTree.SubElement(labels_element, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "attributes")
    for number, task in enumerate(tasks):
        width, height = map(str, task.image_size())
        facts = {"id": str(number), "name": task.file_name, "width": width, "height": height}
        image = ElementTree.SubElement(root, "image", facts)
        if task.answer is not None:
            ElementTree.SubElement(image, "tag", {"label": task.answer, "source": "manual"})
        elif task.guess is not None:
            ElementTree.SubElement(image, "tag", {"label": task.guess, "source": "auto"})
    ElementTree.indent(root)
    return {
        LABELS_FILE: render_json(labels),
        ANNOTATIONS_FILE: ElementTree.tostring(root, "utf-8", xml_declaration=True) + b"\n",
    }


def read(path: Path) -> list[ToolAnswer]:
    """The tags of every image, or where it has none its boxes and other shapes; each class once
    per image."""
    with unpack_if_zip(path) as folder:
        files = files_with_ending(folder, ".xml")
        answers = [answer for file in files for answer in _read_file(file)]
    if not files:
        raise UserError(f"{path} has no .xml file: export CVAT for images 1.1")
    return answers


def _read_file(path: Path) -> list[ToolAnswer]:
    try:
        with os_errors_refused(path, "read"):
            root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path} is not an XML file ({error})") from None
    if root.tag != "annotations" or root.find("track") is not None:
        raise UserError(f"{path} is not in the format CVAT for images 1.1: export that")
    answers = [
        ToolAnswer(
            image.get("name", ""),
            label.get("label", ""),
            is_guess=label.get("source") in IMPORTED_SOURCES,
        )
        for image in root.iter("image")
        for label in image.findall("tag") or image.findall("*[@label]")
    ]
    return list(dict.fromkeys(answers))


FORMAT = Format(
    write,
    read,
    lambda task: f"images/{task.file_name}",
    f"create a task, paste {{out}}/{LABELS_FILE} as its labels (Raw), upload the files in "
    "{out}/images, label in tag mode, export CVAT for images 1.1",
)
