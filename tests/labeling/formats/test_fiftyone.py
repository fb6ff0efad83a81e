"""What FiftyOne exports beside what we write."""

import json

import pytest

from labeling.exchange import collect_answers
from labeling.formats import fiftyone

QUERIES = dict.fromkeys(range(5), "")


@pytest.fixture
def collect(tmp_path):
    def run(name, content):
        (tmp_path / name).write_text(json.dumps(content))
        return collect_answers(fiftyone.read(tmp_path), ["cat", "7"], QUERIES, {})

    return run


def test_numbers_are_positions_in_the_classes(collect):
    labels = {"0000_0": 1, "0001_1": "7", "0002_2": {"label": 0}, "0003_3": None}
    content = {"classes": ["cat", "7"], "labels": labels}
    assert collect("labels.json", content).answers == {0: "7", 1: "7", 2: "cat"}


def test_without_classes_a_number_is_a_name(collect):
    assert collect("labels.json", {"classes": None, "labels": {"0000_0": 7}}).answers == {0: "7"}


def test_fields_and_tags_of_samples(collect):
    def sample(index, **more):
        return {"filepath": f"/x/data/{index:04d}_{index}.png", "tags": []} | more

    def label(name, **more):
        return {"_cls": "Classification", "label": name} | more

    samples = [
        sample(0, answer=label("cat"), guess=label("7", confidence=0.5), tags=["7"]),
        sample(1, tags=["validation", "7"]),
        sample(2, guess=label("7", confidence=0.5)),
        sample(3, ground_truth=label("new"), answer=None),
        sample(4, answer={"_cls": "Classifications", "classifications": [label("cat")]}),
    ]
    imported = collect("samples.json", {"samples": samples})
    assert imported.answers == {0: "cat", 1: "7", 3: "new", 4: "cat"}
    assert not imported.unknown and not imported.ties
