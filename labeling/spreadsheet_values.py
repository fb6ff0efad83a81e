"""What spreadsheets and pandas make of text in a CSV file that they open and save again.

They take a class named `01` or `+1` for the number 1, `true` for a truth value and `MAR1` for a
date, and write what they took it for: `1`, `TRUE`, `1-Mar`. docs/labeling.md has the table.
"""

import re
from collections.abc import Hashable
from contextlib import suppress

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_ROUNDED = re.compile(r"[+-]?[0-9](?:[.,]([0-9]+))?[eE][+-]?[0-9]+")
_MONTH = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    "|sept?|september|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
_MONTH_AND_NUMBER = re.compile(
    rf"(?:([0-9]{{1,4}})[-/. ]*)?({_MONTH})\.?(?:[-/. ]*([0-9]{{1,4}}))?", re.IGNORECASE
)
# What Excel and LibreOffice write in English, German, French, Italian, Spanish, Portuguese, Dutch.
_TRUTH_VALUES = {
    **dict.fromkeys(("true", "wahr", "vrai", "vero", "verdadero", "verdadeiro", "waar"), True),
    **dict.fromkeys(("false", "falsch", "faux", "falso", "onwaar"), False),
}
# The ways in which a spreadsheet or pandas writes a number, a truth value or a date by itself.
_WRITTEN = re.compile(
    r"-?(?:0|[1-9][0-9]*)(?:[.,][0-9]+)?(?:[eE][+-][0-9]+)?%?|True|False"
    rf"|{'|'.join(map(str.upper, _TRUTH_VALUES))}"
    r"|[0-9]{1,2}-[A-Z][a-z]{2}|[A-Z][a-z]{2}-[0-9]{2}"
)
_GAPS = " \u00a0\u202f"  # blanks that separate thousands
_THOUSANDS = re.compile(rf"[0-9]{{1,3}}(?:[,{_GAPS}][0-9]{{3}})+(?:\.0+)?")
# Not `1.000`: it is a thousand in some countries.
_WHOLE = re.compile(r"[0-9]{1,18}(?:[.,](?:0{1,2}|0{4,}))?")
# 1-2, 1/2/2024, 1.5 (in Germany), 2024-01-02, 01. Mrz, 1:30, 01:30:00 AM, $5, in names or saved.
_DATE_TIME_OR_MONEY = re.compile(
    r"[0-9]{1,4}[-/.][0-9]{1,2}(?:[-/.][0-9]{1,4})?|[0-9]{1,2}[-. ]+[^\W\d_]{3,}\.?(?:[- ][0-9]+)?"
    r"|[0-9]{1,2}:(?:[0-9]{2})?(?::[0-9]{2})?(?: [AP]M)?"
    r"|[+-]?[$€£¥] ?[0-9][0-9.,]*|[+-]?[0-9][0-9.,]* ?[$€£¥]"
)
_EXACT_TEXT = re.compile(r'="((?:[^"]|"")*)"')


def values_of(text: str) -> frozenset[Hashable]:
    """The numbers, truth values and dates that a spreadsheet may take the text for.

    Empty if it stays text; several where countries differ, as for `1,5`."""
    text = text.strip()
    if text.casefold() in _TRUTH_VALUES:
        return frozenset([("truth", _TRUTH_VALUES[text.casefold()])])
    date = _MONTH_AND_NUMBER.fullmatch(text)
    if date and (date[1] is None) != (date[3] is None):
        return frozenset([("date", date[2][:3].casefold(), int(date[1] or date[3]))])
    return frozenset(("number", number) for number in numbers_of(text))


def numbers_of(text: str) -> frozenset[float]:
    """The numbers that a spreadsheet may take the text for, to the 15 digits that it keeps."""
    body, factor = text, 1.0
    if body.startswith("(") and body.endswith(")"):  # as accountants write negative numbers
        body, factor = body[1:-1], -1.0
    elif body[-1:] in ("+", "-") and body[0] not in "+-":  # LibreOffice reads 60+ and 60-
        body = body[-1] + body[:-1].rstrip()
    if body[:1] in ("+", "-"):
        body = body[0] + body[1:].lstrip()
    if body.endswith("%"):
        body, factor = body[:-1].rstrip(), 0.01 * factor
    body = re.sub(rf"(?<=[0-9])[{_GAPS}](?=[0-9]{{3}})", "", body)
    readings = {body, body.replace(",", "")}
    if body.count(",") == 1:  # a decimal comma
        readings.add(body.replace(".", "").replace(",", "."))
    if re.fullmatch(r"[+-]?[0-9]{1,3}(\.[0-9]{3})+", body):
        readings.add(body.replace(".", ""))
    numbers = [float(reading) * factor for reading in readings if _NUMBER.fullmatch(reading)]
    return frozenset(float(f"{number:.15g}") for number in numbers)


def is_rounded(cell: str) -> bool:
    """Whether the cell is a number such as 1.23E+11, which spreadsheets write for longer ones."""
    return _ROUNDED.fullmatch(cell) is not None


def may_be_rounded_to(text: str, cell: str) -> bool:
    """Whether a number, given as text, is one that `cell`, such as 1.23E+11, may stand for."""
    rounded = _ROUNDED.fullmatch(cell)
    assert rounded
    digits = len(rounded[1] or "")
    shown, meant = ({f"{n:.{digits}e}" for n in numbers_of(one)} for one in (cell, text))
    return not shown.isdisjoint(meant)


def is_written_by_spreadsheets(cell: str) -> bool:
    """Whether a spreadsheet or pandas writes a value in this form, so that the cell may have had
    another text before."""
    return _WRITTEN.fullmatch(cell) is not None


def read_whole_number(cell: str) -> int | None:
    """A whole number from 0 on, as spreadsheets and pandas write it: 17, 17.0, 1,024, '17."""
    exact = read_exact_text(cell)
    text = cell if exact is None else exact
    if _THOUSANDS.fullmatch(text):
        return int(re.sub(rf"[,{_GAPS}]", "", text.split(".")[0]))
    if _WHOLE.fullmatch(text):
        return int(re.split("[.,]", text)[0])
    return None


def read_exact_text(cell: str) -> str | None:
    """The text of a cell that says that it is text: '01 or ="01"; None for other cells."""
    formula = _EXACT_TEXT.fullmatch(cell)
    if formula:
        return formula[1].replace('""', '"')
    text = cell.lstrip("'")
    is_marked = text != cell and (values_of(text) or is_date_time_or_money(text))
    return cell[1:] if is_marked else None


def is_date_time_or_money(text: str) -> bool:
    """Whether the text is a date, time or sum of money as spreadsheets read or save it."""
    is_date = any(isinstance(value, tuple) and value[0] == "date" for value in values_of(text))
    return is_date or _DATE_TIME_OR_MONEY.fullmatch(text.strip()) is not None


def needs_exact_text(text: str) -> bool:
    """Whether the text may be lost or read as another one unless `write_exact_text` writes it."""
    return is_rounded(text) or is_date_time_or_money(text) or read_exact_text(text) is not None


def write_exact_text(text: str) -> str:
    """A cell that spreadsheets keep as this text, whatever they would take the text for."""
    return f"'{text}"


def undo_double_encoding(text: str) -> str:
    """The text, if a program has read its UTF-8 as Windows-1252 or Latin-1, as Excel and
    LibreOffice do unless they are told; otherwise unchanged."""
    for encoding in ("cp1252", "latin-1"):
        with suppress(UnicodeError):
            return text.encode(encoding).decode("utf-8")
    return text
