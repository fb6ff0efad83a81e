"""The queries for a person: a table, and a page of images that needs no server and no network.

page.html and the styles and scripts beside it are joined into one file that contains the queries as
JSON. Nothing that comes from the data (class names, paths) is ever interpreted as HTML.
"""

import base64
import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.state import SET_ASIDE
from labeling.feature_map import FeatureMap
from labeling.labels_csv import (
    NO_CLASS,
    SKIPPED,
    none_answer,
    render_labels_csv,
    skip_answer,
)
from utils.console import to_one_line
from utils.files import render_csv
from utils.spreadsheets import escape_cell

QUERY_COLUMNS = ("order", "index", "path", "guess", "confidence")
SECOND_LOOK_COLUMNS = ("accepted", "suggested")  # only where labels are shown again
PAGE_FOLDER = Path(__file__).parent
PAGE_PARTS = {
    "style": ("page.css", "map_plane.css", "map.css"),
    "script": ("page.js", "map_plane.js", "map.js"),
}
MAX_EARLIER_SIDE = 160  # pixels; a page with 2,000 earlier images has 10 to 20 MB


@dataclass(frozen=True)
class Query:
    """An image whose class is queried, or has been queried in an earlier cycle."""

    index: int  # in the data set, as the user knows it
    pixels: np.ndarray | None  # (C, H, W) uint8; None if there is no image
    path: str = ""
    guess: int | None = None  # the class that the network predicts
    confidence: float = 0.0  # its probability
    # Of an earlier cycle, as accepted: a class name, NO_CLASS, or what `skip_answer` gives.
    answer: str | None = None
    cycle: int | None = None  # in which it was answered
    votes: str = ""  # the answers of annotators who disagree, in words


@dataclass(frozen=True)
class SecondLook:
    """An image that is shown again, because its label may be wrong.

    query: the image with its accepted answer.
    suggested: the class that the other labels suggest.
    examples: labeled images to compare it with, of its class and of the suggested one."""

    query: Query
    suggested: str
    examples: tuple[Query, ...] = ()


def render_queries_csv(
    queries: Sequence[Query],
    class_names: tuple[str, ...],
    second_looks: Sequence[SecondLook] = (),
) -> bytes:
    """queries.csv: one row per label that is shown again, without an order, and then one per query,
    in order of choice."""
    columns = QUERY_COLUMNS + SECOND_LOOK_COLUMNS * bool(second_looks)
    rows = [
        _table_row(look.query, class_names)
        | {
            "accepted": escape_cell(str(look.query.answer)),
            "suggested": escape_cell(look.suggested),
        }
        for look in second_looks
    ]
    others = dict.fromkeys(columns[len(QUERY_COLUMNS) :])
    rows += [_table_row(query, class_names, order) | others for order, query in enumerate(queries)]
    return render_csv(columns, rows).encode(errors="surrogateescape")


def _table_row(
    query: Query, class_names: tuple[str, ...], order: int | None = None
) -> dict[str, Any]:
    """The cells of QUERY_COLUMNS."""
    guess = confidence = None
    if query.guess is not None:
        guess = escape_cell(class_names[query.guess])
        confidence = f"{query.confidence:.4f}"
    values = (order, query.index, escape_cell(query.path), guess, confidence)
    return dict(zip(QUERY_COLUMNS, values, strict=True))


def render_queries_page(
    queries: Sequence[Query],
    class_names: tuple[str, ...],
    *,
    storage_key: str,
    folder: str,
    earlier: Sequence[Query] = (),
    second_looks: Sequence[SecondLook] = (),
    notes: Sequence[str] = (),
    feature_map: FeatureMap | None = None,
) -> bytes:
    """queries.html.

    storage_key: under which the browser stores the answers given so far.
    folder: where the person has to put labels.csv.
    earlier: images with accepted answers, which the person may review and correct; the last answer
    of each counts, and none of an image that is queried again. Large images are reduced.
    second_looks: images of `earlier` that are shown first, with others beside them.
    notes: sentences on the labels so far, above the images.
    feature_map: of the features; None: the page has no map."""
    queried = {query.index for query in queries} | {look.query.index for look in second_looks}
    last_answers = {query.index: query for query in earlier if query.index not in queried}
    content = {
        "key": storage_key,
        "folder": _to_valid_text(folder),
        "classes": [_to_valid_text(name) for name in class_names],
        "cells": _answer_cells(class_names),
        "skipAnswer": skip_answer(class_names),
        "noneAnswer": none_answer(class_names),
        "notes": list(notes),
        "map": None if feature_map is None else _map_content(feature_map),
        "queries": [_query_content(query, png_data_uri) for query in queries],
        "secondLooks": [_second_look_content(look, class_names) for look in second_looks],
        "earlier": [
            _earlier_content(query, class_names, thumbnail_data_uri)
            for query in last_answers.values()
        ],
    }
    text = json.dumps(content)  # ASCII only
    for letter in "<>&":  # so that nothing in it ends the script element around it
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    html = (PAGE_FOLDER / "page.html").read_text(encoding="utf-8")
    for mark, parts in PAGE_PARTS.items():
        texts = ((PAGE_FOLDER / part).read_text(encoding="utf-8") for part in parts)
        html = html.replace(f"/* {mark} */", "".join(texts))
    return html.replace("/* queries */", text).encode()


def _map_content(feature_map: FeatureMap) -> dict[str, Any]:
    """The points of the map: place, label and predicted class, -1 where unknown, and the number of
    the query, -1 where it is none."""
    columns = (
        *feature_map.places.round(4).T.tolist(),
        *(np.maximum(part, -1).tolist() for part in (feature_map.labels, feature_map.predicted)),
        feature_map.queries.tolist(),
    )
    return {"caption": feature_map.caption, "points": list(zip(*columns, strict=True))}


def _query_content(query: Query, encode: Callable[[np.ndarray], str]) -> dict[str, Any]:
    """What the page knows about an image."""
    return {
        "index": query.index,
        "path": _to_valid_text(query.path),
        "image": None if query.pixels is None else encode(query.pixels),
        "guess": query.guess,
        "confidence": round(query.confidence, 4),
    }


def _earlier_content(
    query: Query, class_names: tuple[str, ...], encode: Callable[[np.ndarray], str]
) -> dict[str, Any]:
    """What the page knows about an image that has an answer."""
    answer = _answer_number(query, class_names)
    content = _query_content(query, encode) | {"cycle": query.cycle, "answer": answer}
    return content | {"votes": query.votes}


def _second_look_content(look: SecondLook, class_names: tuple[str, ...]) -> dict[str, Any]:
    """What the page knows about an image that is shown again."""
    examples = [
        _earlier_content(example, class_names, thumbnail_data_uri) for example in look.examples
    ]
    content = _earlier_content(look.query, class_names, png_data_uri)
    return content | {"suggested": class_names.index(look.suggested), "examples": examples}


def _answer_cells(class_names: tuple[str, ...]) -> list[str]:
    """What the page writes into labels.csv for each class."""
    text = render_labels_csv(enumerate(class_names), class_names=class_names)
    rows = csv.reader(io.StringIO(text.decode(errors="surrogateescape"), newline=""))
    return [_to_valid_text(cell) for _, cell in list(rows)[1:]]


def _answer_number(query: Query, class_names: tuple[str, ...]) -> int:
    """The class of an accepted answer, SKIPPED or SET_ASIDE.

    Raises ValueError if it is none of these."""
    if query.answer == NO_CLASS:
        return SET_ASIDE
    if query.answer == skip_answer(class_names):
        return SKIPPED
    return class_names.index(str(query.answer))


def _to_valid_text(text: str) -> str:
    """The text; bytes of a file name that are not UTF-8 are escaped, such as \\udcff.

    A browser cannot write such characters into a file."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return to_one_line(text)
    return text


def png_data_uri(pixels: np.ndarray) -> str:
    """Pixels (C, H, W) uint8 as a PNG: colour if there are three channels, otherwise grey."""
    return _data_uri(_to_image(pixels), "PNG", optimize=True)


def thumbnail_data_uri(pixels: np.ndarray) -> str:
    """As `png_data_uri`; an image larger than MAX_EARLIER_SIDE becomes a reduced JPEG."""
    image = _to_image(pixels)
    if max(image.size) <= MAX_EARLIER_SIDE:
        return png_data_uri(pixels)
    image.thumbnail((MAX_EARLIER_SIDE, MAX_EARLIER_SIDE))
    return _data_uri(image, "JPEG", quality=85)


def _to_image(pixels: np.ndarray) -> Image.Image:
    if len(pixels) == 3:
        return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    return Image.fromarray(pixels.mean(axis=0).round().astype(np.uint8))


def _data_uri(image: Image.Image, image_format: str, **options: Any) -> str:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    encoded = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{image_format.lower()};base64,{encoded}"
