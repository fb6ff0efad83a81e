"""The bytes of labels.csv: what is written is read back, also after pandas."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from labeling.answers import read_answers
from labeling.class_answers import normalize_name
from labeling.labels_csv import SKIP_ANSWER, SKIPPED, render_labels_csv
from tests.examples import examples
from utils.errors import UserError

# Pieces of names that spreadsheets and CSV treat in their own way.
PIECES = ("=", "+", "-", "@", "'", '"', ",", ";", "\t", "\r", "\n", " ", "0", "1", ".", "e3", "%")
PIECES += ("(", ")", "#", "TRUE", "true", "mar", "1-2", "yes", "?", "skip", "é", "\udcf1", "Ã", "±")
NAMES = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=5).map("".join),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
)


def are_distinct(names: list[str]) -> bool:
    """Whether the names differ in more than blanks at their ends and the encoding of accents."""
    normalized = {normalize_name(name) for name in names}
    return len(normalized) == len(names) and not normalized & {"", SKIP_ANSWER}


CLASS_NAMES = st.lists(NAMES, min_size=1, max_size=6).filter(are_distinct)


def read(content: bytes, indices: list[int], names: list[str]):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.csv"
        path.write_bytes(content)
        return read_answers(path, np.array(indices), names)


@given(CLASS_NAMES, st.data())
@examples(300)
def test_what_is_written_is_read_back(names, data):
    indices = data.draw(st.lists(st.integers(0, 10**9), min_size=1, max_size=8, unique=True))
    labels = [data.draw(st.integers(SKIPPED, len(names) - 1)) for _ in indices]
    answers = [
        (index, SKIP_ANSWER if label == SKIPPED else names[label])
        for index, label in zip(indices, labels, strict=True)
    ]
    content = render_labels_csv(answers, class_names=names)
    assert read(content, indices, names).labels.tolist() == labels


@given(CLASS_NAMES)
@example(["\n'="])  # stripped, this is the escaped form of "="
@examples(150)
def test_pandas_keeps_the_answers(names):
    pandas = pytest.importorskip("pandas")
    # csv.writer may leave \r without quotes, and pandas refuses lone surrogates.
    names = [name.translate(dict.fromkeys(map(ord, "\r\udcf1"))) for name in names]
    assume(are_distinct(names))
    content = render_labels_csv(enumerate(names), class_names=names)
    table = pandas.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    content = table.to_csv(index=False).encode()
    assert read(content, list(range(len(names))), names).labels.tolist() == [*range(len(names))]


NUMBERS = st.one_of(
    st.from_regex(r"\A[+-]?0?[0-9]{1,3}([.,][0-9]{0,2})?(e[0-9])?%?\Z"),
    st.sampled_from(
        ["NA", "nan", "None", "True", "FALSE", "true", "inf", "-1", "?", "1_0", "1 000"]
    ),
)


@given(st.lists(NUMBERS, min_size=1, max_size=5).filter(are_distinct))
@examples(150)
def test_pandas_never_makes_an_answer_another_one(names):
    """Typed names without apostrophes: every answer is right, or the file is refused."""
    pandas = pytest.importorskip("pandas")
    typed = pandas.DataFrame({"index": range(len(names)), "label": names}).to_csv(index=False)
    saved = pandas.read_csv(io.StringIO(typed)).to_csv(index=False).encode()
    try:
        answers = read(saved, list(range(len(names))), names)
    except UserError:
        return
    assert answers.labels.tolist() == [*range(len(names))] and not answers.new_classes


def test_equal_values_are_told_apart():
    content = render_labels_csv([(0, "1"), (1, "01"), (2, "=x"), (3, "MAR1"), (4, "2")])
    assert content == b"index,label\n0,'1\n1,'01\n2,'=x\n3,'MAR1\n4,2\n"
    content = render_labels_csv([(0, "1"), (1, "ox")], ["ox"], class_names=["1", "1.0"])
    assert content == b"index,label,new_class\n0,'1,\n1,ox,yes\n"
