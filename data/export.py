"""What a run folder records of its data, so that its weights can be used elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.console import to_one_line
from utils.errors import UserError
from utils.files import json_bytes, os_errors_refused

if TYPE_CHECKING:
    from data.active_dataset import ActiveDataset

CLASSES_FILE, PREPROCESSING_FILE = "classes.txt", "preprocessing.json"


def render_export_files(dataset: ActiveDataset) -> dict[str, str]:
    """The contents of two files, by name: the class names in order, and the preprocessing of an
    image: number of channels, side in pixels, the mean and standard deviation per channel, of
    pixels in [0, 1], the scales of the stored values (data.value_scale), by kind of values, and
    what is used of several pages."""
    facts: dict[str, Any] = {"channels": dataset.channels, "size": dataset.size}
    facts |= {name: getattr(dataset.images, name, None) for name in ("mean", "std")}
    facts["value_scales"] = {kind: one.to_dict() for kind, one in dataset.value_scales.items()}
    facts["page"] = dataset.page
    facts |= dataset.preprocessing
    names = "".join(f"{to_one_line(name)}\n" for name in dataset.class_names)
    return {CLASSES_FILE: names, PREPROCESSING_FILE: json_bytes(facts).decode()}


def read_export_files(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """The class names and the preprocessing that `render_export_files` describes.

    Raises UserError where a file is damaged, SystemRefusal where it cannot be read."""
    try:
        with os_errors_refused(folder, "read"):
            names = (folder / CLASSES_FILE).read_text(encoding="utf-8").splitlines()
            facts = json.loads((folder / PREPROCESSING_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / PREPROCESSING_FILE} cannot be read ({error})") from None
    return names, facts
