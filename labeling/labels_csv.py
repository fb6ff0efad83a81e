"""The form of labels.csv: bytes to rows of cells, and answers to bytes.

What the cells mean is decided in `labeling.answers`. Read are UTF-8, and UTF-16 with a byte order
mark (Excel's "Unicode text"); commas, semicolons or tabs; Excel's line `sep=;`; quotes, empty lines
and comments (lines that begin with #). A header names the columns, of which those that nobody needs
are ignored; without one there are two columns, the image and its class.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data.state import SET_ASIDE
from labeling.spreadsheet_values import (
    needs_exact_text,
    read_whole_number,
    values_of,
    write_exact_text,
)
from utils.errors import UserError
from utils.files import os_errors_refused, quote_cell
from utils.spreadsheets import escape_cell

SKIPPED = -1  # the label of an image that a person has skipped
SKIP_ANSWER = "cannot tell"  # and the answer
NONE_ANSWER = "none of these"  # the answer for an image that is set aside; its label is SET_ASIDE
NONE_ANSWERS = (NONE_ANSWER, "none of the classes", "none of the above", "none of them")
NO_CLASS = "\0"  # stands for NONE_ANSWER where there are names of classes; no class has this name
INDEX, LABEL, NEW_CLASS, ANNOTATOR = "index", "label", "new_class", "annotator"
ORDER = "order"  # a column of queries.csv that looks like one of indices
PATH_TITLES = ("path", "image", "file", "filename")  # the first that is there counts
ANSWER_TITLES = (LABEL, "class", "choice")
SEPARATORS = ",;\t"
SPREADSHEET_MARKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx, .ods, .numbers; .xls
MAX_CELL_CHARACTERS = 1 << 20
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?[,;\t]*(?:\r\n|\r|\n|\Z)', re.IGNORECASE)


@dataclass(frozen=True)
class LabelRow:
    """A row of labels.csv, as stripped text; "" where the file has no such column."""

    line: int
    index: str
    path: str
    answer: str
    new_class: str
    annotator: str
    cell_count: int
    has_wrong_width: bool  # more cells than columns, or no answer in a file without separators


@dataclass
class LabelTable:
    """The rows of a labels.csv."""

    rows: list[LabelRow] = field(default_factory=list)
    column_count: int = 2
    has_paths_only: bool = False  # the header has a column of paths and none of indices
    damage: str = ""  # where the rest of the file cannot be read, and why
    first_bad_byte: int | None = None  # of a file that is not UTF-8


@dataclass(frozen=True)
class _Columns:
    """The positions of the columns; without a column of indices or paths the first has either."""

    index: int | None = None
    path: int | None = None
    answer: int = 1
    new_class: int | None = None
    annotator: int | None = None
    count: int = 2  # of all columns
    in_header: bool = False


def read_label_table(
    path: Path, is_image: Callable[[str], bool], is_class: Callable[[str], bool]
) -> LabelTable:
    """The rows of a labels.csv.

    is_image, is_class: whether a cell names an image of the data by its path, or a class.

    Raises UserError if the file is not text or has no column of images or answers, SystemRefusal
    if it cannot be read."""
    text, first_bad_byte = _read_text(path)
    table = LabelTable(first_bad_byte=first_bad_byte)
    declared = _SEPARATOR_LINE.match(text)
    text = text[declared.end() :] if declared else text

    def is_data(cell: str) -> bool:
        return is_image(cell) or is_class(cell)

    separator = declared[1] if declared and declared[1] in text else _find_separator(text, is_data)
    columns = None
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    try:
        for line, cells in _read_records(text, separator, is_data):
            if columns is None:
                columns = _find_columns(path, cells, is_image, is_class)
                table.column_count = columns.count
                table.has_paths_only = columns.path is not None and columns.index is None
                if columns.in_header:
                    continue
            table.rows.append(_make_row(line + (declared is not None), cells, columns))
    except csv.Error as error:
        table.damage = f"after line {table.rows[-1].line if table.rows else 0} ({error})"
    if separator not in text:  # a list of images without any answer, rather than skipped images
        table.rows = [replace(row, has_wrong_width=True) for row in table.rows]
    return table


def _read_text(path: Path) -> tuple[str, int | None]:
    """The text, and the first byte that is not UTF-8. Such bytes become lone surrogates, as in the
    names of files that are not UTF-8."""
    with os_errors_refused(path, "read"):
        content = path.read_bytes()
    if content.startswith(SPREADSHEET_MARKS):
        raise UserError(f"{path} is a spreadsheet file, not text: save it as CSV UTF-8")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not content.startswith(
        codecs.BOM_UTF32_LE
    ):
        try:
            return content.decode("utf-16"), None
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path} is not UTF-16 text (byte {error.start}): save it as CSV UTF-8"
            ) from None
    if content.count(0) > len(content) // 4:  # a single one may be a mistake in one line
        raise UserError(
            f"{path} is UTF-16 or UTF-32 without its mark, or not text: save it as CSV UTF-8"
        )
    try:
        return content.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        return content.decode("utf-8-sig", errors="surrogateescape"), error.start


class _Lines:
    """The lines of a text, without comments: those that begin with # where a record begins."""

    def __init__(self, text: str, is_comment: Callable[[str], bool]):
        self.lines = io.StringIO(text, newline="")
        self.is_comment = is_comment
        self.number = 0
        self.begins_record = True

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        for line in self.lines:
            self.number += 1
            if not (self.begins_record and line.startswith("#") and self.is_comment(line)):
                self.begins_record = False
                return line
        raise StopIteration


def _read_records(
    text: str, separator: str, is_data: Callable[[str], bool]
) -> Iterator[tuple[int, list[str]]]:
    """The number of the last line of each record that is not empty, and its stripped cells
    without empty ones at the end.

    Raises csv.Error."""

    def is_comment(line: str) -> bool:
        return not is_data(_split_line(line, separator)[0])

    lines = _Lines(text, is_comment)
    records = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    for record in records:
        cells = [cell.strip() for cell in record]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield lines.number, cells
        lines.begins_record = True


def _split_line(line: str, separator: str) -> list[str]:
    """The stripped cells of one line; the line itself if it is not CSV."""
    try:
        cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        cells = []
    return [cell.strip() for cell in cells] or [line.strip()]


def _find_separator(text: str, is_data: Callable[[str], bool]) -> str:
    """The separator between the first two cells."""
    for line in io.StringIO(text, newline=""):
        is_comment = line.startswith("#") and not any(
            is_data(_split_line(line, separator)[0]) for separator in SEPARATORS
        )
        outside_quotes = re.sub('"[^"]*"', "", line.strip())
        if (found := re.search(f"[{SEPARATORS}]", outside_quotes)) and not is_comment:
            return found[0]
    return SEPARATORS[0]


def _find_columns(
    path: Path, cells: list[str], is_image: Callable[[str], bool], is_class: Callable[[str], bool]
) -> _Columns:
    """The columns, from the first record, which may be a header. Raises UserError."""
    titles = [re.sub("[ -]", "_", cell.casefold()) for cell in cells]
    image_columns = [titles.index(title) for title in (INDEX, *PATH_TITLES) if title in titles]
    answer_columns = [number for number, title in enumerate(titles) if title in ANSWER_TITLES]
    if read_whole_number(cells[0]) is not None or is_image(cells[0]):
        return _Columns()
    if not (image_columns or answer_columns):
        in_header = len(cells) > 1 and not is_class(cells[1])
        if in_header and (len(cells) > 2 or ORDER in titles):
            raise UserError(
                f"{path} has a header without a column that names the images: call the columns "
                f"{INDEX} and {LABEL}"
            )
        return _Columns(in_header=in_header)
    if len(cells) == 2 and ORDER not in titles and len(image_columns) + len(answer_columns) == 1:
        other = 1 - (image_columns + answer_columns)[0]  # a title in another language
        (answer_columns if image_columns else image_columns).append(other)
    if not image_columns:
        raise UserError(f"{path} has no column that names the images: add a column {INDEX}")
    if not answer_columns:
        raise UserError(f"{path} has no column of answers: add a column {LABEL}")
    if len(answer_columns) > 1:
        both = " and ".join(repr(titles[number]) for number in answer_columns)
        raise UserError(f"{path} has several columns of answers, {both}: keep one of them")
    return _Columns(
        index=titles.index(INDEX) if INDEX in titles else None,
        path=next((number for number in image_columns if titles[number] != INDEX), None),
        answer=answer_columns[0],
        new_class=titles.index(NEW_CLASS) if NEW_CLASS in titles else None,
        annotator=titles.index(ANNOTATOR) if ANNOTATOR in titles else None,
        count=len(cells),
        in_header=True,
    )


def _make_row(line: int, cells: list[str], columns: _Columns) -> LabelRow:
    def cell(column: int | None) -> str:
        return cells[column] if column is not None and column < len(cells) else ""

    index, path = cell(columns.index), cell(columns.path)
    if columns.index is None and columns.path is None:  # the first column is either
        is_number = read_whole_number(cells[0]) is not None
        index, path = (cells[0], "") if is_number else ("", cells[0])
    texts = (index, path, cell(columns.answer), cell(columns.new_class), cell(columns.annotator))
    return LabelRow(line, *texts, len(cells), len(cells) > columns.count)


def render_labels_csv(
    answers: Iterable[tuple[int, str]],
    new_classes: Collection[str] = (),
    *,
    class_names: Collection[str] = (),
) -> bytes:
    """A labels.csv that `labeling.answers.read_answers` reads back as it was.

    answers: index of each image and its class, or SKIP_ANSWER.
    new_classes: those of the classes that the data set does not have yet.
    class_names: all other classes. They matter where a spreadsheet may take two classes for the
    same, such as `1` and `01`: these are written as '1 and '01."""
    answers = list(answers)
    cells = answer_cells({*class_names, *new_classes, *(answer for _, answer in answers)})
    lines = [(INDEX, LABEL, NEW_CLASS) if new_classes else (INDEX, LABEL)]
    for index, answer in answers:
        mark = (("yes" if answer in new_classes else ""),) if new_classes else ()
        lines.append((str(index), cells[answer], *mark))
    text = "".join(",".join(map(quote_cell, line)) + "\n" for line in lines)
    return text.encode(errors="surrogateescape")


def skip_answer(class_names: Collection[str]) -> str:
    """What to write for an image of which the person cannot tell the class."""
    return _first_free((SKIP_ANSWER, "skip", "?", "-1", ""), class_names)


def none_answer(class_names: Collection[str]) -> str:
    """What to write for an image of none of the classes."""
    return _first_free(NONE_ANSWERS, class_names)


def _first_free(answers: Iterable[str], class_names: Collection[str]) -> str:
    taken = {name.casefold() for name in class_names}
    return next(answer for answer in answers if answer not in taken)


def name_of_label(label: int, class_names: Sequence[str]) -> str | None:
    """The name of a class; None for SKIPPED, NO_CLASS for SET_ASIDE."""
    if label >= 0:
        return class_names[label]
    return NO_CLASS if label == SET_ASIDE else None


def answer_cells(names: Collection[str]) -> dict[str, str]:
    """Name -> the cell, not quoted yet, that is read as this one of the names."""
    # Readers strip cells: a formula or an apostrophe after a blank would become the first sign.
    texts = {name: name.strip() for name in names}
    counts = Counter(value for name in names for value in values_of(name))

    def is_shared(name: str) -> bool:
        return any(counts[value] > 1 for value in values_of(name))

    return {
        name: write_exact_text(text)
        if is_shared(name) or needs_exact_text(text)
        else escape_cell(text)
        for name, text in texts.items()
    }
