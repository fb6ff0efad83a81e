"""Damaged labels.csv and exports of label tools: one line, or answers to the queried images."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.answers import read_answers
from labeling.exchange import collect_answers, export_tasks
from labeling.formats import FORMATS
from labeling.labels_csv import render_labels_csv
from tests.damage import Reader, files_below, read_damaged
from tests.examples import examples
from tests.labeling.formats.tasks import make_task

NAMES = ("cat", "dog", "=1")
QUERIES = {3: "a/one.png", 12: "b/two.png", 700: ""}
EARLIER = {41: "c/old.png"}
HEADER = "index,path,label,new_class,annotator\n"
TABLES = {
    "plain": render_labels_csv([(3, "cat"), (12, "dog"), (700, "=1")], class_names=NAMES),
    "columns": (
        f"{HEADER}3,a/one.png,cat,,ann\n3,,cat,,bob\n12,b/two.png,'=1,,\n700,,newt,yes,\n41,,dog,,\n"
    ).encode(),
    "excel": "sep=;\r\nindex;label\r\n3;cat\r\n12;dog\r\n700;?\r\n".encode("utf-16"),
}


@pytest.mark.parametrize("name", TABLES)
@examples(60)
@given(data=st.data())
def test_labels_csv(name, data):
    indices = np.array(list(QUERIES))

    def read(folder):
        earlier = dict.fromkeys(EARLIER, 0)
        paths = {index: path for index, path in (QUERIES | EARLIER).items() if path}
        return read_answers(folder / "labels.csv", indices, NAMES, paths=paths, earlier=earlier)

    def check(answers):
        count = len(NAMES) + len(answers.new_classes)
        labels = [*answers.labels.tolist(), *answers.corrections.values()]
        assert len(answers.labels) == len(QUERIES) and set(answers.corrections) <= set(EARLIER)
        assert min(labels) >= -2 and max(labels) < count
        assert not set(answers.new_classes) & set(NAMES)

    read_damaged(Reader({"labels.csv": TABLES[name]}, read, check), data)


@functools.cache
def export_files(name):
    """What a person's answers look like in the files of a format, without the images."""
    tasks = [
        make_task(order, index, path, answer=answer)
        for order, ((index, path), answer) in enumerate(zip(QUERIES.items(), NAMES, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        export_tasks(tasks, NAMES, FORMATS[name], Path(folder, "out"))
        files = files_below(Path(folder, "out"))
    texts = {path: text for path, text in files.items() if not path.endswith(".png")}
    return texts or {"answers.zip": b"PK\x03\x04"}, files


LABEL_STUDIO = {
    "answers.csv": b"image,id,choice,annotator\n/d/0000-3-one.png,1,cat,1\nx.png,2,dog,2\n",
    "answers.json": (
        b'[{"id": 1, "data": {"image": "/d/a/one.png", "index": 3}, "annotations": [{"completed_by"'
        b': 1, "was_cancelled": false, "result": [{"type": "choices", "from_name": "class", '
        b'"to_name": "image", "value": {"choices": ["cat"]}}]}], "predictions": []}]'
    ),
    "min.json": b'[{"image": "/d/a/one.png", "id": 1, "class": {"choices": ["cat", "dog"]}}]',
}
FIFTYONE = {
    "samples.json": (
        b'{"samples": [{"filepath": "a/one.png", "tags": ["cat"], "ground_truth": null, "answer": '
        b'{"_cls": "Classification", "label": "dog", "confidence": null}}]}'
    )
}
VARIANTS = [
    *((name, None) for name in FORMATS),
    *(("label-studio", {name: text}) for name, text in LABEL_STUDIO.items()),
    ("fiftyone", FIFTYONE),
]


@pytest.mark.parametrize(
    ("name", "files"), VARIANTS, ids=[f"{n}-{next(iter(f or ['own']))}" for n, f in VARIANTS]
)
@examples(40)
@given(data=st.data())
def test_exports_of_label_tools(name, files, data):
    texts, unchanged = (files, {}) if files else export_files(name)

    def read(folder):
        answers = FORMATS[name].read(
            folder if len(texts) > 1 or not files else folder / next(iter(texts))
        )
        return collect_answers(answers, NAMES, QUERIES, dict.fromkeys(EARLIER, "cat"))

    def check(imported):
        assert set(imported.answers) <= set(QUERIES) and set(imported.corrections) <= set(EARLIER)
        assert all(isinstance(answer, str) for answer in imported.answers.values())

    read_damaged(Reader(texts, read, check, others=unchanged), data)
