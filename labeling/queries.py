"""The queries for a person: a table, and a page of images that needs no server and no network.

page.html, page.css and page.js are joined into one file that contains the queries as JSON. Nothing
that comes from the data (class names, paths) is ever interpreted as HTML.
"""

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from utils.files import render_csv

QUERY_COLUMNS = ("order", "index", "path", "guess", "confidence")
PAGE_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Query:
    """An image whose class is queried."""

    index: int  # in the data set, as the user knows it
    pixels: np.ndarray | None  # (C, H, W) uint8; None if there is no image
    path: str = ""
    guess: int | None = None  # the class that the network predicts
    confidence: float = 0.0  # its probability


def render_queries_csv(queries: list[Query], class_names: tuple[str, ...]) -> bytes:
    """queries.csv: one row per query, in order of choice."""
    rows = []
    for order, query in enumerate(queries):
        guess = confidence = None
        if query.guess is not None:
            guess, confidence = class_names[query.guess], f"{query.confidence:.4f}"
        values = (order, query.index, query.path, guess, confidence)
        rows.append(dict(zip(QUERY_COLUMNS, values, strict=True)))
    return render_csv(QUERY_COLUMNS, rows).encode(errors="surrogateescape")


def render_queries_page(
    queries: list[Query], class_names: tuple[str, ...], *, storage_key: str, folder: str
) -> bytes:
    """queries.html.

    storage_key: under which the browser stores the answers given so far.
    folder: where the person has to put labels.csv."""
    content = {
        "key": storage_key,
        "folder": folder,
        "classes": class_names,
        "queries": [
            {
                "index": query.index,
                "path": query.path,
                "image": None if query.pixels is None else png_data_uri(query.pixels),
                "guess": query.guess,
                "confidence": round(query.confidence, 4),
            }
            for query in queries
        ],
    }
    text = json.dumps(content)  # ASCII only
    for letter in "<>&":  # so that nothing in it ends the script element around it
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    html = (PAGE_FOLDER / "page.html").read_text(encoding="utf-8")
    for mark, part in (("style", "page.css"), ("script", "page.js")):
        part_text = (PAGE_FOLDER / part).read_text(encoding="utf-8")
        html = html.replace(f"/* {mark} */", part_text)
    return html.replace("/* queries */", text).encode()


def png_data_uri(pixels: np.ndarray) -> str:
    """Pixels (C, H, W) uint8 as a PNG: colour if there are three channels, otherwise grey."""
    if len(pixels) == 3:
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    else:
        image = Image.fromarray(pixels.mean(axis=0).round().astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
