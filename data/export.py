"""What a run's folder says of its data, so that the weights in it can be used elsewhere."""

import json
from pathlib import Path

from utils.console import to_one_line
from utils.errors import UserError
from utils.files import json_bytes, os_errors_refused

CLASSES_FILE, PREPROCESSING_FILE = "classes.txt", "preprocessing.json"


def render_export_files(problem) -> dict[str, str]:
    """Files by name: the classes' names, in order, and what an image has to become: channels,
    pixels a side, and the mean and standard deviation of a channel, of pixels in [0, 1].

    problem: data.active_dataset.Problem"""
    facts = {"channels": problem.channels, "size": problem.size}
    facts |= {name: getattr(problem.images, name, None) for name in ("mean", "std")}
    names = "".join(f"{to_one_line(name)}\n" for name in problem.class_names)
    return {CLASSES_FILE: names, PREPROCESSING_FILE: json_bytes(facts).decode()}


def read_export_files(folder: Path) -> tuple[list[str], dict]:
    """The names and the facts.  Raises UserError where they cannot be read, Refused where the
    system does not let us."""
    try:
        with os_errors_refused(folder, "read"):
            names = (folder / CLASSES_FILE).read_text(encoding="utf-8").splitlines()
            facts = json.loads((folder / PREPROCESSING_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / PREPROCESSING_FILE} cannot be read ({error})") from None
    return names, facts
