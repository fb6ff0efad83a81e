"""Helpers for the tests of whole labeling sessions."""

import signal
from pathlib import Path

from tests.commands.test_main_al import assert_same_run, rows

SHORT = "--initial lp_coverage --al-method coreset --al-budget 6 --epochs 3 --device cpu"


def truth_of(folder: Path) -> dict[str, str]:
    """index -> class of the images that a run has queried from the data."""
    return {row["index"]: row["label"] for row in rows(folder / "acquired.csv")}


def answer(folder: Path, truth: dict[str, str]) -> None:
    """Write labels.csv with the true classes of all queries."""
    queried = [row["index"] for row in rows(folder / "queries.csv")]
    text = "".join(f"{index},{truth[index]}\n" for index in queried)
    (folder / "labels.csv").write_text("index,label\n" + text)


# What a process is about to do when it is killed, and how often it has come to that.
KILLS_BEFORE_QUERY = (("os.rename", "queries.csv"), ("os.rename", "queries.html"))
KILLS_AFTER_ANSWER = (
    ("os.rename", "queries.html"),  # labels.csv is there but not read yet
    ("os.rename", "cycle00.csv"),
    ("os.remove", "queries.csv"),
    ("os.remove", "queries.html"),
    ("os.rename", "acquired.csv", 2),  # the first is written at the start
    ("os.rename", "checkpoint.pt", 3),  # within training; the second has the answers
)


def check_session_killed_in_every_phase(folder: Path, session: Path, start, answer) -> None:
    """A session of three cycles and ten kills ends with the bytes of an uninterrupted run.

    answer: folder, truth -> None; writes labels.csv."""
    truth, kills = truth_of(session), iter(KILLS_AFTER_ANSWER)
    for cycle in range(3):
        for kill in KILLS_BEFORE_QUERY[cycle != 0 :]:
            assert start(folder, *kill) == -signal.SIGKILL
        assert start(folder) == 3 and (folder / "queries.html").exists()
        answer(folder, truth)
        for kill in (next(kills), next(kills)):
            assert start(folder, *kill) == -signal.SIGKILL
        assert (folder / "labels.csv").exists() == (cycle == 0)
    assert start(folder) == 0 and not list(kills)
    assert_same_run(folder, session)
    assert not [*folder.glob("queries.*"), *folder.glob("labels*"), *folder.glob(".*.*")]
    answers = sorted(path.name for path in (folder / "answers").iterdir())
    assert answers == ["cycle00.csv", "cycle01.csv", "cycle02.csv"]
