"""What the report says about classes without labels, from unseen_classes.csv of a run."""

import pytest

from experiment.label_tables import UNSEEN_COLUMNS, UNSEEN_FILE
from reports.unseen_classes import describe_unseen_share
from utils.files import render_csv


def write_table(folder, *rows):
    rows = [dict(zip(UNSEEN_COLUMNS, row, strict=True)) for row in rows]
    (folder / UNSEEN_FILE).write_text(render_csv(UNSEEN_COLUMNS, rows))


FIRST = (0, 9, 1, 5, "30.0", "10.2", "61.1", 420, "random")
LAST = (1, 18, 2, 1, "10.0", "0.0", "25.5", 139, "chosen")


def test_the_last_row_counts(tmp_path):
    write_table(tmp_path, FIRST)
    text = describe_unseen_share(tmp_path)
    assert text.startswith("5 classes have labels.") and "chosen" not in text
    assert "30.0 % (10.2 to 61.1 %, 95 % interval), 420 images, are of other classes" in text
    write_table(tmp_path, FIRST, LAST)
    text = describe_unseen_share(tmp_path)
    assert text.startswith("1 class has labels.") and "10.0 %" in text
    assert "from chosen images, which make it too high" in text


@pytest.mark.parametrize(
    "content", [None, b"", b"cycle,labeled\n0,1\n", b"\xff\xfe\n\n", b"a\nb,c\n"]
)
def test_a_missing_or_edited_table_says_nothing(tmp_path, content):
    if content is not None:
        (tmp_path / UNSEEN_FILE).write_bytes(content)
    assert describe_unseen_share(tmp_path) == ""


def test_a_number_that_is_none_says_nothing(tmp_path):
    write_table(tmp_path, (*FIRST[:4], "many", *FIRST[5:]))
    assert describe_unseen_share(tmp_path) == ""
