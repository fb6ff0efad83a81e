"""Answers that are corrected after the run has trained on them."""

import io
import json

import numpy as np
import pytest
import torch

import main_al
from data import DATASETS
from data.state import QueryRecord, State, from_dict, to_dict
from experiment.checkpoint import load_checkpoint, save_checkpoint
from labeling.answer_files import answer_digests
from tests.commands.test_main_al import assert_same_run, rows
from tests.labeling.sessions import SHORT

RANDOM = ["--al-method", "random"]  # queries that do not depend on the answers


@pytest.fixture(scope="module")
def truth():
    """index -> class of all training images of digits."""
    return {str(i): str(label) for i, label in enumerate(DATASETS["digits"].load("")[0].labels)}


def queries(folder):
    return [row["index"] for row in rows(folder / "queries.csv")]


def write_answers(path, indices, truth, wrong=0):
    """index,label lines; of the first ones a wrong class."""
    labels = [str((int(truth[i]) + (n < wrong)) % 10) for n, i in enumerate(indices)]
    lines = [f"{index},{label}\n" for index, label in zip(indices, labels, strict=True)]
    path.write_text("index,label\n" + "".join(lines))


def finish(folder, run, truth, *words, wrong=(0, 0)):
    """Two cycles, with some wrong answers in each."""
    assert run(*words)[0] == 3
    for count in wrong:
        write_answers(folder / "labels.csv", queries(folder), truth, count)
        status, _ = run(*words)
    assert status == 0


def correct(folder, cycle, truth):
    """Give the right answers in the file of a cycle."""
    path = folder / "answers" / f"cycle{cycle:02d}.csv"
    write_answers(path, [row["index"] for row in rows(path)], truth)


@pytest.fixture(scope="module")
def right_run(tmp_path_factory, truth):
    """The run folder of somebody who makes no mistake."""
    folder = tmp_path_factory.mktemp("right") / "run"
    words = [*SHORT.split(), "--oracle", "file", "--al-nb-cycles", "2", *RANDOM]
    finish(folder, lambda: (main_al.main([*words, "--run-dir", str(folder)]), ""), truth)
    return folder


@pytest.mark.parametrize("wrong, cycle", [((3, 0), 1), ((0, 2), 2), ((1, 1), 1)])
def test_a_corrected_run_is_the_run_without_the_mistake(
    tmp_path, right_run, run, truth, wrong, cycle
):
    folder = tmp_path / "run"
    finish(folder, run, truth, *RANDOM, wrong=wrong)
    assert (folder / "results.csv").read_bytes() != (right_run / "results.csv").read_bytes()
    for number in range(2):
        correct(folder, number, truth)
    assert run(*RANDOM) == (0, "")
    assert_same_run(folder, right_run)
    log = (folder / "log.txt").read_text()
    assert log.count("was corrected") == sum(map(bool, wrong))
    assert log.count(f": going back to cycle {cycle}\n") == 1
    time = (folder / "timing.csv").stat().st_mtime_ns
    assert run(*RANDOM) == (0, "") and (folder / "timing.csv").stat().st_mtime_ns == time


def test_corrections_in_labels_csv_of_a_finished_run(tmp_path, right_run, run, truth):
    folder = tmp_path / "run"
    finish(folder, run, truth, *RANDOM, wrong=(2, 1))
    images = [row["index"] for row in rows(folder / "acquired.csv")]
    write_answers(folder / "labels.csv", images, truth)  # also the answers that were right
    content = (folder / "labels.csv").read_bytes()
    assert run(*RANDOM) == (0, "")
    assert_same_run(folder, right_run)
    assert not (folder / "labels.csv").exists()
    assert (folder / "answers" / "corrections00.csv").read_bytes() == content


def test_queries_that_are_being_answered_stay(tmp_path, run, truth):
    """A correction made while the run waits changes neither the queries nor the answers so far."""
    folder = tmp_path / "run"
    run()
    write_answers(folder / "labels.csv", queries(folder), truth, wrong=2)
    run()
    waiting = queries(folder)
    before = rows(folder / "results.csv")
    correct(folder, 0, truth)
    assert run()[0] == 3
    assert queries(folder) == waiting and rows(folder / "results.csv") != before
    write_answers(folder / "labels.csv", waiting, truth)
    assert run()[0] == 0
    assert {
        row["index"]: row["label"] for row in rows(folder / "acquired.csv")
    }.items() <= truth.items()


def test_labels_csv_with_corrections_alone_while_the_run_waits(tmp_path, run, truth):
    folder = tmp_path / "run"
    run()
    write_answers(folder / "labels.csv", queries(folder), truth, wrong=1)
    run()
    waiting = queries(folder)
    first = rows(folder / "answers" / "cycle00.csv")[0]["index"]
    (folder / "labels.csv").write_text(f"{first},{truth[first]}\n")
    assert run()[0] == 3 and queries(folder) == waiting
    assert rows(folder / "acquired.csv")[0] == {
        "cycle": "-1", "order": "0", "index": first, "label": truth[first]
    }  # fmt: skip
    assert (
        "cycle00.csv was corrected (1 image): going back to cycle 1"
        in (folder / "log.txt").read_text()
    )


@pytest.mark.parametrize("words", [["--finetuning"], ["--add-ceal"]])
def test_cycles_that_continue_from_the_one_before_are_all_repeated(tmp_path, run, truth, words):
    """Then the run is that of somebody who makes no mistake, too."""
    folder = tmp_path / "run"
    words = [*RANDOM, *words]
    finish(folder, run, truth, *words)
    right = {name: (folder / name).read_bytes() for name in ("results.csv", "acquired.csv")}
    correct_bytes = (folder / "answers" / "cycle01.csv").read_bytes()
    path = folder / "answers" / "cycle01.csv"
    write_answers(path, [row["index"] for row in rows(path)], truth, wrong=2)
    assert run(*words) == (0, "")
    assert "going back to cycle 1, because each cycle continues" in (folder / "log.txt").read_text()
    assert (folder / "results.csv").read_bytes() != right["results.csv"]
    path.write_bytes(correct_bytes)
    assert run(*words) == (0, "")
    assert {name: (folder / name).read_bytes() for name in right} == right


def test_a_correction_during_the_last_cycle_counts_at_the_next_start(
    tmp_path, right_run, run, truth, monkeypatch
):
    """Although the run has finished by then."""
    folder = tmp_path / "run"
    assert run(*RANDOM)[0] == 3
    write_answers(folder / "labels.csv", queries(folder), truth, wrong=2)
    assert run(*RANDOM)[0] == 3
    write_answers(folder / "labels.csv", queries(folder), truth)
    evaluate_cycle = main_al.evaluate_cycle

    def correct_and_evaluate(experiment, state):
        correct(folder, 0, truth)
        return evaluate_cycle(experiment, state)

    with monkeypatch.context() as patch:
        patch.setattr(main_al, "evaluate_cycle", correct_and_evaluate)
        assert run(*RANDOM)[0] == 0
    assert (folder / "results.csv").read_bytes() != (right_run / "results.csv").read_bytes()
    assert run(*RANDOM) == (0, "")
    assert_same_run(folder, right_run)


def test_a_correction_to_cannot_tell(tmp_path, run, truth):
    folder = tmp_path / "run"
    finish(folder, run, truth, *RANDOM)
    path = folder / "answers" / "cycle01.csv"
    first, *others = path.read_text().splitlines()[1:]
    path.write_text("\n".join(["index,label", f"{first.split(',')[0]},cannot tell", *others]))
    assert run(*RANDOM) == (0, "")
    assert [row["labeled"] for row in rows(folder / "results.csv")] == ["6", "11"]


@pytest.mark.parametrize(
    "text, part",
    [
        ("index,label\n", "not labeled: image"),
        ("{0},cat 1x\n", "unknown class"),
        ("", "not labeled: image"),
    ],
)
def test_mistakes_in_an_edited_file_are_named(tmp_path, run, truth, text, part):
    folder = tmp_path / "run"
    finish(folder, run, truth, *RANDOM)
    path = folder / "answers" / "cycle00.csv"
    content, results = path.read_bytes(), (folder / "results.csv").read_bytes()
    index = rows(path)[0]["index"]
    path.write_text(text.format(index).replace("cat ", ""))
    status, lines = run(*RANDOM)
    assert status == 2 and part in lines and str(path) in lines
    assert (folder / "results.csv").read_bytes() == results
    path.write_bytes(content)
    assert run(*RANDOM) == (0, "")


def test_too_few_labels_in_the_first_cycle_are_refused(tmp_path, run, truth):
    folder = tmp_path / "run"
    finish(folder, run, truth, *RANDOM)
    path = folder / "answers" / "cycle00.csv"
    content = path.read_bytes()
    images = [row["index"] for row in rows(path)]
    (folder / "labels.csv").write_text("".join(f"{index},skip\n" for index in images))
    status, line = run(*RANDOM)
    assert status == 2 and "leaves 0 labels of the first cycle" in line and "labels.csv" in line
    assert path.read_bytes() == content
    (folder / "labels.csv").unlink()
    path.write_text("".join(f"{index},skip\n" for index in images))
    status, line = run(*RANDOM)
    assert status == 2 and "leaves 0 labels of the first cycle" in line and str(path) in line
    path.write_bytes(content)
    assert run(*RANDOM)[0] == 0


def test_a_deleted_file_of_answers_is_written_again(tmp_path, run, truth, capsys):
    folder = tmp_path / "run"
    words = [*SHORT.split(), "--oracle", "file", "--al-nb-cycles", "2", *RANDOM]
    finish(folder, run, truth, *RANDOM)
    path = folder / "answers" / "cycle00.csv"
    answers, results = rows(path), (folder / "results.csv").read_bytes()
    path.unlink()
    assert main_al.main([*words, "--run-dir", str(folder)]) == 0
    assert f"{path} was missing and has been written again\n" in capsys.readouterr().out
    assert main_al.main([*words, "--run-dir", str(folder)]) == 0
    assert "missing" not in capsys.readouterr().out
    assert rows(path) == answers and (folder / "results.csv").read_bytes() == results


def test_a_finished_run_names_the_mistakes_in_labels_csv(tmp_path, run, truth):
    folder = tmp_path / "run"
    finish(folder, run, truth, *RANDOM)
    (folder / "labels.csv").write_text("99999,3\n")
    status, line = run(*RANDOM)
    assert status == 2 and "not queried: image 99999" in line and line.count("\n") == 1


def test_runs_of_earlier_versions_are_corrected_too(tmp_path, right_run, run, truth):
    """Their checkpoints have neither a history nor the names of the classes."""
    folder = tmp_path / "run"
    finish(folder, run, truth, *RANDOM, wrong=(3, 1))
    path = folder / "checkpoint.pt"
    checkpoint = load_checkpoint(path)
    for name in ("history", "class_names"):
        del checkpoint["state"][name]
    save_checkpoint(path, checkpoint)
    assert run(*RANDOM) == (0, "")  # the same answers
    config = json.loads((folder / "config.json").read_text())
    assert config["finished"]["answers"] == answer_digests(folder)  # recognised next time
    for cycle in range(2):
        correct(folder, cycle, truth)
    assert run(*RANDOM) == (0, "")
    assert_same_run(folder, right_run)


# ---- The state


def state_of_three_cycles() -> State:
    state = State.initial(np.array([4, 1]), 9, ("a", "b")).reveal_labels(np.array([-1, 1]), "x")
    state = state.next_cycle(np.array([7, 2]), {}).reveal_labels(np.array([0, 2]), "y")
    return state.next_cycle(np.array([0, 8]), {"predicted": np.zeros(9)})


def test_a_state_goes_back_and_queries_the_same_again():
    state = state_of_three_cycles()
    assert state.skip_indices.tolist() == [4] and state.num_answered_cycles == 2
    back = state.back_to(1)
    assert back.cycle == 1 and back.queried.tolist() == [7, 2] and not back.carry_over
    assert back.pool.labels.tolist() == [-1, 1, -1, -1, -1, -1, -1, -1, -1]
    assert back.pool.labeled_order.tolist() == [1]
    assert back.next_record.queried.tolist() == [0, 8]  # although it has not been answered
    again = back.reveal_labels(np.array([1, 2]), "z")
    assert again.history[1].answers.tolist() == [1, 2] and again.history[1].source == "z"
    assert again.next_cycle(again.next_record.queried, {}).next_record is None
    first = again.back_to(0)
    assert first.queried.tolist() == [4, 1] and (first.pool.labels < 0).all()
    assert len(first.history) == 3 and first.class_names == ("a", "b")
    with pytest.raises(ValueError, match="read-only"):
        first.history[0].queried[0] = 1


def test_a_state_is_read_as_it_was_written():
    """Also with names of files that are not UTF-8, which a checkpoint has to keep."""
    state = state_of_three_cycles().back_to(0)
    plain = to_dict(state) | {"class_names": ["a", "\udcff"]}
    file = io.BytesIO()
    torch.save(plain, file)
    file.seek(0)
    read = from_dict(torch.load(file, weights_only=True))
    assert read.class_names == ("a", "\udcff") and isinstance(read.history[2], QueryRecord)
    assert read.history[2].answers is None and read.history[1].source == "y"
    assert [r.queried.tolist() for r in read.history] == [[4, 1], [7, 2], [0, 8]]
