"""COCO: whole-image boxes, because COCO's annotations are boxes.

The class of an image is the category of its annotations, whatever their boxes.  Guesses are in a
file of their own, in COCO's format of results, so that no tool takes them for annotations.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labeling.formats.spec import (
    Format,
    Task,
    ToolAnswer,
    files_with_ending,
    read_json,
    render_json,
    unpack_if_zip,
)
from utils.errors import UserError

SUBSET = "default"
ANNOTATIONS_FILE = f"annotations/instances_{SUBSET}.json"
GUESSES_FILE = "guesses.json"


def write(tasks: Sequence[Task], class_names: Sequence[str]) -> dict[str, bytes]:
    """The annotations, and the guesses if there are any."""
    categories = [
        {"id": number, "name": name, "supercategory": ""}
        for number, name in enumerate(class_names, 1)
    ]
    numbers = {name: number for number, name in enumerate(class_names, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    guesses: list[dict[str, Any]] = []
    for image_id, task in enumerate(tasks, 1):
        width, height = task.image_size()
        images.append(
            {"id": image_id, "file_name": task.file_name, "width": width, "height": height}
        )
        whole_image = {"image_id": image_id, "bbox": [0, 0, width, height]}
        if task.answer is not None:
            more = {"id": len(annotations) + 1, "category_id": numbers[task.answer]}
            shape = {"area": width * height, "iscrowd": 0, "segmentation": []}
            annotations.append(more | whole_image | shape)
        if task.guess is not None:
            score = round(task.confidence, 4)
            guesses.append(whole_image | {"category_id": numbers[task.guess], "score": score})
    content = {"info": {}, "licenses": [], "images": images, "categories": categories}
    files = {ANNOTATIONS_FILE: render_json(content | {"annotations": annotations})}
    return files | ({GUESSES_FILE: render_json(guesses)} if guesses else {})


def read(path: Path) -> list[ToolAnswer]:
    """The categories of the annotations of every image; each category once per image."""
    with unpack_if_zip(path) as folder:
        contents = [(file, read_json(file)) for file in files_with_ending(folder, ".json")]
        answers: list[ToolAnswer] = []
        is_coco = False
        for file, content in contents:
            if isinstance(content, dict) and "images" in content and "annotations" in content:
                is_coco = True
                answers += _read_content(file, content)
    if not is_coco:
        raise UserError(f"{path} has no COCO file: one with images, categories and annotations")
    return answers


def _read_content(path: Path, content: dict[str, Any]) -> list[ToolAnswer]:
    try:
        names = {category["id"]: category["name"] for category in content["categories"]}
        files = {image["id"]: image["file_name"] for image in content["images"]}
        answers = [
            ToolAnswer(str(files[one["image_id"]]), str(names[one["category_id"]]))
            for one in content["annotations"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not in the format COCO ({type(error).__name__}: {error})"
        ) from None
    return list(dict.fromkeys(answers))


FORMAT = Format(
    write,
    read,
    lambda task: f"images/{SUBSET}/{task.file_name}",
    "open {out} with a tool that reads COCO, give every image one annotation of its class",
)
