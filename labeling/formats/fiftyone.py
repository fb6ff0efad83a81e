"""FiftyOne: a folder of the type FiftyOneImageClassificationDataset, data/ and labels.json.

Read are that type, and FiftyOneDataset (samples.json), where an answer is a classification without
confidence in a field `answer` or `ground_truth`, or else a tag that is the name of a class.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from labeling.formats.spec import Format, Task, ToolAnswer, read_json, render_json, unpack_if_zip
from utils.errors import UserError

LABELS_FILE, SAMPLES_FILE = "labels.json", "samples.json"
ANSWER_FIELDS = ("answer", "ground_truth")


def write(tasks: Sequence[Task], class_names: Sequence[str]) -> dict[str, bytes]:
    """labels.json: the answer of every image, or the guess with its confidence.

    The key "classes" is left out: beside it FiftyOne takes a number for a position in it."""
    labels: dict[str, Any] = {}
    for task in tasks:
        labels[task.stem] = task.answer
        if task.answer is None and task.guess is not None:
            labels[task.stem] = {"label": task.guess, "confidence": round(task.confidence, 4)}
    return {LABELS_FILE: render_json({"classes": None, "labels": labels})}


def read(path: Path) -> list[ToolAnswer]:
    """The classifications of every image; one with a confidence is a guess."""
    with unpack_if_zip(path) as folder:
        names = (LABELS_FILE, SAMPLES_FILE) if folder.is_dir() else ("",)
        file = next((folder / name for name in names if (folder / name).is_file()), None)
        if file is None:
            raise UserError(f"{path} has neither {LABELS_FILE} nor {SAMPLES_FILE} of FiftyOne")
        content = read_json(file)
    try:
        if "samples" in content:
            return [answer for sample in content["samples"] for answer in _read_sample(sample)]
        classes = content.get("classes")
        return [
            answer
            for name, target in content["labels"].items()
            for answer in _read_target(name, target, classes)
        ]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(
            f"{path} is not an export of FiftyOne ({type(error).__name__}: {error})"
        ) from None


def _read_target(name: str, target: Any, classes: Sequence[str] | None) -> Iterator[ToolAnswer]:
    """The answers of an entry of labels.json: a class, its position in `classes`, a dict with one
    of these, or a list of them."""
    for one in target if isinstance(target, list) else [target]:
        label = one.get("label") if isinstance(one, dict) else one
        is_guess = isinstance(one, dict) and one.get("confidence") is not None
        if isinstance(label, int) and classes:
            label = classes[label]
        if label is not None:
            yield ToolAnswer(name, str(label), is_guess=is_guess)


def _read_sample(sample: dict[str, Any]) -> Iterator[ToolAnswer]:
    """The answers of an entry of samples.json."""
    name = sample["filepath"]
    fields = [sample[field] for field in ANSWER_FIELDS if sample.get(field)]
    answers = [
        ToolAnswer(name, str(one["label"]), is_guess=one.get("confidence") is not None)
        for field in fields
        for one in _classifications(field)
    ]
    yield from answers or [ToolAnswer(name, tag, is_tag=True) for tag in sample.get("tags") or []]


def _classifications(field: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """The classifications in a field, which holds one or several."""
    several = field.get("classifications")
    if several is not None:
        return several
    return [field] if field.get("label") is not None else []


FORMAT = Format(
    write,
    read,
    lambda task: f"data/{task.file_name}",
    "load {out} with fiftyone.Dataset.from_dir as FiftyOneImageClassificationDataset with "
    "label_field='guess', label or tag the images, export as FiftyOneDataset",
)
