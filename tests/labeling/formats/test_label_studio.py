"""Label Studio's exports as its server 1.23.2 writes them, shortened."""

import csv
import io
import json

import pytest

from labeling.exchange import collect_answers
from labeling.formats import label_studio
from utils.errors import UserError

QUERIES = {100: "", 99: "", 98: "", 97: ""}


def annotation(names, annotator=1, cancelled=False, created="2026-11-27T21:42:21Z"):
    choice = {"type": "choices", "from_name": "class", "to_name": "image"}
    result = [choice | {"value": {"choices": names}}] if names else []
    return {
        "result": result,
        "completed_by": annotator,
        "was_cancelled": cancelled,
        "created_at": created,
    }


def task(index, *annotations, file=None, **data):
    data = {"index": index, "image": "data:image/png;base64,iVBO"} | data
    return {
        "data": data | ({"file": file} if file else {}),
        "annotations": annotations,
        "predictions": [annotation(["guess"])],
        "drafts": [],
    }


@pytest.fixture
def collect(tmp_path):
    def run(content, name="export.json", queries=QUERIES):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text)
        answers = label_studio.read(tmp_path / name)
        return collect_answers(answers, ["cat", "dog"], queries, {})

    return run


def test_a_cancelled_annotation_is_a_skipped_image(collect):
    imported = collect([task(100, annotation([], cancelled=True)), task(99, annotation(["cat"]))])
    assert imported.answers == {100: "cannot tell", 99: "cat"}


def test_an_annotator_who_answers_again_has_changed_his_mind(collect):
    later = annotation(["dog"], created="2026-11-28T00:00:00Z")
    assert collect([task(100, later, annotation(["cat"]))]).answers == {100: "dog"}
    imported = collect([task(100, later, annotation(["cat"], annotator={"id": 2}))])
    assert imported.ties == {100: ["cat", "dog"]} and not imported.answers


def test_empty_annotations_and_drafts_are_no_answers(collect):
    imported = collect([task(100, annotation([])), task(99)])
    assert not imported.answers and not imported.ties and not imported.unknown


def test_several_choices_are_undecided(collect):
    assert collect([task(100, annotation(["dog", "cat"]))]).ties == {100: ["cat", "dog"]}
    row = {"index": 100, "class": {"choices": ["dog", "cat"]}, "annotator": 1, "image": ""}
    assert collect([row]).ties == {100: ["cat", "dog"]}


def test_another_control_does_not_count_beside_ours(collect):
    quality = annotation(["blurred"])["result"][0] | {"from_name": "quality"}
    answer = annotation(["cat"])
    answer["result"].append(quality)
    assert collect([task(100, answer)]).answers == {100: "cat"}


ROWS = [
    {"annotator": "1", "class": "", "file": "0001_99.png", "index": 99},
    {"annotator": "2", "class": "cat", "file": "0000_100.png", "index": 100},
    {"annotator": "1", "class": 'a, "b"', "file": "0002_98.png", "index": 98},
    {"annotator": "1", "class": '{"choices":["cat","dog"]}', "file": "0003_97.png", "index": 97},
]


@pytest.mark.parametrize("name", ["export.csv", "export.tsv"])
@pytest.mark.parametrize("delimiter", ",\t")
def test_csv_and_tsv_under_either_name(name, delimiter, collect):
    """The server saves TSV under the name .csv."""
    text = io.StringIO()
    rows = csv.DictWriter(text, ROWS[0], delimiter=delimiter, quoting=csv.QUOTE_NONNUMERIC)
    rows.writeheader()
    rows.writerows(ROWS)
    imported = collect(text.getvalue(), name)
    assert imported.answers == {100: "cat", 98: 'a, "b"'}
    assert imported.ties == {97: ["cat", "dog"]}


def test_images_that_were_uploaded_to_the_server(collect):
    """It puts eight digits before their names and drops letters, so tasks without our data."""
    queries = {5: "a/my picture (1) é.png", 6: "b/a#b%20c.png", 7: "same.png", 8: "x/same.png"}
    rows = [
        {"image": f"/data/upload/2/{name}", "class": "cat", "annotator": 1}
        for name in ("9e2f1db6-my_picture_1_%C3%A9.png", "288c996f-ab20c.png", "01234567-same.png")
    ]
    imported = collect(rows, queries=queries)
    assert imported.answers == {5: "cat", 6: "cat"}  # two images are called same.png
    assert imported.unknown == ["/data/upload/2/01234567-same.png"]


def test_tables_without_annotations_are_refused(collect):
    with pytest.raises(UserError, match="annotator"):
        collect("index,label\n1,cat\n", "labels.csv")
