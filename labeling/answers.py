"""Reads labels.csv, as the page, a person, a spreadsheet or a label tool writes it, and names every
mistake in it.

One row per image: its index or path, and its class, as a name or a number. `labeling.labels_csv`
reads the form of the file; `labeling.class_answers` and `labeling.image_paths` say which class and
image a cell means. An image whose answer is empty, `cannot tell`, `skip`, `?` or -1 is skipped; one
of `none of these` is set aside. An unknown name may be a new class. Rows of images that were
answered before are corrections.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.state import SET_ASIDE
from labeling.class_answers import (
    MISSING_VALUES,
    AmbiguousAnswer,
    ClassMatcher,
    may_be_new_class,
    may_say_nothing,
    normalize_name,
    read_new_name,
)
from labeling.image_paths import ImageFinder
from labeling.label_mistakes import (
    AMBIGUOUS_CLASS,
    AMBIGUOUS_PATH,
    BLANK,
    CONVERTED,
    MISSING,
    NO_IMAGE,
    NOT_AN_INDEX,
    NOT_TWO_COLUMNS,
    NOT_YES,
    OTHER_PATH,
    OTHER_WIDTH,
    REPEATED,
    SAYS_NOTHING,
    TIED,
    UNKNOWN_CLASS,
    UNKNOWN_PATH,
    UNREADABLE,
    UNREQUESTED,
    Mistakes,
    show_cell,
)
from labeling.labels_csv import (
    INDEX,
    NO_CLASS,
    NONE_ANSWER,
    NONE_ANSWERS,
    SKIP_ANSWER,
    SKIPPED,
    LabelRow,
    read_label_table,
)
from labeling.spreadsheet_values import is_date_time_or_money, read_whole_number
from utils.errors import UserError
from utils.spreadsheets import unescape_cell

SKIP_ANSWERS = {"", SKIP_ANSWER, "skip", "?", "-1", "-1.0"}  # -1.0 is how pandas may write -1
YES, NO = {"yes", "y", "true", "1", "1.0", "x"}, {"", "no", "n", "false", "0", "0.0"}
_ERROR_VALUE = re.compile("#[A-Z/0]+[!?]?|Err:[0-9]+")  # of a spreadsheet


def _is_no_class(text: str) -> bool:
    """Whether a text, in lower case, is an answer but not the name of a class."""
    return text in SKIP_ANSWERS or text in NONE_ANSWERS


@dataclass(frozen=True)
class Answers:
    """What a labels.csv says.

    labels: (n,) int64, the classes of the queried images in their order, SKIPPED or SET_ASIDE.
    new_classes: names that are taken up as classes, numbered after the others in this order.
    corrections: index of an image that was answered before -> its corrected label, as in `labels`.
    disagreements: index of an image that annotators gave different classes -> these, in words.
    spellings: names of annotators that are taken for one person, in words."""

    labels: np.ndarray
    new_classes: tuple[str, ...]
    corrections: dict[int, int]
    disagreements: dict[int, str] = field(default_factory=dict)
    spellings: tuple[str, ...] = ()


def read_answers(
    path: Path,
    dataset_indices: np.ndarray,
    class_names: Sequence[str],
    *,
    paths: Mapping[int, str] | None = None,
    earlier: Mapping[int, int] | None = None,
) -> Answers:
    """The answers in a labels.csv.

    dataset_indices: (n,), of the queried images.
    paths: of the queried and the earlier images, by index; without them the file must name images
    by their indices.
    earlier: the accepted labels of images that were answered before, by index.

    Raises UserError with one line per kind of mistake: unreadable lines, images that were not
    queried, are labeled twice or have no label, unknown or ambiguous classes. Raises SystemRefusal
    if the file cannot be read."""
    reader = _AnswerReader(path, class_names, dataset_indices, paths or {}, earlier or {})
    return reader.read()


class _Vote(NamedTuple):
    """The answer of one row."""

    line: int
    annotator: str
    name: str | None  # of a class, or NO_CLASS; None: skipped
    is_blank: bool = False  # the cell is empty


class _AnswerReader:
    """Reads one labels.csv."""

    def __init__(
        self,
        path: Path,
        class_names: Sequence[str],
        dataset_indices: np.ndarray,
        paths: Mapping[int, str],
        earlier: Mapping[int, int],
    ):
        self.path, self.class_names, self.earlier = path, tuple(class_names), earlier
        self.queried = dict.fromkeys(int(index) for index in dataset_indices)  # in their order
        self.known = {*self.queried, *earlier}
        self.images = ImageFinder(paths)
        self.classes = ClassMatcher(class_names)
        self.has_missing_value = any(normalize_name(n) in MISSING_VALUES for n in class_names)
        self.new_names: dict[str, None] = {}  # in order of their first appearance
        self.annotators: dict[str, dict[str, None]] = {}  # without case and blanks -> spellings
        self.votes: dict[int, list[_Vote]] = {}
        self.similar: dict[str, str | None] = {}  # unknown name -> the most similar class
        self.with_mistakes: set[int] = set()  # images that have a row with a mistake
        self.mistakes = Mistakes(path)

    def read(self) -> Answers:
        """Raises UserError, SystemRefusal."""
        self.table = read_label_table(
            self.path, lambda cell: bool(self.images.find(cell)), self._is_answer
        )
        if self.table.has_paths_only and not self.images.paths:
            raise UserError(
                f"{self.path} names images by their paths, which the data set does not have: add a "
                f"column {INDEX}"
            )
        rows = list(self._find_images())
        for index, row in rows:
            self._add_marked_class(index, row)
        for index, row in rows:
            if index not in self.with_mistakes:
                self._add_vote(index, row)
        if self.table.damage:
            self.mistakes.add(UNREADABLE, self.table.damage)
        numbers: dict[str | None, int] = {None: SKIPPED, NO_CLASS: SET_ASIDE}
        for number, name in enumerate((*self.class_names, *self.new_names)):
            numbers.setdefault(name, number)
        decided = {
            index: numbers[self._decide(index, votes)] for index, votes in self.votes.items()
        }
        for index in self.queried:
            if index not in decided and index not in self.with_mistakes:
                self.mistakes.add(MISSING, f"image {index}")
        self.mistakes.raise_if_any()
        return Answers(
            np.array([decided[index] for index in self.queried], dtype=np.int64),
            tuple(self.new_names),
            self._corrections(decided),
            {
                index: self._list_votes(votes)
                for index, votes in self.votes.items()
                if len({vote.name for vote in votes} - {None}) > 1
            },
            tuple(
                " and ".join(map(show_cell, names))
                for names in self.annotators.values()
                if len(names) > 1
            ),
        )

    def _is_answer(self, cell: str) -> bool:
        try:
            return _is_no_class(cell.casefold()) or self.classes.find(cell) is not None
        except AmbiguousAnswer:
            return True

    # ---- Images

    def _find_images(self) -> Iterator[tuple[int, LabelRow]]:
        """The rows that name a known image, and its index."""
        for row in self.table.rows:
            index = self._find_image(row)
            if index is None:
                continue
            if row.has_wrong_width:
                kind = NOT_TWO_COLUMNS if self.table.column_count == 2 else OTHER_WIDTH
                self.mistakes.add(kind, f"line {row.line} has {row.cell_count}")
                self.with_mistakes.add(index)
            else:
                yield index, row

    def _find_image(self, row: LabelRow) -> int | None:
        place = f"line {row.line}"
        found = self.images.find(row.path) if row.path else set()
        if row.index:
            index = read_whole_number(row.index)
            if index is None:
                self.mistakes.add(NOT_AN_INDEX, f"{show_cell(row.index)} ({place})")
            elif index not in self.known:
                self.mistakes.add(UNREQUESTED, f"image {index} ({place})")
            elif len(found) == 1 and index not in found:
                self.mistakes.add(OTHER_PATH, f"image {index} and {show_cell(row.path)} ({place})")
                self.with_mistakes.add(index)
            else:
                return index
            return None
        if not row.path:
            kind, shown = NO_IMAGE, place
        elif not self.images.paths:
            kind, shown = NOT_AN_INDEX, f"{show_cell(row.path)} ({place})"
        elif len(found) > 1:
            names = " or ".join(show_cell(self.images.paths[index]) for index in sorted(found)[:3])
            kind, shown = AMBIGUOUS_PATH, f"{show_cell(row.path)} ({place}: {names})"
        elif not found:
            self._refuse_other_encoding(row.path)
            kind, shown = UNKNOWN_PATH, f"{show_cell(row.path)} ({place})"
        else:
            return next(iter(found))
        self.mistakes.add(kind, shown)
        return None

    # ---- Classes

    def _add_marked_class(self, index: int, row: LabelRow) -> None:
        """Add the class of a row that is marked as a new one."""
        mark = row.new_class.casefold()
        if mark not in YES | NO:
            self.mistakes.add(NOT_YES, f"{show_cell(row.new_class)} (line {row.line})")
            self.with_mistakes.add(index)
        if mark not in YES or _is_no_class(row.answer.casefold()):
            return
        self._refuse_other_encoding(row.answer)
        try:
            if self.classes.find_for_new(row.answer) is None:
                self.classes.add(read_new_name(row.answer))
        except AmbiguousAnswer as error:
            self._add_ambiguous(index, row, error)

    def _add_vote(self, index: int, row: LabelRow) -> None:
        """Add the answer of a row to those of its image."""
        try:
            name = self.classes.find(row.answer) if row.answer else None
        except AmbiguousAnswer as error:
            self._add_ambiguous(index, row, error)
            return
        text = unescape_cell(row.answer).casefold()
        if name is None and text in NONE_ANSWERS:
            name = NO_CLASS
        elif name is None and text not in SKIP_ANSWERS:
            name = self._take_up(row)
            if name is None:
                self.with_mistakes.add(index)
                return
        if not row.answer and self.has_missing_value and index in self.queried:
            self.mistakes.add(BLANK, f"image {index} (line {row.line})")
            self.with_mistakes.add(index)
            return
        votes = self.votes.setdefault(index, [])
        annotator = self._find_annotator(row.annotator)
        if any(vote.annotator == annotator for vote in votes):
            person = "" if row.annotator == annotator else f", {show_cell(row.annotator)} for "
            person += show_cell(annotator) if person else ""
            self.mistakes.add(REPEATED, f"image {index} (line {row.line}{person})")
            return
        if name is not None and name not in (NO_CLASS, *self.class_names):
            self.new_names.setdefault(name)
        votes.append(_Vote(row.line, annotator, name, not row.answer))

    def _find_annotator(self, name: str) -> str:
        """The first spelling of this annotator; case and blanks make no other person."""
        folded = "".join(normalize_name(name).casefold().split())
        spellings = self.annotators.setdefault(folded, {})
        spellings.setdefault(name)
        return next(iter(spellings))

    def _take_up(self, row: LabelRow) -> str | None:
        """The new class that a row names without a mark; None if this may be a mistake."""
        self._refuse_other_encoding(row.answer)
        name = read_new_name(row.answer)
        place = f"line {row.line}"
        if name not in self.similar:
            self.similar[name] = self.classes.find_similar(row.answer)
        close = self.similar[name]
        says_nothing = close is None and may_say_nothing(name)
        if close is None and may_be_new_class(name) and not says_nothing:
            self.classes.add(name)
            return name
        hint = f", did you mean {close!r}?" if close is not None else ""
        is_converted = is_date_time_or_money(name) or _ERROR_VALUE.fullmatch(name)
        kind = CONVERTED if is_converted else SAYS_NOTHING if says_nothing else UNKNOWN_CLASS
        self.mistakes.add(kind, f"{show_cell(row.answer)} ({place}{hint})")
        return None

    def _add_ambiguous(self, index: int, row: LabelRow, error: AmbiguousAnswer) -> None:
        names = " or ".join(map(show_cell, error.names[:4]))
        self.mistakes.add(AMBIGUOUS_CLASS, f"{show_cell(row.answer)} (line {row.line}: {names})")
        self.with_mistakes.add(index)

    def _refuse_other_encoding(self, text: str) -> None:
        """Raises UserError where a text that nothing matches has bytes that are not UTF-8."""
        if self.table.first_bad_byte is not None and re.search("[\udc80-\udcff]", text):
            raise UserError(
                f"{self.path} is not UTF-8 text (byte {self.table.first_bad_byte}): save it as "
                "CSV UTF-8"
            )

    # ---- The answers together

    def _decide(self, index: int, votes: list[_Vote]) -> str | None:
        """The answer of the majority of the annotators; those who skip an image do not count."""
        counts = Counter(vote.name for vote in votes if vote.name is not None)
        if not counts:
            return None
        (name, most), *others = counts.most_common()
        if others and others[0][1] == most:
            self.mistakes.add(TIED, f"image {index} ({self._list_votes(votes)})")
        return name

    def _list_votes(self, votes: list[_Vote]) -> str:
        """The classes that the annotators gave an image, in words."""
        given = [
            f"{show_cell(vote.annotator)}: "
            f"{show_cell(NONE_ANSWER if vote.name == NO_CLASS else vote.name)}"
            for vote in votes
            if vote.name is not None
        ]
        return "; ".join(given[:4])

    def _corrections(self, decided: dict[int, int]) -> dict[int, int]:
        """The decided answers of earlier images that differ from the accepted ones; an empty cell
        changes nothing."""
        return {
            index: label
            for index, label in decided.items()
            if index not in self.queried
            and label != self.earlier[index]
            and not all(vote.is_blank for vote in self.votes[index])
        }
