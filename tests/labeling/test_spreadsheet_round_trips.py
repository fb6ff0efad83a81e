"""Answers that have been through LibreOffice, pandas or Excel: the table in docs/labeling.md.

What LibreOffice 7.4.7 and pandas 3.1 saved is recorded here and read everywhere; they run again
where they are installed. The Excel files are written by hand, after its documentation."""

import csv
import io
import shutil
import subprocess
from typing import NamedTuple

import numpy as np
import pytest

from labeling.answers import read_answers
from labeling.labels_csv import render_labels_csv
from labeling.queries import Query, render_queries_csv
from utils.errors import UserError


class Trip(NamedTuple):
    """Class names that were typed into a labels.csv, one per row, and what was saved."""

    names: tuple[str, ...]
    libreoffice: tuple[str, ...] | None = None  # None: the names as they are
    pandas: tuple[str, ...] | None = None
    mistakes: tuple[str, str] = ("", "")  # what is said of the two; "": every answer is right


AMBIGUOUS, CHANGED = "one of several classes", "no class, perhaps changed by a spreadsheet"
TRIPS = [
    Trip(("cat", "dog")),
    Trip(("0", "1", "2")),
    Trip(("+1", "-1"), ("1", "-1"), ("1", "-1")),
    Trip(("1.0", "2.0", "3.0"), ("1", "2", "3")),
    Trip(("001", "002"), ("1", "2"), ("1", "2")),
    Trip(("01", "1"), ("1", "1"), ("1", "1"), (AMBIGUOUS, AMBIGUOUS)),
    Trip(("1e3", "1e4"), ("1.00E+03", "1.00E+04"), ("1000.0", "10000.0")),
    Trip(("1,000", "2,000"), ("1000", "2000")),
    Trip(("1,5", "2,5")),
    Trip(("(1)", "(2)"), ("-1", "-2")),
    Trip(("30-", "60+"), ("-30", "60")),
    Trip(("60", "60+"), ("60", "60"), mistakes=(AMBIGUOUS, AMBIGUOUS)),
    Trip(("5%", "10%"), ("5.00%", "10.00%")),
    Trip(("12345678901234567", "3"), ("1.23456789012346E+016", "3")),
    Trip(("true", "false"), ("TRUE", "FALSE"), ("True", "False")),
    Trip(("TRUE", "FALSE"), pandas=("True", "False")),
    Trip(("MAR1", "SEPT2")),
    Trip(("1-2", "3-4")),
    Trip(("1/2/2024", "1/3/2024"), ("01/02/24", "01/03/24"), mistakes=(CHANGED, "")),
    Trip(("1:30", "2:30"), ("01:30:00 AM", "02:30:00 AM"), mistakes=(CHANGED, "")),
    Trip(("$5", "$10"), ("$5.00", "$10.00"), mistakes=(CHANGED, "")),
    Trip(("2024-01-01", "2024-01-02")),
    Trip(("=E3", "cat"), ("0", "cat"), mistakes=("unknown class", "")),
    Trip(("=cat", "@dog", "-x"), ("#NAME?", "@dog", "-x"), mistakes=(CHANGED, "")),
    Trip(("NA", "None", "cat"), pandas=("", "", "cat"), mistakes=("", "empty, as pandas also")),
    Trip(("a, b", "c; d", '"e"', "it's")),
    Trip(("Zuñi", "日本")),
]
IDS = [" ".join(trip.names) for trip in TRIPS]
# What Excel saves: a list separator of the country, dates in its own form, at most 15 digits.
EXCEL = [
    (("+1", "-1"), "index,label\r\n0,1\r\n1,-1\r\n", ""),
    (("+1", "-1"), "sep=;\r\nindex;label\r\n0;1\r\n1;-1\r\n", ""),
    (("Zuñi", "日本"), "\ufeffindex;label\r\n0;Zuñi\r\n1;日本\r\n", ""),
    (("Zuñi", "日本"), "index\tlabel\r\n0\tZuñi\r\n1\t日本\r\n".encode("utf-16"), ""),
    (("Zuñi", "Zoë"), "index;label\r\n0;ZuÃ±i\r\n1;ZoÃ«\r\n", ""),
    (("Zuñi", "Zoë"), "index;label\r\n0;Zuñi\r\n1;Zoë\r\n".encode("cp1252"), "CSV UTF-8"),
    (("MAR1", "SEPT2"), "index,label\r\n0,1-Mar\r\n1,2-Sep\r\n", ""),
    (("MAR1", "SEPT2"), "index;label\r\n0;01. Mrz\r\n1;02. Sep\r\n", CHANGED),
    (("1-2", "3-4"), "index,label\r\n0,2-Jan\r\n1,4-Mar\r\n", CHANGED),
    (("1,5", "2,5"), "index;label\r\n0;1,5\r\n1;2,5\r\n", ""),
    (("1e3", "1e4"), "index,label\r\n0,1.00E+03\r\n1,1.00E+04\r\n", ""),
    (("12345678901234567", "3"), "index,label\r\n0,1.23457E+16\r\n1,3\r\n", ""),
    (("true", "false"), "index,label\r\n0,TRUE\r\n1,FALSE\r\n,\r\n", ""),
    (("cat", "dog"), "index;label;notes\r\n0;cat;\r\n1;dog\r\n;;\r\n", ""),
]


def render(cells) -> bytes:
    """The answers as a person types them, without apostrophes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("index", "label"), *enumerate(cells)])
    return text.getvalue().encode()


def cells_of(content: bytes) -> tuple[str, ...]:
    return tuple(row["label"] for row in csv.DictReader(io.StringIO(content.decode())))


def check(path, content: bytes, names, mistake="") -> None:
    """Every answer is right, or the file is refused for this reason; none is ever wrong."""
    path.write_bytes(content)
    if mistake:
        with pytest.raises(UserError, match=mistake):
            read_answers(path, np.arange(len(names)), names)
    else:
        answers = read_answers(path, np.arange(len(names)), names)
        assert answers.labels.tolist() == [*range(len(names))] and not answers.new_classes


@pytest.mark.parametrize("trip", TRIPS, ids=IDS)
def test_what_was_saved_is_read(tmp_path, trip):
    saved = zip((trip.libreoffice, trip.pandas), trip.mistakes, strict=True)
    for cells, mistake in saved:
        check(tmp_path / "labels.csv", render(cells or trip.names), trip.names, mistake)


@pytest.mark.parametrize("names, content, mistake", EXCEL)
def test_what_excel_saves_is_read(tmp_path, names, content, mistake):
    content = content if isinstance(content, bytes) else content.encode()
    check(tmp_path / "labels.csv", content, names, mistake)


@pytest.mark.parametrize("trip", TRIPS, ids=IDS)
def test_pandas(tmp_path, trip):
    pandas = pytest.importorskip("pandas")

    def save(content: bytes) -> bytes:
        return pandas.read_csv(io.BytesIO(content)).to_csv(index=False).encode()

    typed = save(render(trip.names))
    assert cells_of(typed) == (trip.pandas or trip.names)
    check(tmp_path / "labels.csv", typed, trip.names, trip.mistakes[1])
    written = save(render_labels_csv(enumerate(trip.names), class_names=trip.names))
    is_ambiguous = trip.mistakes[1] == AMBIGUOUS  # not in a file that the project has written
    check(tmp_path / "labels.csv", written, trip.names, "" if is_ambiguous else trip.mistakes[1])


def convert(folder, files, to: str, *more: str) -> None:
    """Let LibreOffice convert these files into the folder."""
    profile = f"-env:UserInstallation=file://{folder}-profile"
    words = ["soffice", profile, "--headless", *more, "--convert-to", to, "--outdir", folder]
    subprocess.run([*words, *files], check=True, capture_output=True, timeout=600)


@pytest.mark.skipif(not shutil.which("soffice"), reason="LibreOffice is not installed")
def test_libreoffice(tmp_path):
    """As CSV and by way of .xlsx: labels.csv as typed and as the project writes it, and a copy of
    queries.csv with another column."""
    for number, trip in enumerate(TRIPS):
        (tmp_path / f"typed{number}.csv").write_bytes(render(trip.names))
        written = render_labels_csv(enumerate(trip.names), class_names=trip.names)
        (tmp_path / f"written{number}.csv").write_bytes(written)
        query_list = [Query(i, None, f"-{name}.png", i) for i, name in enumerate(trip.names)]
        copy = list(csv.reader(render_queries_csv(query_list, trip.names).decode().splitlines()))
        text = io.StringIO()
        answers = ["class", *cells_of(written)]
        csv.writer(text).writerows([*row, a] for row, a in zip(copy, answers, strict=True))
        (tmp_path / f"copy{number}.csv").write_text(text.getvalue(), newline="")
    files = sorted(tmp_path.glob("*.csv"))
    utf8 = "44,34,76,1"
    as_csv = f"csv:Text - txt - csv (StarCalc):{utf8}"
    convert(tmp_path / "csv", files, as_csv, f"--infilter=CSV:{utf8}")
    convert(tmp_path / "excel", files, "xlsx", f"--infilter=CSV:{utf8}")
    convert(tmp_path / "back", sorted((tmp_path / "excel").glob("*.xlsx")), as_csv)
    for number, trip in enumerate(TRIPS):
        for folder in (tmp_path / "csv", tmp_path / "back"):
            typed = (folder / f"typed{number}.csv").read_bytes()
            assert cells_of(typed) == (trip.libreoffice or trip.names)
            check(tmp_path / "labels.csv", typed, trip.names, trip.mistakes[0])
            for kind in ("written", "copy"):
                content = (folder / f"{kind}{number}.csv").read_bytes()
                check(tmp_path / "labels.csv", content, trip.names)
