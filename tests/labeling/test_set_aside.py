"""Images of none of the classes: set aside, never queried again, and no part of the training."""

import re

import numpy as np
import pytest

import main_al
import predict
from data import DATASETS
from data.state import SET_ASIDE, from_dict
from experiment.checkpoint import load_checkpoint
from labeling.answers import read_answers
from labeling.labels_csv import NONE_ANSWER, NONE_ANSWERS, SKIPPED, none_answer
from tests.commands.test_main_al import rows
from tests.labeling.test_skips import queries, write_labels
from utils.errors import UserError


def read(folder, text, names=("ant", "bee"), earlier=None):
    (folder / "labels.csv").write_text(text)
    indices = np.arange(10, 10 + sum(line[:1] == "1" for line in text.splitlines()))
    return read_answers(folder / "labels.csv", indices, names, earlier=earlier)


# ---- labels.csv.


@pytest.mark.parametrize("word", [*NONE_ANSWERS, "None of These", " none of these "])
def test_none_of_these_is_an_answer(tmp_path, word):
    answers = read(tmp_path, f"index,label\n10,ant\n11,{word}\n12,cannot tell\n")
    assert answers.labels.tolist() == [0, SET_ASIDE, SKIPPED] and not answers.new_classes
    text = f"index,label,new_class\n10,ant,\n11,{word},yes\n"
    assert read(tmp_path, text).labels.tolist() == [0, SET_ASIDE]


def test_a_class_of_this_name_is_a_class(tmp_path):
    names = ("ant", NONE_ANSWER)
    assert read(tmp_path, f"10,{NONE_ANSWER}\n11,none of the above\n", names).labels.tolist() == [
        1,
        SET_ASIDE,
    ]
    assert none_answer(names) == "none of the classes"


def test_it_corrects_an_earlier_answer(tmp_path):
    answers = read(tmp_path, f"10,ant\n3,{NONE_ANSWER}\n4,bee\n", earlier={3: 0, 4: SET_ASIDE})
    assert answers.corrections == {3: SET_ASIDE, 4: 1}


def test_it_counts_as_a_class_in_a_majority(tmp_path):
    header = "index,label,annotator\n"
    two = f"10,{NONE_ANSWER},a\n10,{NONE_ANSWER},b\n10,ant,c\n"
    (tmp_path / "labels.csv").write_text(header + two)
    assert read_answers(tmp_path / "labels.csv", np.array([10]), ("ant",)).labels == [SET_ASIDE]
    (tmp_path / "labels.csv").write_text(header + f"10,{NONE_ANSWER},a\n10,ant,b\n")
    with pytest.raises(UserError, match=f"disagree: image 10 .*'{NONE_ANSWER}'; 'b': 'ant'"):
        read_answers(tmp_path / "labels.csv", np.array([10]), ("ant",))


def test_a_plain_none_is_refused_with_both_cures(tmp_path):
    with pytest.raises(UserError, match=r"perhaps no class.*cannot tell.*none of these"):
        read(tmp_path, "10,ant\n11,none\n")


# ---- Runs.


def all_truth() -> dict[str, str]:
    """Index -> class of the training images of digits."""
    return {str(i): str(label) for i, label in enumerate(DATASETS["digits"].load("")[0].labels)}


def answers_of(folder, truth, aside: int) -> dict[str, str]:
    """The true classes of all queries but the first ones, which are of none of them."""
    return {
        index: NONE_ANSWER if position < aside else truth[index]
        for position, index in enumerate(queries(folder))
    }


@pytest.mark.parametrize(
    "words",
    [
        ("--al-method", "margin"),
        ("--add-lp", "--lp-k", "5"),
        ("--add-fixmatch", "--b", "6", "--steps-per-epoch", "2"),
        ("--add-ceal", "--ceal-th", "1", "--ceal-repeat"),
    ],
)
def test_set_aside_images_are_neither_queried_nor_trained_on(tmp_path, run, words, monkeypatch):
    folder, truth = tmp_path / "run", all_truth()
    assert run(*words)[0] == 3
    first = queries(folder)
    write_labels(folder, answers_of(folder, truth, aside=2))
    trained_on = record_batches(monkeypatch)
    assert run(*words)[0] == 3
    second = queries(folder)
    assert len(set(second)) == 6 and not set(second) & set(first)
    assert "read 4 human labels, 2 set aside (none of these)" in (folder / "log.txt").read_text()
    assert [row["index"] for row in rows(folder / "set_aside.csv")] == first[:2]
    write_labels(folder, answers_of(folder, truth, aside=1))
    assert run(*words)[0] == 0
    aside = [*map(int, first[:2]), int(second[0])]
    seen = set(np.concatenate(trained_on).tolist())
    assert seen and not seen & set(aside[:2])
    state = from_dict(load_checkpoint(folder / "checkpoint.pt")["state"])
    assert state.set_aside_indices.tolist() == aside
    assert (state.targets.labels[aside] == -1).all() and (state.targets.weights[aside] == 0).all()
    assert [row["cycle"] for row in rows(folder / "set_aside.csv")] == ["-1", "-1", "0"]
    assert [row["labeled"] for row in rows(folder / "results.csv")] == ["4", "9"]


def record_batches(monkeypatch) -> list[np.ndarray]:
    """The images of all batches of training, in a list that grows."""
    from data.batches import BatchLoader

    found, make_batch = [], BatchLoader._make_batch

    def record(self, augmentation, indices):
        found.append(indices)
        return make_batch(self, augmentation, indices)

    monkeypatch.setattr(BatchLoader, "_make_batch", record)
    return found


def test_a_run_waits_until_two_images_have_a_class(tmp_path, run):
    folder, truth = tmp_path / "run", all_truth()
    run()
    write_labels(folder, answers_of(folder, truth, aside=5))
    status, line = run()
    assert status == 3 and "5 of 6 images have no class" in line and "at least 2" in line
    write_labels(folder, answers_of(folder, truth, aside=4))
    assert run("--al-nb-cycles", 1, "--ask-until-answered")[0] == 0  # it is an answer


def test_a_class_is_found_for_an_image_that_was_set_aside(tmp_path, run):
    """The correction brings it back into the training, and removes set_aside.csv; the run has the
    bytes of one whose first answer was right."""
    truth = all_truth()
    folder = tmp_path / "run"
    run()
    write_labels(folder, answers_of(folder, truth, aside=1))
    run()
    assert (folder / "set_aside.csv").exists()
    first = rows(folder / "answers" / "cycle00.csv")[0]["index"]
    write_labels(folder, {first: truth[first]})
    run()
    write_labels(folder, answers_of(folder, truth, aside=0))
    assert run()[0] == 0 and not (folder / "set_aside.csv").exists()
    assert "cycle00.csv was corrected (1 image)" in (folder / "log.txt").read_text()
    state = from_dict(load_checkpoint(folder / "checkpoint.pt")["state"])
    assert not len(state.set_aside_indices) and len(state.pool.labeled_order) == 12


def test_a_deleted_file_is_written_again(tmp_path, run):
    folder, truth = tmp_path / "run", all_truth()
    run()
    write_labels(folder, answers_of(folder, truth, aside=1))
    run()
    path = folder / "answers" / "cycle00.csv"
    before = path.read_bytes()
    path.unlink()
    assert run()[0] == 3 and path.read_bytes() == before


# ---- Hidden classes.


def answer_hidden(folder, truth, hidden) -> None:
    write_labels(
        folder,
        {
            index: NONE_ANSWER if truth[index] in hidden else str(truth[index])
            for index in queries(folder)
        },
    )


@pytest.fixture(scope="module")
def seven_classes(tmp_path_factory):
    """Digits without labels in the training part; 7, 8 and 9 are of no listed class."""
    folder = tmp_path_factory.mktemp("seven")
    train, test = DATASETS["digits"].load("")
    is_listed = test.labels < 7
    np.savez(
        folder / "data.npz",
        x_train=train.pixels.numpy()[:, 0],
        y_train=np.full(len(train.labels), -1),
        x_test=test.pixels.numpy()[is_listed, 0],
        y_test=test.labels[is_listed],
        class_names=np.array([str(n) for n in range(7)]),
    )
    return folder / "data.npz", {str(i): int(label) for i, label in enumerate(train.labels)}


def test_three_hidden_classes_are_estimated_and_named(tmp_path, capsys, seven_classes):
    """Random labels: the interval has the true share of the unlabeled images, in the log, on the
    page and in the table; the warning says that classes are missing."""
    data, truth = seven_classes
    folder = tmp_path / "run"
    words = f"--dataset arrays --data-root {data} --oracle file --initial random --al-method random"
    words += f" --al-budget 40 --al-nb-cycles 2 --epochs 1 --device cpu --run-dir {folder} --add-lp"
    words += " --lp-views pixels"
    assert main_al.main(words.split()) == 3
    first = queries(folder)
    answer_hidden(folder, truth, {7, 8, 9})
    assert main_al.main(words.split()) == 3
    [row] = rows(folder / "unseen_classes.csv")
    others = [label for index, label in truth.items() if index not in first]
    true = 100 * np.mean(np.array(others) >= 7)
    assert float(row["unseen_low"]) <= true <= float(row["unseen_high"])
    assert row["picks"] == "random" and int(row["classes"]) <= 7
    assert int(row["set_aside"]) + int(row["labeled"]) == 40
    log = (folder / "log.txt").read_text()
    assert re.search(r"about \d+ of the 1397 other images are of classes without a label", log)
    assert "the labels cover too few classes" in log
    page = (folder / "queries.html").read_text()
    assert "other images are of classes without a label" in page and "too few classes" in page
    assert "estimated accuracy on the unlabeled images of the run: " in page
    answer_hidden(folder, truth, {7, 8, 9})
    assert main_al.main(words.split()) == 0
    assert len(rows(folder / "unseen_classes.csv")) == 2


def test_all_classes_with_many_labels_need_no_warning(tmp_path):
    folder = tmp_path / "run"
    words = "--initial random --al-method random --al-budget 100 --al-nb-cycles 1 --epochs 1"
    assert main_al.main([*words.split(), "--device", "cpu", "--run-dir", str(folder)]) == 0
    [row] = rows(folder / "unseen_classes.csv")
    assert row["classes"] == "10" and float(row["unseen_low"]) == 0
    assert float(row["unseen_high"]) < 8
    assert "too few classes" not in (folder / "log.txt").read_text()


def test_a_balanced_split_says_nothing_about_other_classes(tmp_path):
    folder = tmp_path / "run"
    words = "--al-budget 10 --al-nb-cycles 1 --epochs 1 --device cpu"
    assert main_al.main([*words.split(), "--run-dir", str(folder)]) == 0
    assert not (folder / "unseen_classes.csv").exists()


def test_duplicates_are_set_aside_with_the_image(tmp_path):
    """And predict.py gives them a predicted class, not one that they were given."""
    train, test = DATASETS["digits"].load("")
    order = [*range(60), *range(60)]
    np.savez(
        tmp_path / "data.npz",
        x_train=train.pixels.numpy()[order, 0],
        y_train=np.full(120, -1),
        x_test=test.pixels.numpy()[:50, 0],
        y_test=test.labels[:50],
    )
    folder = tmp_path / "run"
    words = f"--dataset arrays --data-root {tmp_path / 'data.npz'} --oracle file --initial random"
    words += f" --al-method random --al-budget 10 --al-nb-cycles 2 --epochs 1 --run-dir {folder}"
    assert main_al.main(words.split()) == 3
    for _ in range(2):
        labels = {index: str(train.labels[int(index) % 60]) for index in queries(folder)}
        labels[queries(folder)[3]] = NONE_ANSWER
        write_labels(folder, labels)
        status = main_al.main(words.split())
    assert status == 0
    aside = rows(folder / "set_aside.csv")
    assert len(aside) == 4
    for seen, copy in zip(aside[::2], aside[1::2], strict=True):
        assert (seen["same_as"], copy["same_as"]) == ("", seen["index"])
        assert int(copy["index"]) - int(seen["index"]) == 60
    inherited = rows(folder / "inherited.csv")
    assert len(inherited) == 18
    table = tmp_path / "out.csv"
    assert predict.main([str(folder), "--pseudo", "--csv", str(table)]) == 0
    given = {row["index"]: row for row in rows(table)}
    assert sum(row["given"] == "1" for row in given.values()) == 36
    assert all(given[row["index"]]["pseudo"] == "" for row in aside)
