"""labels.csv, as the page, a person or Excel has written it: read, and what is wrong with it named.

A line an image: its index in the data set and its class, a name or a number.  Commas, semicolons or
tabs; quotes, spaces, a byte order mark, empty lines and a header are no matter.  Where the header
names the columns `index` and `label` there may be others, so that a column added to queries.csv
will do.
"""

import csv
import difflib
import io
import re
import unicodedata
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files import os_errors_refused

MAX_LISTED_MISTAKES = 5  # of many lines that are wrong in the same way
CURE_BY_MISTAKE = {  # what would be right, a kind of mistake
    "not asked for": "queries.csv says what is",
    "answered twice": "keep one line",
    "no class": "classes.txt has those that there are",
    "no index of an image": "queries.csv has them in its second column",
    "not two columns": "a class with a comma needs quotes",
}
MAX_CELL_CHARACTERS = 1 << 20  # characters of a cell


def read_labels_csv(
    path: Path, dataset_indices: np.ndarray, class_names: tuple[str, ...]
) -> np.ndarray:
    """The classes (n,) int64 of the images `ids` (n,), by their index in the data set.

    Raises UserError with a line for each kind of mistake: lines that cannot be read, images that
    are not asked for or stand there twice, classes that there are not, images without an answer;
    and Refused where the file cannot be read."""
    said, known = _classes_by_answer(class_names), {int(index) for index in dataset_indices}
    found, wrong = {}, _Mistakes(path)
    for line, (index, label) in _parse_lines(path, wrong):
        if index not in known:
            wrong.add("not asked for", f"image {index} (line {line})")
        elif index in found:
            wrong.add("answered twice", f"image {index} (line {line})")
        elif (key := _normalize_name(label)) in said:
            found[index] = said[key]
        elif key:
            found[index] = -1
            wrong.add("no class", _describe_unknown_class(label, line, said))
    for index in dataset_indices:
        if int(index) not in found:
            wrong.add("without an answer", f"image {index}")
    wrong.raise_if_any()
    return np.array([found[int(index)] for index in dataset_indices], dtype=np.int64)


class _Mistakes:
    """What is wrong with a file, by kind."""

    def __init__(self, path: Path):
        self.path, self.by_kind = path, {}

    def add(self, kind: str, what: str) -> None:
        self.by_kind.setdefault(kind, []).append(what)

    def raise_if_any(self) -> None:
        """Raises UserError where there are any."""
        lines = []
        for kind, found in self.by_kind.items():
            more = (
                f" and {len(found) - MAX_LISTED_MISTAKES} more"
                if len(found) > MAX_LISTED_MISTAKES
                else ""
            )
            right = f" ({CURE_BY_MISTAKE[kind]})" if kind in CURE_BY_MISTAKE else ""
            lines.append(
                f"{self.path}: {kind}: {', '.join(found[:MAX_LISTED_MISTAKES])}{more}{right}"
            )
        if lines:
            raise UserError(*lines)


def _parse_lines(path: Path, wrong: _Mistakes):
    """Line number, (index, label) of every line that has them."""
    text = _read_text(path)
    delimiter = re.search("[,;\t]", text.strip())  # behind the first index, or its title
    rows = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter[0] if delimiter else ",",
        skipinitialspace=True,
    )
    columns, begun = (0, 1), False
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            if not cells:
                continue
            header = not begun and not _is_number(cells[0]) and not _is_number(cells[-1])
            named = [cell.casefold() for cell in cells]
            if not begun and {"index", "label"} <= set(named):
                columns, header = (named.index("index"), named.index("label")), True
            begun = True
            if not header:
                yield from _parse_answer(rows.line_num, cells, columns, wrong)
    except csv.Error as error:
        wrong.add("not read", f"line {rows.line_num} ({error})")


def _parse_answer(line: int, cells: list[str], columns: tuple[int, int], wrong: _Mistakes):
    index = cells[columns[0]] if columns[0] < len(cells) else ""
    if not _is_number(index):
        wrong.add("no index of an image", f"{index!r} (line {line})")
    elif columns == (0, 1) and len(cells) > 2:
        wrong.add("not two columns", f"line {line} has {len(cells)}")
    else:
        yield line, (int(index), cells[columns[1]] if columns[1] < len(cells) else "")


def _is_number(cell: str) -> bool:
    return re.fullmatch("[0-9]{1,18}", cell) is not None


def _classes_by_answer(class_names: tuple[str, ...]) -> dict[str, int]:
    """What an answer may be -> the class: its name; its number too, where no name is a number."""
    names = {_normalize_name(name): number for number, name in enumerate(class_names)}
    if any(_is_number(name) for name in names):
        return names
    return {str(number): number for number in range(len(class_names))} | names


def _normalize_name(name: str) -> str:
    """A name without the spaces around it, its accents in one way: file systems have several."""
    return unicodedata.normalize("NFC", name.strip())


def _describe_unknown_class(label: str, line: int, said: dict[str, int]) -> str:
    close = difflib.get_close_matches(_normalize_name(label), said, n=1)
    right = f", perhaps {close[0]!r}" if close else ""
    return f"{label!r} (line {line}{right})"


def _read_text(path: Path) -> str:
    with os_errors_refused(path, "read"):
        content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not text in UTF-8 (byte {error.start}): save it as CSV UTF-8"
        ) from None
