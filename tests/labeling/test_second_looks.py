"""Labels that may be wrong are shown again: which, and what a second answer changes.

A run with simulated slips is the reference: a person who makes the same slips, and answers the
second looks rightly, gets the same bytes, also if the run is killed on the way."""

import json
import signal

import numpy as np
import pytest
import torch

import labels
import main_al
from data.state import SecondLooks, State, from_dict, to_dict
from experiment.checkpoint import load_checkpoint
from labeling.oracle import flip_labels
from labeling.second_looks import choose_second_looks
from tests.commands.test_main_al import assert_same_run, rows
from tests.labeling.sessions import SHORT

LOOKS = ["--second-looks", "2"]
SHORT_LOOKS = [*SHORT.replace("--al-budget 6", "--al-budget 12").split(), *LOOKS]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """The folder of a run of three cycles, a quarter of whose first answers are wrong."""
    folder = tmp_path_factory.mktemp("simulated") / "run"
    words = [*SHORT_LOOKS, "--label-noise", "0.25", "--al-nb-cycles", "3"]
    assert main_al.main([*words, "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def person(simulated):
    """Two functions: folder -> None, which write labels.csv with the slips of the simulated run;
    one answers everything, the other nothing but the queries."""
    labels = {row["index"]: row["label"] for row in rows(simulated / "acquired.csv")}
    looks = {row["index"]: row for row in rows(simulated / "second_looks.csv")}
    first = labels | {index: row["label_before"] for index, row in looks.items()}

    def answer(folder, also=lambda cycle: {}):
        cycle = len([*folder.glob("answers/cycle*.csv")]) - 1
        again = {i: row["label_after"] for i, row in looks.items() if row["cycle"] == str(cycle)}
        answers = {row["index"]: first[row["index"]] for row in rows(folder / "queries.csv")}
        lines = [f"{index},{label}\n" for index, label in (answers | again | also(cycle)).items()]
        (folder / "labels.csv").write_text("index,label\n" + "".join(lines))

    return answer


@pytest.fixture
def start_looks(start):
    """As `start`, with second looks."""
    return lambda folder, *kill: start(folder, *kill, more=["--al-budget", "12", *LOOKS])


def same_run(one, other):
    assert_same_run(one, other)
    assert (one / "second_looks.csv").read_bytes() == (other / "second_looks.csv").read_bytes()


def test_second_looks_find_and_amend_wrong_labels(simulated):
    looks = rows(simulated / "second_looks.csv")
    assert [row["cycle"] for row in looks] == ["0", "0", "1", "1"]
    assert len({row["index"] for row in looks}) == 4  # none is shown twice
    assert any(row["label_before"] != row["label_after"] for row in looks)
    acquired = {row["index"]: row["label"] for row in rows(simulated / "acquired.csv")}
    assert {row["index"]: row["label_after"] for row in looks}.items() <= acquired.items()
    state = from_dict(load_checkpoint(simulated / "checkpoint.pt")["state"])
    assert state.second_look_images.tolist() == [int(row["index"]) for row in looks]
    shown = [state.pool.labels[int(row["index"])] for row in looks]
    assert shown == [int(row["label_after"]) for row in looks]


def test_a_person_gets_the_same_run(tmp_path, simulated, person, start_looks):
    folder = tmp_path / "run"
    for _ in range(3):
        assert start_looks(folder) == 3
        person(folder)
    assert start_looks(folder) == 0
    same_run(folder, simulated)
    assert "going back" not in (folder / "log.txt").read_text()
    # The accepted answers are the second ones.
    first = {
        row["index"]: [*row.values()][1]  # the header is the person's, or the run's
        for row in rows(folder / "answers" / "cycle00.csv")
    }
    looks = [row for row in rows(folder / "second_looks.csv") if row["index"] in first]
    assert looks and all(first[row["index"]] == row["label_after"] for row in looks)


def test_a_killed_session_ends_with_the_same_bytes(tmp_path, simulated, person, start_looks):
    folder = tmp_path / "run"
    kills = {
        0: [],
        1: [  # labels.csv is moved; the second answers are written; the run goes on from them
            ("os.rename", "cycle01.csv"),
            ("os.rename", "cycle00.csv"),
            ("os.remove", "queries.csv"),
            ("os.rename", "second_looks.csv"),
            ("os.rename", "checkpoint.pt", 2),
        ],
        2: [("os.rename", "cycle02.csv"), ("os.rename", "checkpoint.pt", 3)],
    }
    for cycle in range(3):
        assert start_looks(folder) == 3
        person(folder)
        for kill in kills[cycle]:
            assert start_looks(folder, *kill) == -signal.SIGKILL, kill
    assert start_looks(folder) == 0
    same_run(folder, simulated)


def test_a_second_answer_beside_another_correction(tmp_path, simulated, person, start_looks):
    """The correction leads back to its cycle; the second answers count from theirs on."""
    folder = tmp_path / "run"
    looked = {row["index"] for row in rows(simulated / "second_looks.csv")}

    def also(cycle):
        first = [row["index"] for row in rows(simulated / "acquired.csv") if row["cycle"] == "-1"]
        other = next(index for index in first if index not in looked)
        return {other: "cannot tell"} if cycle == 0 else {}

    for _ in range(2):
        assert start_looks(folder) == 3
        person(folder, also)
    assert start_looks(folder) == 3  # the queries and looks of the third cycle
    log = (folder / "log.txt").read_text()
    assert "(1 image): going back to cycle 1" in log
    assert log.count("2 labels were shown again") == 1
    assert [row["labeled"] for row in rows(folder / "results.csv")] == ["11", "23"]
    now = {row["index"]: row["label"] for row in rows(folder / "acquired.csv")}
    looks = [row for row in rows(simulated / "second_looks.csv") if row["cycle"] == "0"]
    assert all(now[row["index"]] == row["label_after"] for row in looks)


def test_second_looks_stay_when_the_run_goes_back(tmp_path, simulated, person, start_looks):
    """A correction after the run has finished: second answers count, and none is asked again."""
    folder = tmp_path / "run"
    for _ in range(3):
        assert start_looks(folder) == 3
        person(folder)
    assert start_looks(folder) == 0
    looked = {row["index"] for row in rows(simulated / "second_looks.csv")}
    other = next(
        row["index"]
        for row in rows(folder / "acquired.csv")
        if row["cycle"] == "-1" and row["index"] not in looked
    )
    (folder / "labels.csv").write_text(f"index,label\n{other},cannot tell\n")
    assert start_looks(folder) == 0
    assert "going back to cycle 1" in (folder / "log.txt").read_text()
    looks = (simulated / "second_looks.csv").read_bytes()
    assert (folder / "second_looks.csv").read_bytes() == looks
    now = {row["index"]: row["label"] for row in rows(folder / "acquired.csv")}
    before = {row["index"]: row["label"] for row in rows(simulated / "acquired.csv")}
    assert now == {index: label for index, label in before.items() if index != other}


def test_an_unanswered_second_look_keeps_the_label(tmp_path, simulated, person, start_looks):
    folder = tmp_path / "run"
    assert start_looks(folder) == 3
    person(folder)
    assert start_looks(folder) == 3
    queried = {row["index"] for row in rows(folder / "queries.csv") if not row["accepted"]}
    person(folder)
    lines = (folder / "labels.csv").read_text().splitlines(keepends=True)
    (folder / "labels.csv").write_text(
        "".join(line for line in lines if line.split(",")[0] in queried | {"index"})
    )
    assert start_looks(folder) == 3
    looks = rows(folder / "second_looks.csv")
    assert [row["label_after"] for row in looks] == [row["label_before"] for row in looks]
    state = from_dict(load_checkpoint(folder / "checkpoint.pt")["state"])
    again = set(state.second_looks.images.tolist())
    assert again and not again & {int(row["index"]) for row in looks}


@pytest.fixture
def second_cycle(tmp_path, person, start_looks):
    """The folder of a run that waits for its second labels and shows two again."""
    folder = tmp_path / "run"
    assert start_looks(folder) == 3
    person(folder)
    assert start_looks(folder) == 3
    return folder


def first_and_second_answers(simulated):
    """What the person says to the queries of the second cycle and to the labels shown again."""
    acquired = rows(simulated / "acquired.csv")
    looks = {row["index"]: row for row in rows(simulated / "second_looks.csv")}
    queried = {row["index"]: row["label"] for row in acquired if row["cycle"] == "0"}
    queried |= {i: row["label_before"] for i, row in looks.items() if i in queried}
    again = {i: row["label_after"] for i, row in looks.items() if row["cycle"] == "0"}
    return queried, again


def test_the_table_begins_with_labels_to_look_at_again(simulated, second_cycle):
    table = rows(second_cycle / "queries.csv")
    looks = [row for row in rows(simulated / "second_looks.csv") if row["cycle"] == "0"]
    again = [(row["index"], row["label_before"]) for row in looks]
    assert [(row["index"], row["accepted"]) for row in table[:2]] == again
    assert all(row["suggested"] not in ("", row["accepted"]) for row in table[:2])
    assert all(row["accepted"] == row["suggested"] == "" for row in table[2:])
    assert [row["order"] for row in table] == ["", "", *map(str, range(12))]


def test_a_copy_of_the_table_answers_the_second_looks(simulated, second_cycle, person, start_looks):
    """Answered in a spreadsheet: one more column in queries.csv."""
    queried, again = first_and_second_answers(simulated)
    header, *lines = (second_cycle / "queries.csv").read_text().splitlines()
    answers = queried | again
    labeled = [f"{line},{answers[line.split(',')[1]]}" for line in lines]
    text = "\n".join([f"{header},label", *labeled]) + "\n"
    (second_cycle / "labels.csv").write_text(text)
    assert start_looks(second_cycle) == 3
    person(second_cycle)
    assert start_looks(second_cycle) == 0
    same_run(second_cycle, simulated)


def test_a_label_tool_answers_the_second_looks(
    simulated, second_cycle, person, start_looks, tmp_path, capsys
):
    queried, again = first_and_second_answers(simulated)
    words = [str(second_cycle), "--format", "label-studio", "--out", str(tmp_path / "tasks")]
    assert labels.main(["export", *words]) == 0
    assert "14 images in" in (out := capsys.readouterr().out) and "2 of them for a second" in out
    tasks = json.loads((tmp_path / "tasks" / "tasks.json").read_text())
    table = rows(second_cycle / "queries.csv")
    assert [str(task["data"]["index"]) for task in tasks] == [row["index"] for row in table]
    assert [task["data"].get("accepted", "") for task in tasks] == [
        row["accepted"] for row in table
    ]
    for task in tasks:
        choices = [(queried | again)[str(task["data"]["index"])]]
        result = [{"from_name": "class", "type": "choices", "value": {"choices": choices}}]
        task["annotations"] = [{"result": result, "completed_by": 1}]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    words = [str(second_cycle), str(tmp_path / "export.json"), "--format", "label-studio"]
    assert labels.main(["import", *words]) == 0
    changed = sum(label != table[n]["accepted"] for n, label in enumerate(again.values()))
    assert f"2 of 2 second looks answered: {changed} changed" in capsys.readouterr().out
    assert start_looks(second_cycle) == 3
    person(second_cycle)
    assert start_looks(second_cycle) == 0
    same_run(second_cycle, simulated)


def test_wrong_labels_come_first():
    """Two groups of points, one wrong label in each; of the others there is nothing to see."""
    rng = np.random.default_rng(0)
    features = torch.tensor(np.r_[rng.normal(0, 1, (40, 8)) + 4, rng.normal(0, 1, (40, 8)) - 4])
    truth = np.repeat([0, 1], 40)
    queried = np.r_[0:8, 40:48]
    answers = truth[queried]
    answers[[2, 11]] ^= 1
    state = State.initial(queried, 80).reveal_labels(answers)
    everywhere = np.ones(80, dtype=bool)
    inputs = {"num_classes": 2, "features": features.float()}
    found = choose_second_looks(state, 2, can_be_amended=everywhere, **inputs)
    wrong = queried[[2, 11]]
    assert sorted(found.images) == sorted(wrong)
    assert (found.suggested == truth[found.images]).all()
    own, suggested = found.examples[:, :3], found.examples[:, 3:]
    assert (state.pool.labels[own] == state.pool.labels[found.images][:, None]).all()
    assert (state.pool.labels[suggested] == found.suggested[:, None]).all()
    can_be_amended = everywhere.copy()
    can_be_amended[wrong[0]] = False
    only = choose_second_looks(state, 1, can_be_amended=can_be_amended, **inputs)
    assert only.images.tolist() == [wrong[1]]


def test_states_with_second_looks_survive_the_checkpoint():
    looks = SecondLooks(np.array([0]), np.array([1]), np.array([[2, -1]]))
    state = State.initial(np.array([0, 2]), 5).reveal_labels(np.array([0, 1]))
    state = state.next_cycle(np.array([3]), {}, looks)
    assert state.awaits_second_looks and not len(state.second_look_images)
    again = from_dict(to_dict(state))
    for one in (state.second_looks, again.second_looks):
        assert one.examples.tolist() == [[2, -1]] and one.suggested.tolist() == [1]
    amended = again.amend_labels({0: 1})
    assert amended.pool.labels.tolist() == [1, -1, 1, -1, -1]
    assert amended.history[0].answers.tolist() == [1, 1]
    revealed = amended.reveal_labels(np.array([0]))
    assert revealed.second_look_images.tolist() == [0] and not revealed.awaits_second_looks
    back = revealed.back_to(0)
    assert back.pool.labels.max() == -1 and not len(back.second_looks)
    forward = back.reveal_labels(np.array([1, 1])).next_cycle(np.array([3]), {}, looks)
    assert not forward.awaits_second_looks  # they are in the pool already
    removed = revealed.amend_labels({0: -1})
    assert removed.pool.labeled_order.tolist() == [2, 3]
    with pytest.raises(ValueError, match="image 4 has no label"):
        revealed.pool.amend_labels({4: 0})


@pytest.mark.parametrize("share, count", [(0, 0), (0.1, 1), (0.24, 2), (0.9, 9)])
def test_flipped_labels(share, count):
    labels = np.arange(10) % 3
    flipped = flip_labels(labels, share, 3, np.random.default_rng(5))
    assert (flipped != labels).sum() == count
    assert set(flipped.tolist()) <= {0, 1, 2}
    assert (flip_labels(labels[:1] * 0, share, 1, np.random.default_rng(5)) == 0).all()
