"""Label Studio: a JSON file of tasks with predictions, and an XML file for its labeling interface.

Read are its exports JSON, JSON-MIN, CSV and TSV.  In JSON a task keeps all annotations; a cancelled
one is a task that the annotator skipped.  In the other three each line is one annotation and
skipped tasks are left out.  A single choice is a text there, several choices are
{"choices": [...]}.
"""

import base64
import csv
import io
import json
import mimetypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from labeling.formats.spec import (
    Format,
    Task,
    ToolAnswer,
    files_with_ending,
    read_json,
    read_text,
    render_json,
    unpack_if_zip,
)
from labeling.labels_csv import SKIP_ANSWER
from utils.errors import UserError

TASKS_FILE, CONFIG_FILE = "tasks.json", "config.xml"
CONTROL = "class"  # name of the control with the classes
CONTROL_NAMES = (CONTROL, "choice", "label")  # also those of Label Studio's own templates
ENDINGS = (".json", ".csv", ".tsv")
MAX_CELL_CHARACTERS = 1 << 30  # a cell may hold a whole image


def write(tasks: Sequence[Task], class_names: Sequence[str]) -> dict[str, bytes]:
    """The tasks and the labeling interface."""
    choices = "".join(f"    <Choice value={quoteattr(name)}/>\n" for name in class_names)
    config = (
        '<View>\n  <Image name="image" value="$image"/>\n'
        f'  <Choices name="{CONTROL}" toName="image" choice="single" showInLine="true">\n'
        f"{choices}  </Choices>\n</View>\n"
    )
    return {
        TASKS_FILE: render_json([_render_task(task) for task in tasks]),
        CONFIG_FILE: config.encode(),
    }


def _render_task(task: Task) -> dict[str, Any]:
    mime_type = mimetypes.guess_type(task.file_name)[0] or "image/png"
    data_uri = f"data:{mime_type};base64,{base64.b64encode(task.image).decode()}"
    facts: dict[str, Any] = {
        "file": task.file_name,
        "index": task.index,
        "order": task.order,
        "path": task.path,
    }
    if task.accepted is not None:
        facts |= {"accepted": task.accepted, "suggested": task.suggested}
    rendered: dict[str, Any] = {"data": facts | {"image": task.url or data_uri}}
    if task.guess is not None:
        score = round(task.confidence, 4)
        rendered["predictions"] = [
            {"model_version": "run", "score": score, "result": _render_choice(task.guess)}
        ]
    if task.answer is not None:
        rendered["annotations"] = [{"result": _render_choice(task.answer)}]
    return rendered


def _render_choice(name: str) -> list[dict[str, Any]]:
    choice = {"from_name": CONTROL, "to_name": "image", "type": "choices"}
    return [choice | {"value": {"choices": [name]}}]


def read(path: Path) -> list[ToolAnswer]:
    """The answers in an export, or in all those of a folder."""
    with unpack_if_zip(path) as folder:
        files = [file for end in ENDINGS for file in files_with_ending(folder, end)]
        answers = [answer for file in dict.fromkeys(files) for answer in _read_file(file)]
    if not files:
        raise UserError(f"{path} has no .json or .csv file that Label Studio exported")
    return answers


def _read_file(path: Path) -> list[ToolAnswer]:
    if path.suffix.lower() in (".csv", ".tsv"):
        rows = _read_rows(path)
    else:
        rows = read_json(path)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UserError(f"{path} is not a list of tasks: export JSON, JSON-MIN or CSV")
    try:
        if any("data" in row for row in rows):
            return [answer for row in rows for answer in _answers_in_task(row)]
        return [answer for row in rows for answer in _answers_in_row(row, path)]
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not an export of Label Studio ({type(error).__name__}: {error})"
        ) from None


def _read_rows(path: Path) -> list[dict[str, Any]]:
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    text = read_text(path)
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","  # TSV is saved as .csv, too
    try:
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise UserError(f"{path} is not readable ({error})") from None


def _answers_in_task(task: dict[str, Any]) -> Iterator[ToolAnswer]:
    """Of the JSON export; of each annotator the last annotation."""
    by_annotator: dict[str, list[ToolAnswer]] = {}
    annotations = task.get("annotations") or []
    for annotation in sorted(annotations, key=lambda one: str(one.get("created_at") or "")):
        annotator = _annotator(annotation.get("completed_by"))
        names = [SKIP_ANSWER] if annotation.get("was_cancelled") else _choices(annotation)
        by_annotator[annotator] = [_make_answer(task["data"], name, annotator) for name in names]
    yield from (answer for answers in by_annotator.values() for answer in answers)


def _choices(annotation: dict[str, Any]) -> list[str]:
    results = [one for one in annotation.get("result") or [] if one.get("type") == "choices"]
    controls = {one.get("from_name") for one in results}
    wanted = next((name for name in CONTROL_NAMES if name in controls), None)
    results = [one for one in results if wanted is None or one.get("from_name") == wanted]
    return [str(name) for one in results for name in one["value"]["choices"]]


def _answers_in_row(row: dict[str, Any], path: Path) -> Iterator[ToolAnswer]:
    """Of the exports with one line per annotation."""
    if "annotator" not in row:
        raise UserError(f"{path} is not an export of Label Studio: it has no column annotator")
    column = next((name for name in CONTROL_NAMES if row.get(name)), None)
    if column is None:
        return  # submitted without a choice
    value = row[column]
    if isinstance(value, str) and value.startswith('{"choices"'):
        value = json.loads(value)
    names = value["choices"] if isinstance(value, dict) else [value]
    for name in names:
        yield _make_answer(row, str(name), _annotator(row.get("annotator")))


def _annotator(value: Any) -> str:
    """Who annotated, a number or a dict with the number."""
    return str(value.get("id", "")) if isinstance(value, dict) else str(value or "")


def _make_answer(data: dict[str, Any], name: str, annotator: str) -> ToolAnswer:
    index = str(data.get("index", ""))
    image = str(data.get("image", ""))
    file = data.get("file") or ("" if image.startswith("data:") else image)
    return ToolAnswer(str(file), name, annotator, int(index) if index.isdecimal() else None)


FORMAT = Format(
    write,
    read,
    lambda task: f"images/{task.file_name}",
    f"create a project, paste {{out}}/{CONFIG_FILE} as its labeling interface (Code), import "
    f"{{out}}/{TASKS_FILE}, label, export JSON",
    uses_url=True,
)
