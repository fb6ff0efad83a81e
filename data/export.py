"""What a run folder records of its data, so that its weights can be used elsewhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import feature_scale
from data.stored_image import PAGE_CHOICES
from data.value_scale import scale_from_dict
from utils.console import to_one_line
from utils.errors import UserError
from utils.files import json_bytes, os_errors_refused, read_json

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
    names = read_class_lines(folder)
    path = folder / PREPROCESSING_FILE
    try:
        with os_errors_refused(path, "read"):
            facts = read_json(path)
        _check_preprocessing(facts)
    except (ValueError, TypeError, KeyError, RuntimeError, IndexError, OverflowError) as error:
        raise UserError(
            f"{path} is damaged ({to_one_line(str(error))}): run main_al.py again with --resume "
            "False, which writes it"
        ) from None
    return names, facts


def read_class_lines(folder: Path) -> list[str]:
    """The class names in classes.txt of a run folder, each on one line.

    Raises UserError where the file is damaged, SystemRefusal where it cannot be read."""
    path = folder / CLASSES_FILE
    try:
        with os_errors_refused(path, "read"):
            return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start}): run main_al.py again with --resume "
            "False, which writes it"
        ) from None


def _check_preprocessing(facts: Any) -> None:
    """Raises an error of Python or torch unless preprocessing.json has what its readers use."""
    for name in ("channels", "size"):
        if type(facts[name]) is not int or facts[name] < 1:
            raise ValueError(f"{name} is {facts[name]}")
    if facts["mean"] is not None:
        for values in (facts["mean"], facts["std"]):
            if len(values) != facts["channels"] or not all(map(math.isfinite, values)):
                raise ValueError(f"{values} are not numbers of {facts['channels']} channels")
    for plain in facts.get("value_scales", {}).values():
        scale_from_dict(plain)
    if facts.get("page", PAGE_CHOICES[0]) not in PAGE_CHOICES:
        raise ValueError(f"page is {facts['page']}")
    if "feature_scale" in facts:
        feature_scale.scale_from_dict(facts["feature_scale"])
