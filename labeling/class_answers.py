"""Which class an answer in labels.csv names."""

import difflib
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

from data.active_dataset import normalize_name
from labeling.spreadsheet_values import (
    is_date_time_or_money,
    is_rounded,
    is_written_by_spreadsheets,
    may_be_rounded_to,
    numbers_of,
    read_exact_text,
    read_whole_number,
    undo_double_encoding,
    values_of,
)
from utils.console import escape_control_characters, to_one_line
from utils.spreadsheets import escape_cell, unescape_cell

SIMILARITY = 0.6  # from which on an unknown name may be a typing error (difflib's default)
# What pandas takes for a missing value, and writes as an empty cell (pandas 3.0).
MISSING_VALUES = {
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
}


_WORD = re.compile(r"[^\W_]+")
# Letters of what people write who do not know, or who refer to another row.
_NO_CLASS = {
    *("unsure", "notsure", "unknown", "unclear", "undecided", "uncertain", "maybe", "perhaps"),
    *("dontknow", "donotknow", "idontknow", "idk", "dunno", "noidea", "cantsay", "cannotsay"),
    *("none", "nothing", "na", "no", "yes", "x", "todo", "tbd", "later", "same", "ditto", "dito"),
    *("seeabove", "sameasabove", "both", "skipped", "skipit", "unlabeled", "unlabelled", "nolabel"),
}


class AmbiguousAnswer(ValueError):
    """The answer may be one of several classes, `names`."""

    def __init__(self, names: Iterable[str]):
        self.names = sorted(names)


class ClassMatcher:
    """Finds the class that an answer names."""

    def __init__(self, class_names: Sequence[str], new_names: Iterable[str] = ()):
        """class_names: in the order of their numbers; new_names: classes without a number yet."""
        self.numbered = tuple(class_names)
        self.by_name: dict[str, str] = {}  # normalized name -> name
        self.by_folded_name: dict[str, set[str]] = defaultdict(set)
        self.by_printed_name: dict[str, set[str]] = defaultdict(set)
        self.by_value: dict[Hashable, set[str]] = defaultdict(set)
        self.may_be_numbers = False
        for name in (*class_names, *new_names):
            self.add(name)

    def add(self, name: str) -> None:
        """Add a class without a number."""
        normalized = normalize_name(name)
        self.by_name.setdefault(normalized, name)
        self.by_folded_name[normalized.casefold()].add(name)
        for printed in (to_one_line(name), escape_control_characters(name)):
            self.by_printed_name[printed].add(name)
        for value in values_of(normalized):
            self.by_value[value].add(name)
        # A formula may give any number.
        may_be_number = numbers_of(normalized) or escape_cell(normalized) != normalized
        self.may_be_numbers = self.may_be_numbers or bool(may_be_number)

    def find(self, cell: str) -> str | None:
        """The name of the class that a cell names; None if there is none.

        In this order: the exact name, unless a spreadsheet may have made it from the name of
        another class; the class with the same value to a spreadsheet; the name in another case, in
        a wrong encoding, after an apostrophe, or as the log shows it; the class number, if no
        class name is a number.

        Raises AmbiguousAnswer."""
        exact_text = read_exact_text(cell)
        if exact_text is not None:
            return self.by_name.get(normalize_name(exact_text), self.by_name.get(cell))
        text = normalize_name(unescape_cell(cell))
        exact = self.by_name.get(text)
        candidates = self._with_equal_value(text)
        if exact is not None and not (candidates and is_written_by_spreadsheets(text)):
            return exact
        if exact is not None:
            candidates = candidates | {exact}
        for group in (candidates, self.by_folded_name.get(text.casefold(), set())):
            if len(group) == 1:
                return next(iter(group))
            if group:
                raise AmbiguousAnswer(group)
        for form in (undo_double_encoding(text), text.removeprefix("'")):
            if form in self.by_name:
                return self.by_name[form]
        printed = self.by_printed_name.get(to_one_line(text), set())
        if len(printed) == 1:
            return next(iter(printed))
        number = None if self.may_be_numbers else read_whole_number(cell)
        return self.numbered[number] if number is not None and number < len(self.numbered) else None

    def _with_equal_value(self, text: str) -> set[str]:
        """The classes whose names a spreadsheet may turn into the text."""
        if is_rounded(text):
            names = set().union(*self.by_value.values())
            return {name for name in names if may_be_rounded_to(normalize_name(name), text)}
        return set().union(*(self.by_value.get(value, ()) for value in values_of(text)))

    def find_for_new(self, cell: str) -> str | None:
        """The name of the class that there is already for an answer that is marked as a new class;
        None if the answer is new.

        Raises AmbiguousAnswer where a spreadsheet may have made it from the name of a class."""
        exact_text = read_exact_text(cell)
        text = read_new_name(cell)
        if text in self.by_name:
            return self.by_name[text]
        similar = self.by_folded_name.get(text.casefold(), set())
        if exact_text is None and len(similar) != 1:
            similar = similar | self._with_equal_value(text)
            if similar:
                raise AmbiguousAnswer({text, *similar})
        return next(iter(similar), None)

    def find_similar(self, cell: str) -> str | None:
        """The class whose name is most similar to the answer, or that it shortens or has more words
        than; None if there is none."""
        text = read_new_name(cell)
        plain = _drop_gaps(text)
        folded = {normalized.casefold(): name for normalized, name in self.by_name.items()}
        for normalized, name in self.by_name.items():
            if _drop_gaps(normalized) == plain:
                return name
        for word, names in ((text, self.by_name), (text.casefold(), folded)):
            close = difflib.get_close_matches(word, names, n=1, cutoff=SIMILARITY)
            if close:
                return names[close[0]]
        return next((name for name in self.by_name.values() if _is_part(text, name)), None)


def may_be_new_class(name: str) -> bool:
    """Whether a name that is no class may be taken up without being marked as a new class: it
    begins with a letter, and neither spreadsheets nor pandas write it by themselves."""
    is_made = values_of(name) or is_date_time_or_money(name) or name in MISSING_VALUES
    is_error = re.fullmatch("Err:[0-9]+", name)  # of LibreOffice
    return name[:1].isalpha() and name.isprintable() and not (is_made or is_error)


def may_say_nothing(name: str) -> bool:
    """Whether a name may mean that the person does not know the class, such as `unsure`."""
    letters = re.sub(r"[\W_]+", "", name.casefold())
    return letters in _NO_CLASS or bool(
        difflib.get_close_matches(letters, ["cannottell", "canttell"], cutoff=0.8)
    )


def _is_part(answer: str, name: str) -> bool:
    """Whether an answer is the beginning of a class name, or has all of its words or is some of
    them: `mito` for `mitochondrion`, `maybe cat`, `cat or dog`."""
    if name.casefold().startswith(answer.casefold()):
        return True
    one, other = (f" {' '.join(_WORD.findall(text.casefold()))} " for text in (answer, name))
    return bool(one.strip() and other.strip()) and (one in other or other in one)


def read_new_name(cell: str) -> str:
    """The name that a cell gives to a new class."""
    exact_text = read_exact_text(cell)
    text = unescape_cell(cell) if exact_text is None else exact_text
    return normalize_name(undo_double_encoding(text))


def _drop_gaps(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.casefold())
