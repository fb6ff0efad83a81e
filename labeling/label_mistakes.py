"""The kinds of mistakes in a labels.csv, and the lines that name them."""

from pathlib import Path

from labeling.labels_csv import NONE_ANSWER, SKIP_ANSWER
from utils.errors import UserError

MAX_LISTED_MISTAKES = 5  # of one kind
MAX_SHOWN_CHARACTERS = 80  # of one cell
UNREQUESTED, REPEATED, UNKNOWN_CLASS = "not queried", "labeled twice", "unknown class"
NOT_AN_INDEX, NOT_TWO_COLUMNS = "not the index of an image", "not two columns"
OTHER_WIDTH = "more cells than columns"
MISSING, UNREADABLE = "not labeled", "not readable"
UNKNOWN_PATH, AMBIGUOUS_PATH = "not the path of a queried image", "the path of several images"
OTHER_PATH, AMBIGUOUS_CLASS = "index and path of different images", "one of several classes"
CONVERTED, NOT_YES = "no class, perhaps changed by a spreadsheet", "neither yes nor empty"
SAYS_NOTHING = "perhaps no class"
NO_IMAGE = "no image named"
BLANK, TIED = "empty, as pandas also writes a class", "annotators disagree"
CURES = {  # by kind of mistake
    UNREQUESTED: "queries.csv lists the queried images",
    REPEATED: "keep one line, or name the people in a column annotator",
    UNKNOWN_CLASS: "classes.txt lists the classes; a new class needs yes in a column new_class",
    SAYS_NOTHING: f"write {SKIP_ANSWER} to skip the image, or {NONE_ANSWER} if it is of no class; "
    "a new class needs yes in a column new_class",
    NO_IMAGE: "remove the row, or write its index or path",
    NOT_AN_INDEX: "the second column of queries.csv has the indices",
    NOT_TWO_COLUMNS: "put a class with a comma in quotes",
    OTHER_WIDTH: "put a class with a comma in quotes",
    UNKNOWN_PATH: "queries.csv lists the queried images; a column of indices must be called index",
    AMBIGUOUS_PATH: "use a column index instead",
    OTHER_PATH: "the rows of queries.csv must stay together",
    AMBIGUOUS_CLASS: "put an apostrophe before the name; in a spreadsheet type two",
    CONVERTED: "put an apostrophe before the name; in a spreadsheet type two",
    NOT_YES: "yes in the column new_class makes the answer a class",
    BLANK: f"write {SKIP_ANSWER}, or the class",
    TIED: "correct a row, or add the answer of one more",
}


class Mistakes:
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


def show_cell(text: str) -> str:
    """A text from the file within a message."""
    return _shorten(repr(text))


def _shorten(text: str) -> str:
    half = MAX_SHOWN_CHARACTERS // 2
    return text if len(text) <= 2 * half else f"{text[:half]}...{text[-half:]}"
