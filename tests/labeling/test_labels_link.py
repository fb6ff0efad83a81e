"""labels.csv as a symbolic link: its file is copied and stays where it is."""

from dataclasses import replace

import numpy as np
import pytest

from data.active_dataset import ActiveDataset
from data.state import QueryRecord, State
from labeling import oracle
from labeling.answer_files import AnswerFiles
from utils.errors import UserError, WaitingForLabels


class Dataset:
    dataset_indices = np.arange(10)
    class_names = data_class_names = ("cat", "dog")
    image_paths = None
    all_class_names = ActiveDataset.all_class_names


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(oracle, "write_queries", lambda *_: None)
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def read_labels(folder, queried, earlier=()):
    """earlier: the images that an earlier cycle has queried, all of them dogs."""
    history = [QueryRecord(np.array(earlier), np.ones(len(earlier), np.int64))] if earlier else []
    state = State.initial(np.array(queried), 10)
    state = replace(state, cycle=len(history), history=tuple(history))
    files = AnswerFiles(folder, Dataset())
    oracle.wait_for_answers(state, files, None, False)
    return oracle.read_human_answers(state, files).labels.tolist()


@pytest.mark.parametrize("target", ["../mine.csv", "{folder}/../mine.csv", "mine too.csv"])
def test_a_link_is_copied(folder, target):
    target = target.format(folder=folder)
    link, mine = folder / "labels.csv", folder / target
    mine.write_text("3,dog\n5,cat\n")
    link.symlink_to(target)
    assert read_labels(folder, [5, 3]) == [0, 1]
    answers = folder / "answers" / "cycle00.csv"
    assert not answers.is_symlink() and answers.read_bytes() == mine.read_bytes()
    assert mine.read_text() == "3,dog\n5,cat\n"
    link.unlink()
    assert read_labels(folder, [5, 3]) == [0, 1]  # the run has them for good


def test_the_link_serves_the_next_cycle(folder):
    mine = folder.parent / "mine.csv"
    mine.write_text("3,dog\n5,cat\n")
    (folder / "labels.csv").symlink_to(mine)
    read_labels(folder, [5, 3])
    with pytest.raises(WaitingForLabels, match=r"answers to earlier queries.*mine.csv"):
        read_labels(folder, [1, 2], earlier=[5, 3])
    mine.write_text("1,dog\n2,dog\n")
    assert read_labels(folder, [1, 2], earlier=[5, 3]) == [1, 1]


def test_a_link_with_other_answers_is_refused(folder):
    mine = folder.parent / "mine.csv"
    mine.write_text("3,dog\n5,doog\n")
    (folder / "labels.csv").symlink_to(mine)
    with pytest.raises(UserError, match="unknown class"):
        read_labels(folder, [5, 3])
    assert (folder / "labels.csv").is_symlink() and not (folder / "answers").exists()


def test_a_link_that_leads_nowhere_is_said(folder):
    (folder / "labels.csv").symlink_to("../mine.csv")
    with pytest.raises(WaitingForLabels, match=r"link .* leads to no file: ../mine.csv"):
        read_labels(folder, [5, 3])


def test_a_file_is_moved(folder):
    (folder / "labels.csv").write_text("3,dog\n5,cat\n")
    assert read_labels(folder, [5, 3]) == [0, 1]
    assert not (folder / "labels.csv").exists()
