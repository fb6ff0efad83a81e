"""Tasks and class names for the tests of the exchange formats."""

import io

from PIL import Image

from labeling.exchange import export_file_name
from labeling.formats.spec import Task

ODD_NAMES = (
    "cat",
    "a, b",
    'say "hi"',
    "two words",
    "naïve été",
    "=1+1",
    "+1",
    "-1",
    "@home",
    "'quoted'",
    "1.0",
    "<b>&amp;",
    "semi;colon",
    "_default",
    "background",
)
SLASH = "and/or"


def png(grey: int = 0, size: tuple[int, int] = (9, 7)) -> bytes:
    """A PNG of one grey."""
    file = io.BytesIO()
    Image.new("L", size, grey).save(file, "PNG")
    return file.getvalue()


def make_task(order: int, index: int, path: str = "", **more) -> Task:
    """An image to label."""
    return Task(
        order, index, export_file_name(order, index, path, ".png"), png(order), path, **more
    )
