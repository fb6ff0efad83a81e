"""A labeling session as people have it: skips, a class found on the way, an export of a label tool,
second thoughts.

Three cycles of six images each, by a person who plays one step whenever the run stops.  SESSION has
the steps in order, with what the person does, how the run ends after it, and at which moments a
test may kill the run before."""

import csv
import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.commands.test_main_al import rows

NEW_CLASS = "scribble"


def queried(folder: Path) -> list[str]:
    """The indices of the queried images, in order."""
    return [row["index"] for row in rows(folder / "queries.csv")]


def answer_with_skips(folder: Path, truth: dict[str, str]) -> None:
    """Of six images two are skipped and one gets a wrong class."""
    first, second, third, *others = queried(folder)
    lines = [f"{first},cannot tell", f"{second},", f"{third},{(int(truth[third]) + 1) % 10}"]
    lines += [f"{index},{truth[index]}" for index in others]
    (folder / "labels.csv").write_text("index,label\n" + "\n".join(lines) + "\n")


def answer_with_new_class(folder: Path, truth: dict[str, str]) -> None:
    """As the page writes it: a typed class, and a correction of the wrong answer."""
    slip = rows(folder / "answers" / "cycle00.csv")[2]["index"]
    first, second, *others = queried(folder)
    lines = [f"{first},{NEW_CLASS},yes", f"{second},{NEW_CLASS},yes", f"{slip},{truth[slip]},"]
    lines += [f"{index},{truth[index]}," for index in others]
    (folder / "labels.csv").write_text("index,label,new_class\n" + "\n".join(lines) + "\n")


def answer_with_label_studio(folder: Path, truth: dict[str, str]) -> None:
    """The CSV export of Label Studio 1.x for tasks with the data `image` and `index`; a task that
    was skipped there has an empty choice."""
    first, second, *others = queried(folder)
    choices = {first: NEW_CLASS, second: ""} | {index: truth[index] for index in others}
    header = ["annotation_id", "annotator", "choice", "created_at", "id", "image", "index"]
    header += ["lead_time", "updated_at"]
    time = "2026-03-02T10:11:12.131415Z"
    with open(folder / "labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        for number, (index, choice) in enumerate(choices.items(), start=1):
            image = f"/data/local-files/?d=run/{index}.png"
            table.writerow([number, 1, choice, time, number, image, index, 3.141, time])


def correct_accepted_answers(folder: Path, truth: dict[str, str]) -> None:
    """One of the two images of the new class is of a known one."""
    path = folder / "answers" / "cycle01.csv"
    lines = path.read_text().splitlines()
    index = lines[2].split(",")[0]
    lines[2] = f"{index},{truth[index]},"
    path.write_text("\n".join(lines) + "\n")


def correct_finished_run(folder: Path, truth: dict[str, str]) -> None:
    """The image that could not be told in the last cycle can be told now."""
    index = next(
        row["index"] for row in rows(folder / "answers" / "cycle02.csv") if not row["choice"]
    )
    (folder / "labels.csv").write_text(f"index,label\n{index},{truth[index]}\n")


# What the person does, the exit status afterwards, and when the process is killed before: what it
# is about to do, and how often it has come to that.
Kill = tuple[str, str, int]
SESSION: list[tuple[Callable[[Path, dict[str, str]], None] | None, int, list[Kill]]] = [
    (None, 3, [("os.rename", "queries.csv", 1), ("os.rename", "queries.html", 1)]),
    (
        answer_with_skips,
        3,
        [
            ("os.rename", "cycle00.csv", 1),
            ("os.remove", "queries.csv", 1),
            ("os.rename", "acquired.csv", 2),
            ("os.rename", "checkpoint.pt", 3),  # within training
        ],
    ),
    (
        answer_with_new_class,
        3,
        [
            ("os.rename", "cycle00.csv", 1),  # the correction is written
            ("os.rename", "cycle01.csv", 1),  # labels.csv is moved
            ("os.rename", "checkpoint.pt", 1),  # the first one after the run went back
            ("os.rename", "checkpoint.pt", 3),  # within the training of the corrected cycle
            ("os.rename", "classes.txt", 2),  # the new class is taken up
            ("os.rename", "checkpoint.pt", 3),
        ],
    ),
    (
        answer_with_label_studio,
        0,
        [("os.rename", "cycle02.csv", 1), ("os.rename", "checkpoint.pt", 4)],
    ),
    (
        correct_accepted_answers,
        0,
        [
            ("os.rename", "checkpoint.pt", 1),
            ("os.rename", "results.csv", 2),
            ("os.rename", "checkpoint.pt", 3),
        ],
    ),
    (
        correct_finished_run,
        0,
        [
            ("os.rename", "cycle02.csv", 1),
            ("os.rename", "corrections00.csv", 1),
            ("os.rename", "checkpoint.pt", 1),
            ("os.rename", "config.json", 2),  # the run is finished
        ],
    ),
]


def play_session(folder: Path, truth: dict[str, str], start, *, killed: bool) -> list[str]:
    """The whole session; returns what was queried in each cycle.

    truth: index -> class; start: as the fixture; killed: whether the run is killed on the way."""
    cycles: dict[str, None] = {}
    for act, status, kills in SESSION:
        if act:
            act(folder, truth)
        for event, name, occurrence in kills if killed else ():
            assert start(folder, event, name, occurrence) == -signal.SIGKILL, (act, event, name)
        assert start(folder) == status, act
        if status == 3:
            cycles[" ".join(queried(folder))] = None
    assert not os.path.exists(folder / "labels.csv")
    return list(cycles)
