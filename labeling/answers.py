"""Reads labels.csv, as the page, a person or Excel writes it, and names every mistake in it.

One line per image: its index in the data set and its class, as a name or a number. The separator is
a comma, semicolon or tab; quotes, spaces, a byte order mark, empty lines and a header are allowed.
If the header names the columns `index` and `label`, there may be others: a copy of queries.csv with
an added column is accepted.
"""

import csv
import difflib
import io
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files import os_errors_refused

MAX_LISTED_MISTAKES = 5  # of one kind
MAX_CELL_CHARACTERS = 1 << 20
UNREQUESTED, REPEATED, UNKNOWN_CLASS = "not queried", "labeled twice", "unknown class"
NOT_AN_INDEX, NOT_TWO_COLUMNS = "not the index of an image", "not two columns"
MISSING, UNREADABLE = "not labeled", "not readable"
CURES = {  # by kind of mistake
    UNREQUESTED: "queries.csv lists the queried images",
    REPEATED: "keep one line",
    UNKNOWN_CLASS: "classes.txt lists the classes",
    NOT_AN_INDEX: "the second column of queries.csv has the indices",
    NOT_TWO_COLUMNS: "put a class with a comma in quotes",
}


def read_labels_csv(
    path: Path, dataset_indices: np.ndarray, class_names: tuple[str, ...]
) -> np.ndarray:
    """The classes (n,) int64 of the images with these data set indices (n,), in their order.

    Raises UserError with one line per kind of mistake: unreadable lines, images that were not
    queried or are labeled twice, unknown classes, images without a label. Raises SystemRefusal if
    the file cannot be read."""
    classes = _classes_by_answer(class_names)
    queried = {int(index) for index in dataset_indices}
    labels: dict[int, int] = {}
    mistakes = _Mistakes(path)
    for line, index, answer in _parse_lines(path, mistakes):
        if index not in queried:
            mistakes.add(UNREQUESTED, f"image {index} (line {line})")
        elif index in labels:
            mistakes.add(REPEATED, f"image {index} (line {line})")
        elif (name := _normalize_name(answer)) in classes:
            labels[index] = classes[name]
        elif name:
            labels[index] = -1
            mistakes.add(UNKNOWN_CLASS, _describe_unknown_class(answer, line, classes))
    for index in dataset_indices:
        if int(index) not in labels:
            mistakes.add(MISSING, f"image {index}")
    mistakes.raise_if_any()
    return np.array([labels[int(index)] for index in dataset_indices], dtype=np.int64)


class _Mistakes:
    """The mistakes in a file, by kind."""

    def __init__(self, path: Path):
        self.path = path
        self.by_kind: dict[str, list[str]] = {}

    def add(self, kind: str, place: str) -> None:
        self.by_kind.setdefault(kind, []).append(place)

    def raise_if_any(self) -> None:
        """Raises UserError with one line per kind of mistake."""
        lines = []
        for kind, places in self.by_kind.items():
            listed = ", ".join(places[:MAX_LISTED_MISTAKES])
            if len(places) > MAX_LISTED_MISTAKES:
                listed += f" and {len(places) - MAX_LISTED_MISTAKES} more"
            cure = f" ({CURES[kind]})" if kind in CURES else ""
            lines.append(f"{self.path}: {kind}: {listed}{cure}")
        if lines:
            raise UserError(*lines)


def _parse_lines(path: Path, mistakes: _Mistakes) -> Iterator[tuple[int, int, str]]:
    """Line number, index and answer of every line that has an index."""
    text = _read_text(path)
    separator = re.search("[,;\t]", text.strip())  # after the first index, or the title above it
    rows = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator[0] if separator else ",",
        skipinitialspace=True,
    )
    columns, is_first = (0, 1), True
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            if not cells:
                continue
            is_header = is_first and not _is_number(cells[0]) and not _is_number(cells[-1])
            titles = [cell.casefold() for cell in cells]
            if is_first and {"index", "label"} <= set(titles):
                columns, is_header = (titles.index("index"), titles.index("label")), True
            is_first = False
            if not is_header:
                yield from _parse_answer(rows.line_num, cells, columns, mistakes)
    except csv.Error as error:
        mistakes.add(UNREADABLE, f"line {rows.line_num} ({error})")


def _parse_answer(
    line: int, cells: list[str], columns: tuple[int, int], mistakes: _Mistakes
) -> Iterator[tuple[int, int, str]]:
    """Line number, index and answer; nothing if the line is a mistake."""
    index = cells[columns[0]] if columns[0] < len(cells) else ""
    if not _is_number(index):
        mistakes.add(NOT_AN_INDEX, f"{index!r} (line {line})")
    elif columns == (0, 1) and len(cells) > 2:
        mistakes.add(NOT_TWO_COLUMNS, f"line {line} has {len(cells)}")
    else:
        yield line, int(index), cells[columns[1]] if columns[1] < len(cells) else ""


def _is_number(cell: str) -> bool:
    return re.fullmatch("[0-9]{1,18}", cell) is not None


def _classes_by_answer(class_names: tuple[str, ...]) -> dict[str, int]:
    """Accepted answer -> class: its name, and its number unless some name is a number."""
    names = {_normalize_name(name): number for number, name in enumerate(class_names)}
    if any(_is_number(name) for name in names):
        return names
    return {str(number): number for number in range(len(class_names))} | names


def _normalize_name(name: str) -> str:
    """Without surrounding spaces, and with one encoding of accents; file systems have several."""
    return unicodedata.normalize("NFC", name.strip())


def _describe_unknown_class(answer: str, line: int, classes: dict[str, int]) -> str:
    close = difflib.get_close_matches(_normalize_name(answer), classes, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    return f"{answer!r} (line {line}{hint})"


def _read_text(path: Path) -> str:
    with os_errors_refused(path, "read"):
        content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start}): save it as CSV UTF-8"
        ) from None
