"""Text that a spreadsheet would take for a formula."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from utils.spreadsheets import escape_cell, unescape_cell


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-x"])
def test_formulas_get_one_apostrophe(text):
    assert escape_cell(text) == f"'{text}"
    assert unescape_cell(f"'{text}") == text


@pytest.mark.parametrize("text", ["", "cat", "1", "1.0", "'s-Hertogenbosch", "a=b", "''", " =1"])
def test_other_text_stays(text):
    assert escape_cell(text) == unescape_cell(text) == text


@examples(200)
@given(st.text(st.sampled_from("'=+-@\t\ra 1"), max_size=6))
def test_every_text_is_read_back(text):
    cell = escape_cell(text)
    assert unescape_cell(cell) == text and cell[:1] not in set("=+-@\t\r")
