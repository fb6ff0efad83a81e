"""The pictures of the data that runs wrote (data.overview), for the page."""

import base64
import io
from typing import NamedTuple

from PIL import Image

from data.overview import CONTACT_SHEET_FILE, DESCRIPTION_KEY
from reports.runs import RunGroup
from utils.console import to_one_line

_MAX_BYTES = 450_000  # of all pictures together, so that the page stays below 5 MB


class DataSheet(NamedTuple):
    """data_root: of the first run with this picture; lines: the look at the data, as in the log;
    source: data URL of the picture, empty where it is too large for the page; path: its file."""

    data_root: str
    lines: tuple[str, ...]
    source: str
    path: str


def collect_contact_sheets(groups: list[RunGroup]) -> list[DataSheet]:
    """One entry per different picture; a file that is missing or is another picture is left out."""
    sheets: dict[bytes, DataSheet] = {}
    room = _MAX_BYTES
    for run in (run for group in groups for run in group.runs):
        path = run.folder / CONTACT_SHEET_FILE
        try:
            content = path.read_bytes()
            if content in sheets:
                continue
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                description = picture.info[DESCRIPTION_KEY]
        except (OSError, SyntaxError, ValueError, KeyError):  # Pillow raises the first three
            continue
        source = ""
        if len(content) <= room:
            room -= len(content)
            source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        root, where = (to_one_line(str(name)) for name in (run.config.get("data_root"), path))
        lines = (line.removeprefix("data: ") for line in description.split("\n"))
        sheets[content] = DataSheet(root, tuple(map(to_one_line, lines)), source, where)
    return list(sheets.values())
