"""What a person is asked: a table, and a page of images that needs no server and no network.

page.html, page.css and page.js are joined into one file, with the questions as JSON in it; nothing
that comes from the data (names of classes, paths) is ever read as HTML.
"""

import base64
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from utils.files import render_csv

QUERY_COLUMNS = ("order", "index", "path", "guess", "confidence")
PAGE_FOLDER = Path(__file__).parent


class Query(NamedTuple):
    """An image whose class is asked for."""

    index: int  # in the data set
    pixels: np.ndarray | None  # (C, H, W) uint8; None where there is nothing to see
    path: str = ""
    guess: int | None = None  # the class that the network would say
    confidence: float = 0.0  # its probability


def render_queries_csv(queries: list[Query], class_names: tuple[str, ...]) -> bytes:
    """queries.csv: a row a query, in order of choice."""
    rows = []
    for order, query in enumerate(queries):
        guessed = query.guess is not None
        guess = class_names[query.guess] if guessed else None
        confidence = f"{query.confidence:.4f}" if guessed else None
        values = (order, query.index, query.path, guess, confidence)
        rows.append(dict(zip(QUERY_COLUMNS, values, strict=True)))
    return render_csv(QUERY_COLUMNS, rows).encode(errors="surrogateescape")


def render_queries_page(
    queries: list[Query], class_names: tuple[str, ...], *, storage_key: str, folder: str
) -> bytes:
    """queries.html.  key: under which the browser keeps what was answered; folder: where labels.csv
    has to go, for the reader."""
    asked = [
        {
            "index": query.index,
            "path": query.path,
            "image": None if query.pixels is None else png_data_uri(query.pixels),
            "guess": query.guess,
            "confidence": round(query.confidence, 4),
        }
        for query in queries
    ]
    content = {"key": storage_key, "folder": folder, "classes": class_names, "queries": asked}
    text = json.dumps(content)  # in ASCII
    for letter in "<>&":  # nothing in it ends the element that it stands in
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    html = (PAGE_FOLDER / "page.html").read_text()
    for mark, part in (("style", "page.css"), ("script", "page.js")):
        html = html.replace(f"/* {mark} */", (PAGE_FOLDER / part).read_text())
    return html.replace("/* questions */", text).encode()


def png_data_uri(pixels: np.ndarray) -> str:
    """A PNG of pixels (C, H, W) uint8: in colour where there are three channels, else grey."""
    if len(pixels) == 3:
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    else:
        image = Image.fromarray(pixels.mean(axis=0).round().astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
