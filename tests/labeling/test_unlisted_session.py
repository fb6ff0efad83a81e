"""A session with duplicates, slips and a class that nobody listed, killed on the way.

Copies of images inherit labels; images of the unlisted class are set aside at first, until the
person types its name and gives it to all of them; a tenth of the answers are wrong."""

import functools
import os
import signal

import numpy as np
import pytest

from data import DATASETS
from labeling.labels_csv import NONE_ANSWER
from tests.commands.test_main_al import MAIN, assert_same_run, rows
from tests.forked import ForkedCommand, kill_before
from tests.labeling.test_skips import queries

IMAGES, COPIES = 200, 60  # the first COPIES images are in the data twice
UNLISTED, NEW_NAME = 9, "nine"
SLIP = 2  # of ten answers this one is wrong
TABLES = ("inherited.csv", "set_aside.csv", "unseen_classes.csv")
WORDS = "--dataset arrays --oracle file --initial random --al-method margin --al-budget 12"
WORDS += " --al-nb-cycles 3 --epochs 2 --device cpu --checkpoint-epochs 1"


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """The data set's file, and the class of each training image: its digit plus one, so that the
    unlisted class, the digit 8, is among the first queries."""
    train, test = DATASETS["digits"].load("")
    train, test = (part._replace(labels=(part.labels + 1) % 10) for part in (train, test))
    order = [*range(IMAGES), *range(COPIES)]
    is_listed = test.labels != UNLISTED
    path = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(
        path,
        x_train=train.pixels.numpy()[order, 0],
        y_train=np.full(len(order), -1),
        x_test=test.pixels.numpy()[is_listed, 0],
        y_test=test.labels[is_listed],
        class_names=np.array([str(digit) for digit in range(UNLISTED)]),
    )
    return path, train.labels[order]


@pytest.fixture(scope="module")
def start(truth):
    """Run main_al.py in a process, perhaps killed; returns its exit status."""

    def call(folder, event="", name="", occurrence=1) -> int:
        words = [*WORDS.split(), "--data-root", str(truth[0]), "--run-dir", str(folder)]
        kill = functools.partial(kill_before, event, name, occurrence) if event else None
        return ForkedCommand(MAIN, *words, prepare=kill).wait(600)

    return call


def answer(folder, digits, cycle: int) -> None:
    """Write labels.csv: from the third cycle on the unlisted class has a name, which the images
    that were set aside get as well."""
    lines = []
    unlisted = f"{NEW_NAME},yes" if cycle == 2 else f"{NONE_ANSWER},"
    for position, index in enumerate(queries(folder)):
        digit = int(digits[int(index)])
        answered = (digit + 1) % UNLISTED if position % 10 == SLIP else digit
        lines.append(f"{index},{answered},")
        if digit == UNLISTED:
            lines[-1] = f"{index},{unlisted}"
    if cycle == 2:
        aside = [row["index"] for row in rows(folder / "set_aside.csv") if not row["same_as"]]
        lines += [f"{index},{unlisted}" for index in aside]
    (folder / "labels.csv").write_text("index,label,new_class\n" + "\n".join(lines) + "\n")


KILLS = [
    [("os.rename", "queries.csv"), ("os.rename", "queries.html")],
    [
        ("os.rename", "cycle00.csv"),
        ("os.rename", "acquired.csv", 2),
        ("os.rename", "inherited.csv"),
        ("os.rename", "set_aside.csv"),
        ("os.rename", "unseen_classes.csv"),
        ("os.rename", "checkpoint.pt", 3),
    ],
    [("os.rename", "cycle01.csv"), ("os.rename", "inherited.csv"), ("os.rename", "set_aside.csv")],
    [
        ("os.rename", "cycle00.csv"),  # the corrections are written
        ("os.rename", "cycle02.csv"),
        ("os.rename", "checkpoint.pt", 1),
        ("os.remove", "set_aside.csv"),
        ("os.rename", "classes.txt", 2),
        ("os.rename", "checkpoint.pt", 3),
    ],
]


def play(folder, digits, start, *, killed: bool) -> list[list[str]]:
    """The whole session; returns what was queried in each cycle."""
    queried = []
    for cycle in range(4):
        for kill in KILLS[cycle] if killed else ():
            assert start(folder, *kill) == -signal.SIGKILL, (cycle, kill)
        assert start(folder) == (3 if cycle < 3 else 0), cycle
        if cycle < 3:
            queried.append(queries(folder))
            answer(folder, digits, cycle)
    return queried


@pytest.fixture(scope="module")
def whole(tmp_path_factory, start, truth):
    folder = tmp_path_factory.mktemp("unlisted") / "run"
    return folder, play(folder, truth[1], start, killed=False)


def test_the_session_ends_with_the_right_labels(whole, truth):
    """No image is queried twice, not even as its copy; copies have the label of the queried one,
    with its slips; and in the end no image is set aside."""
    folder, cycles = whole
    digits = truth[1]
    queried = [int(index) for indices in cycles for index in indices]
    assert len({index % IMAGES for index in queried}) == len(queried) == 36
    names = (folder / "classes.txt").read_text().splitlines()
    assert names == [*map(str, range(UNLISTED)), NEW_NAME]
    acquired = {int(row["index"]): int(row["label"]) for row in rows(folder / "acquired.csv")}
    assert sorted(acquired) == sorted(queried)
    slips = {index for index, label in acquired.items() if label != digits[index]}
    assert slips and slips <= {int(index) for indices in cycles for index in indices[SLIP::10]}
    inherited = rows(folder / "inherited.csv")
    assert len(inherited) >= 5
    for row in inherited:
        assert (int(row["index"]) - int(row["same_as"])) % IMAGES == 0
        assert int(row["label"]) == acquired[int(row["same_as"])]
    assert not (folder / "set_aside.csv").exists()
    log = (folder / "log.txt").read_text()
    assert f"set aside ({NONE_ANSWER})" in log and f"new classes: {NEW_NAME}" in log
    assert "classes have labels so far" in log
    assert [row["labeled"] for row in rows(folder / "results.csv")] == ["12", "24", "36"]


def test_the_killed_session_ends_with_the_same_bytes(tmp_path, whole, start, truth):
    folder = tmp_path / "run"
    assert play(folder, truth[1], start, killed=True) == whole[1]
    assert_same_run(folder, whole[0])
    for name in TABLES:
        assert (folder / name).exists() == (whole[0] / name).exists()
        if (folder / name).exists():
            assert (folder / name).read_bytes() == (whole[0] / name).read_bytes()
    for path in (whole[0] / "answers").iterdir():
        assert (folder / "answers" / path.name).read_bytes() == path.read_bytes()
    assert not [*folder.glob("queries.*"), *folder.glob(".*.*")]
    assert not os.path.exists(folder / "labels.csv")
