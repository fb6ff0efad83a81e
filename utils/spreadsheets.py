"""Text in a CSV file that a spreadsheet must not take for a formula.

Spreadsheets run a cell that begins with = + - or @, also after a tab or carriage return. Such text
is written with an apostrophe in front, which makes it text in all of them; so is text that looks
escaped already, so that every text is read back as it was.
"""

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")


def escape_cell(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula; for text, not for numbers."""
    return f"'{text}" if _FORMULA.match(text) else text


def unescape_cell(cell: str) -> str:
    """The text of a cell that `escape_cell` has made; other cells stay as they are."""
    return cell[1:] if _ESCAPED.match(cell) else cell
