"""The files of accepted answers: whatever the classes are called, they are read as written."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from data.active_dataset import ActiveDataset
from data.state import State
from labeling.answer_files import AnswerFiles
from labeling.labels_csv import SKIP_ANSWER

NAMES = {
    "words": ("cat", "dog, wild", '"q"', "Zuñi"),
    "formulas": ("=1+1", "@x", "-a", "'=quoted"),
    "signs": ("+1", "-1", "0"),
    "equal numbers": ("1", "01", "1.0"),
    "skip words": (SKIP_ANSWER, "skip", "?", "-1"),
    "missing values": ("NA", "None", "x"),
    "not UTF-8": ("\udcff", "a\udcfe", "b"),
    "numbers": tuple(map(str, range(10))),
}


@dataclass(frozen=True)
class Dataset:
    """What AnswerFiles needs of an ActiveDataset."""

    class_names: tuple[str, ...]
    data_class_names: tuple[str, ...]
    dataset_indices: np.ndarray
    image_paths: tuple[str, ...] | None = None
    all_class_names = ActiveDataset.all_class_names


def answered_state(labels: np.ndarray) -> State:
    """A run whose first cycle has these answers (n,); the images are 0 .. n - 1 backwards."""
    queried = np.arange(len(labels))[::-1].copy()
    return State.initial(queried, len(labels) + 5).reveal_labels(labels)


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("added", [(), ("new",)], ids=["known", "grown"])
def test_every_name_is_read_as_it_was_written(tmp_path, names, added):
    indices = np.arange(100, 200)
    dataset = Dataset((*names, *added), names, indices)
    labels = np.array([*range(len(names) + len(added)), -1, 0])
    state, files = answered_state(labels), AnswerFiles(tmp_path, dataset)
    (path,) = files.restore_missing_files(state)
    assert path == files.path(0)
    read = files.read_cycle(state, 0)
    assert read.labels.tolist() == labels.tolist() and read.class_names == (*names, *added)
    assert files.find_changes(state) == {}
    # A run that has lost its checkpoint does not know the added class.
    fresh = AnswerFiles(tmp_path, replace(dataset, class_names=names))
    first = State.initial(state.history[0].queried, 100)
    assert fresh.read_cycle(first, 0).labels.tolist() == labels.tolist()
    assert fresh.read_cycle(first, 0).class_names == (*names, *added)


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_a_correction_leaves_the_other_answers(tmp_path, names):
    labels = np.array([*range(len(names)), -1, 0])
    dataset = Dataset(names, names, np.arange(100, 200))
    state, files = answered_state(labels), AnswerFiles(tmp_path, dataset)
    files.restore_missing_files(state)
    last = 100 + int(state.history[0].queried[-1])
    files.labels_file.write_text(f"index,label,new_class\n{last},other,yes\n")
    assert files.accept_corrections(state)
    assert not files.labels_file.exists() and files.find_changes(state) == {0: 1}
    read = files.read_cycle(state, 0)
    assert read.labels.tolist() == [*labels[:-1], len(names)]
    assert read.class_names == (*names, "other")


def test_the_first_correction_of_a_cycle_is_numbered_by_its_file(tmp_path):
    """Not by the place of its name in a labels.csv that also answers queries."""
    dataset = Dataset(("a", "b"), ("a", "b"), np.arange(10))
    files = AnswerFiles(tmp_path, dataset)
    state = State.initial(np.array([3, 4, 5]), 10).reveal_labels(np.array([0, 1, 0]))
    files.restore_missing_files(state)
    state = state.next_cycle(np.array([6, 7]), {})
    files.labels_file.write_text(
        "index,label,new_class\n6,in query,yes\n3,in correction,yes\n7,a,\n"
    )
    assert not files.accept_corrections(state)
    files.accept_labels_file(state, files.read_labels_file(state))
    corrected, answered = files.read_cycle(state, 0), files.read_cycle(state, 1)
    assert corrected.labels.tolist() == [2, 1, 0]
    assert corrected.class_names == ("a", "b", "in correction")
    assert answered.labels.tolist() == [2, 0] and answered.class_names == ("a", "b", "in query")


def test_a_new_class_changes_no_earlier_answer(tmp_path):
    """An answer by number stays one when a class gets this number as its name."""
    dataset = Dataset(("a", "b"), ("a", "b"), np.arange(10))
    files = AnswerFiles(tmp_path, dataset)
    state = State.initial(np.array([3, 4]), 10)
    files.labels_file.write_text("3,1\n4,0\n")
    files.accept_labels_file(state, files.read_labels_file(state))
    read = files.read_cycle(state, 0)
    assert read.labels.tolist() == [1, 0]
    state = state.reveal_labels(read.labels, read.source).next_cycle(np.array([5]), {})
    grown = AnswerFiles(tmp_path, replace(dataset, class_names=("a", "b", "1")))
    assert grown.find_changes(state) == {}
    assert grown.read_cycle(state.back_to(0), 0).labels.tolist() == [1, 0]


def test_a_link_does_not_take_back_a_correction(tmp_path):
    """Its file still has the answer from before."""
    dataset = Dataset(("a", "b"), ("a", "b"), np.arange(10))
    (tmp_path / "run").mkdir()
    files = AnswerFiles(tmp_path / "run", dataset)
    (tmp_path / "mine.csv").write_text("3,a\n4,b\n")
    files.labels_file.symlink_to("../mine.csv")
    state = State.initial(np.array([3, 4]), 10)
    files.accept_labels_file(state, files.read_labels_file(state))
    read = files.read_cycle(state, 0)
    state = state.reveal_labels(read.labels, read.source).next_cycle(np.array([5]), {})
    files.path(0).write_text("3,b\n4,b\n")
    assert files.find_changes(state) == {0: 1}
    assert not files.accept_corrections(state) and files.read_labels_file(state) is None
    assert files.path(0).read_text() == "3,b\n4,b\n" and files.labels_file.is_symlink()
