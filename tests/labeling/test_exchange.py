"""Which image an answer is about, the majority of annotators, and labels.csv."""

import csv
import os

import numpy as np
import pytest

from data.state import SET_ASIDE
from labeling.answers import read_answers
from labeling.exchange import (
    classes_for_tools,
    collect_answers,
    describe_import,
    export_file_name,
    export_tasks,
    write_labels_csv,
)
from labeling.formats import FORMATS
from labeling.formats.spec import ToolAnswer
from labeling.labels_csv import NONE_ANSWER, SKIP_ANSWER, SKIPPED
from tests.labeling.formats.tasks import make_task
from utils.errors import SystemRefusal, UserError

QUERIES = {57: "photos/Über 1.jpg", 3: "photos/b.png"}


def collect(*answers, queries=QUERIES, earlier=(), **more):
    answers = [one if isinstance(one, ToolAnswer) else ToolAnswer(*one) for one in answers]
    return collect_answers(answers, ["cat", "dog"], queries, dict(earlier), **more)


@pytest.mark.parametrize(
    "name",
    [
        export_file_name(0, 57, QUERIES[57], ".jpg"),
        "0009_57_ber_1",
        "C:\\tasks\\0000_57_ber_1.PNG",
        "https://host/a/1a2b3c4d-0000_57_ber_1.jpg?x=1",
        "cat:0000_57_ber_1.jpg",
        "photos/Über 1.jpg",
        "/home/me/photos/U\u0308ber 1.jpg",
        "%C3%9Cber%201.jpg",
    ],
)
def test_names_as_tools_change_them(name):
    imported = collect((name, "cat"))
    assert imported.answers == {57: "cat"} and not imported.unknown


@pytest.mark.parametrize("name", ["0000_58_ber_1.jpg", "0000_57_other.jpg", "57.jpg", "c.png", ""])
def test_images_of_other_runs_are_named(name):
    imported = collect((name, "cat"))
    assert not imported.answers and imported.unknown == [name]


def test_an_export_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("labeling.exchange.os.replace", refuse)
    with pytest.raises(SystemRefusal, match="No space left"):
        export_tasks([make_task(0, 57)], ["cat"], FORMATS["voc"], tmp_path / "a" / "out")
    assert not list((tmp_path / "a").iterdir())


@pytest.mark.parametrize(
    "votes, answer",
    [
        ("cat", "cat"),
        ("cat cat dog", "cat"),
        ("cat - -", "cat"),
        ("- -", SKIP_ANSWER),
        ("cat dog", None),
        ("cat cat dog dog bird", None),
    ],
)
def test_the_majority_of_the_annotators(votes, answer):
    answers = [
        ToolAnswer("0000_57_ber_1", SKIP_ANSWER if vote == "-" else vote, str(number))
        for number, vote in enumerate(votes.split())
    ]
    imported = collect(*answers)
    assert imported.answers == ({57: answer} if answer else {})
    assert imported.ties == ({} if answer else {57: ["cat", "dog"]})


def test_a_guess_counts_only_where_it_may_and_nobody_answered():
    guess = ToolAnswer("0000_57_ber_1", "dog", is_guess=True)
    assert collect(guess).num_guesses == 1 and not collect(guess).answers
    assert collect(guess, accept_guesses=True).answers == {57: "dog"}
    both = collect(guess, ("0000_57_ber_1", "cat"), accept_guesses=True)
    assert both.answers == {57: "cat"} and not both.num_guesses


def test_earlier_answers_are_corrections_only_where_they_differ():
    earlier = {8: "naïve", 9: "dog"}
    imported = collect(("0000_8", "nai\u0308ve"), ("0001_9_x", "cat"), earlier=earlier)
    assert imported.corrections == {9: "cat"} and imported.num_unchanged == 1
    lines = describe_import(imported, [57], takes_corrections=False)
    assert lines[0] == "0 of 1 queries answered, 1 missing: 57"
    assert "'cat'" in lines[1] and "--corrections" in lines[1]


def test_second_looks_need_no_permission():
    """Unlike corrections: the run has asked about these images."""
    earlier = {8: "cat", 9: "dog", 10: "dog", 11: "cat"}
    answers = [("0000_8_x", "cat"), ("odd.png", "cat"), ("0002_11", "dog")]
    looks = {8: "d/x.png", 9: "d/odd.png", 10: "d/c.png"}
    imported = collect(*answers, earlier=earlier, second_looks=looks)
    assert imported.second_answers == {9: "cat"} and imported.num_confirmed == 1
    assert imported.corrections == {11: "dog"} and imported.num_unchanged == 0
    lines = describe_import(imported, [57], False, len(looks))
    assert lines[1] == "2 of 3 second looks answered: 1 changed, 1 kept"


def test_the_summary_names_what_is_not_answered():
    queries = dict.fromkeys(range(20), "")
    answers = [(f"0000_{i}", "cat") for i in range(20) if i not in (5, 9, 11)]
    answers += [("0000_11", SKIP_ANSWER), ("0000_5", "cat", "a"), ("0000_5", "dog", "b")]
    imported = collect(*answers, ("0000_99", "cat"), queries=queries)
    first, tie, unknown = describe_import(imported, list(queries), False)
    assert first == "17 of 20 queries answered, 1 skipped, 2 missing: 5, 9"
    assert "image 5" in tie and "'cat', 'dog'" in tie
    assert "0000_99" in unknown


def read_rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_labels_csv_marks_new_classes(tmp_path):
    file = tmp_path / "labels.csv"
    answers = {57: "cat", 3: "zebra", 4: SKIP_ANSWER, 5: "nai\u0308ve"}
    assert write_labels_csv(file, answers, ["cat", "naïve"], replace=False) == ["zebra"]
    header, *rows = read_rows(file)
    assert header == ["index", "label", "new_class"]
    assert [row[0] for row in rows] == ["57", "3", "4", "5"]
    assert [row[2] for row in rows] == ["", "yes", "", ""]


def test_answers_in_labels_csv_are_not_lost(tmp_path):
    file = tmp_path / "labels.csv"
    write_labels_csv(file, {57: "cat"}, ["cat", "dog"], replace=False)
    write_labels_csv(file, {57: "cat", 3: "dog"}, ["cat", "dog"], replace=False)  # only adds
    before = file.read_bytes()
    with pytest.raises(UserError, match="--replace"):
        write_labels_csv(file, {57: "dog", 3: "dog"}, ["cat", "dog"], replace=False)
    assert file.read_bytes() == before
    write_labels_csv(file, {57: "dog"}, ["cat", "dog"], replace=True)
    assert read_rows(file)[1:] == [["57", "dog"]]


def test_a_link_is_not_replaced(tmp_path):
    mine, file = tmp_path / "mine.csv", tmp_path / "labels.csv"
    mine.write_text("index,label\n")
    os.symlink(mine, file)
    with pytest.raises(UserError, match="--replace"):
        write_labels_csv(file, {57: "cat"}, ["cat"], replace=False)
    assert file.is_symlink()


def test_letter_case_makes_no_other_answer():
    imported = collect(("0000_57_ber_1.jpg", "CAT", "a"), ("0000_57_ber_1.jpg", "cat", "b"))
    assert imported.answers == {57: "cat"}
    assert collect(("photos/b.png", "Cannot Tell")).answers == {3: SKIP_ANSWER}
    accepted = collect(("photos/9.png", "x"), ("0001_9.jpg", "Dog"), earlier={9: "dog"})
    assert accepted.num_unchanged == 1 and not accepted.corrections


def test_letter_case_of_two_similar_classes_counts():
    answers = [ToolAnswer("photos/b.png", "a"), ToolAnswer("photos/Über 1.jpg", "A")]
    assert collect_answers(answers, ["A", "a"], QUERIES, {}).answers == {3: "a", 57: "A"}


def test_images_of_no_class_come_back_as_such(tmp_path):
    """The tools offer the answer; an import sets the image aside, and makes no class of it."""
    assert classes_for_tools(("ant",)) == ("ant", SKIP_ANSWER, NONE_ANSWER)
    words = ("ant", "None of These", SKIP_ANSWER)
    answers = [ToolAnswer(f"{n:04d}_{n}.png", word) for n, word in enumerate(words)]
    found = collect_answers(answers, ("ant",), {n: "" for n in range(3)}, {})
    assert found.answers == {0: "ant", 1: NONE_ANSWER, 2: SKIP_ANSWER}
    lines = describe_import(found, range(3), takes_corrections=False)
    assert lines[0] == "1 of 3 queries answered, 1 skipped, 1 set aside"
    path = tmp_path / "labels.csv"
    assert write_labels_csv(path, found.answers, ("ant",), replace=False) == []
    assert read_answers(path, np.arange(3), ("ant",)).labels.tolist() == [0, SET_ASIDE, SKIPPED]
