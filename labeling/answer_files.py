"""The answers of a person in the run folder: how they are accepted, kept and corrected.

    labels.csv                   what the person saves: answers, corrections, or both
    answers/cycle00.csv          the accepted answers of a cycle: that file, moved there in one
                                 step, or copied where labels.csv is a link
    answers/corrections00.csv    a labels.csv that had nothing but corrections

A correction is written into the file of its cycle before labels.csv is moved.  The checkpoint knows
the answers that were accepted, so a run finds what has changed, whoever changed it and whenever it
was killed; a person may as well edit the file of a cycle.
"""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from data.active_dataset import ActiveDataset
from data.state import State
from labeling.answers import Answers, read_answers
from labeling.labels_csv import (
    ANNOTATOR,
    NO_CLASS,
    name_of_label,
    none_answer,
    render_labels_csv,
    skip_answer,
)
from utils.errors import SystemRefusal, UserError
from utils.files import make_folder, os_errors_refused, write_atomically

LABELS_FILE = "labels.csv"
ANSWERS_FOLDER = "answers"
MIN_LABELS = 2  # batch normalisation needs two images


class CycleAnswers(NamedTuple):
    """The answers of one cycle: classes (n,), SKIPPED where the person could not tell, SET_ASIDE
    where the image is of none of them; the names of all classes; the digest of the file; and what a
    second look has changed, image -> class."""

    labels: np.ndarray
    class_names: tuple[str, ...]
    source: str
    second_answers: Mapping[int, int] = MappingProxyType({})


class AcceptedAnswer(NamedTuple):
    """The answer that an image has."""

    image: int  # its position in the training set
    cycle: int  # that queried it
    label: int  # a class, SKIPPED or SET_ASIDE


@dataclass(frozen=True)
class AnswerFiles:
    """The files of answers in the folder of a run.

    dataset: with the classes of the run.
    first_cycle: the first one that a person answers; 1 where the data have the first labels."""

    folder: Path
    dataset: ActiveDataset
    first_cycle: int = 0

    @property
    def labels_file(self) -> Path:
        return self.folder / LABELS_FILE

    def path(self, cycle: int) -> Path:
        """The file of the accepted answers of a cycle."""
        return self.folder / ANSWERS_FOLDER / f"cycle{cycle:02d}.csv"

    def answers_by_index(self, state: State) -> dict[int, AcceptedAnswer]:
        """The answers in the history of a run, by the image's index in the data set."""
        return {
            int(self.dataset.dataset_indices[image]): AcceptedAnswer(int(image), cycle, int(label))
            for cycle, record in enumerate(state.history)
            if cycle >= self.first_cycle and record.answers is not None
            for image, label in zip(record.queried, record.answers, strict=True)
        }

    def answer_digests(self, state: State) -> dict[str, str]:
        """The digests of the files of accepted answers that the run has taken into account, by
        name; of a file that has been edited since, that of before."""
        return {
            self.path(cycle).name: self._answer_digest(state, cycle)
            for cycle, record in enumerate(state.history)
            if cycle >= self.first_cycle and record.answers is not None
        }

    def _answer_digest(self, state: State, cycle: int) -> str:
        record = state.history[cycle]
        try:
            digest = self._digest(cycle)
            is_same = bool((self.read_cycle(state, cycle).labels == record.answers).all())
        except UserError:  # reported at the next start
            is_same = False
        return digest if is_same else record.source

    def read_cycle(self, state: State, cycle: int) -> CycleAnswers:
        """The accepted answers of a cycle, as they are in its file now.

        A file that has not changed means what it meant when it was read first, even if the run has
        got a class since then whose name an answer may stand for.

        Raises UserError if they do not answer exactly the queries, SystemRefusal if the file cannot
        be read."""
        is_current = state.queried is not None and cycle == state.cycle
        queried = state.queried if is_current else state.history[cycle].queried
        assert queried is not None
        source = self._digest(cycle)  # first: the file may be edited meanwhile
        known = self.dataset.all_class_names
        record = state.history[cycle] if cycle < len(state.history) else None
        if record and record.answers is not None and record.source == source:
            return CycleAnswers(record.answers, known, source)
        answers = self._read(self.path(cycle), state, queried)
        second = self._second_answers(state, answers) if is_current else {}
        # Corrections in the same file may name further classes, which are not those of this cycle.
        used = [*answers.labels.tolist(), *second.values()]
        is_used = np.isin(np.arange(len(answers.new_classes)) + len(known), used)
        names = (*known, *compress(answers.new_classes, is_used))
        labels = [self._to_number(answers, label, names) for label in answers.labels.tolist()]
        second = {n: self._to_number(answers, label, names) for n, label in second.items()}
        return CycleAnswers(np.array(labels, dtype=np.int64), names, source, second)

    def _second_answers(self, state: State, answers: Answers) -> dict[int, int]:
        """The corrections of images that are shown again with the current queries: image ->
        label."""
        if not state.awaits_second_looks:
            return {}
        indices = self.dataset.dataset_indices
        return {
            image: answers.corrections[index]
            for image in state.second_looks.images.tolist()
            if (index := int(indices[image])) in answers.corrections
            and state.pool.labels[image] >= 0
        }

    def write_second_answers(self, state: State, answers: CycleAnswers) -> State:
        """The state with the second answers, which are also written into the files of the cycles
        that asked first.

        Raises UserError if too few labels of the first cycle remain."""
        amended = state.amend_labels(answers.second_answers)
        history = list(amended.history)
        for cycle, record in enumerate(state.history[: state.cycle]):
            labels = amended.history[cycle].answers
            if record.answers is None or labels is None or (labels == record.answers).all():
                continue
            texts = [name_of_label(n, answers.class_names) for n in labels.tolist()]
            if cycle == 0:
                check_label_count(int((labels >= 0).sum()), self.path(state.cycle))
            write_atomically(self.path(cycle), self._render(record.queried, texts))
            history[cycle] = replace(amended.history[cycle], source=self._digest(cycle))
        return replace(amended, history=tuple(history))

    def find_disagreements(self, state: State) -> dict[int, str]:
        """The images of earlier cycles that annotators gave different classes: index -> these, in
        words.  A correction or a second answer, which write the file again, settle it."""
        found: dict[int, str] = {}
        for cycle, record in enumerate(state.history[: state.cycle]):
            if cycle < self.first_cycle or record.answers is None:
                continue
            path = self.path(cycle)
            with suppress(UserError, OSError):  # reported where the answers are read
                # Most files have no annotators; the zeros are those of UTF-16.
                if ANNOTATOR.encode() in path.read_bytes().replace(b"\0", b"").lower():
                    found |= self._read(path, state, record.queried).disagreements
        return found

    def find_changes(self, state: State) -> dict[int, int]:
        """Cycle -> number of its answers that are others in its file than in the pool of `state`.

        Images whose second answers are in the file of the current cycle are left out: these
        answers count from this cycle on.

        Raises UserError and SystemRefusal as `read_cycle`."""
        changes = {}
        looks = state.second_looks.images if self._has_second_looks(state) else ()
        for cycle in range(self.first_cycle, state.num_answered_cycles):
            record = state.history[cycle]
            is_other = self.read_cycle(state, cycle).labels != record.answers
            is_other &= ~np.isin(record.queried, looks)
            if count := int(is_other.sum()):
                changes[cycle] = count
        return changes

    def _has_second_looks(self, state: State) -> bool:
        """Whether the current queries, and what is shown again with them, have been answered."""
        return state.awaits_second_looks and self.path(state.cycle).exists()

    def restore_missing_files(self, state: State) -> list[Path]:
        """Write the files of accepted answers that are missing again, from the history.

        -> their paths.  Raises SystemRefusal if one cannot be written."""
        restored = []
        for cycle, record in enumerate(state.history):
            path = self.path(cycle)
            if cycle >= self.first_cycle and record.answers is not None and not path.exists():
                names = self.dataset.class_names
                texts = [name_of_label(n, names) for n in record.answers.tolist()]
                write_atomically(path, self._render(record.queried, texts))
                restored.append(path)
        return restored

    def accept_corrections(self, state: State, is_finished: bool = False) -> bool:
        """Take over a labels.csv that has nothing but corrections of earlier answers.

        -> whether there is one.  A link is left to the queries: its file stays where it is, and
        would take back every later correction.

        is_finished: whether the run has no more queries.  Then UserError names the mistakes in
        labels.csv; otherwise they are named when it is read as answers to the queries."""
        if not has_new_labels_file(self.folder) or not state.history:
            return False
        try:
            answers = self._read(self.labels_file, state, np.empty(0, dtype=np.int64))
        except UserError as error:
            if is_finished or isinstance(error, SystemRefusal):
                raise
            return False
        if not answers.corrections:
            return False
        self._write_corrections(state, answers)
        number = 0
        while (path := self.folder / ANSWERS_FOLDER / f"corrections{number:02d}.csv").exists():
            number += 1
        self._move_labels_file(path)
        return True

    def read_labels_file(self, state: State) -> Answers | None:
        """What labels.csv answers to the queries of `state`; None if it is not there, or if it is a
        link to a file that has only answers to earlier queries.

        Raises UserError naming every mistake, SystemRefusal if it cannot be read."""
        assert state.queried is not None
        if not self.labels_file.exists():
            return None
        if self.labels_file.is_symlink() and state.history:
            try:
                self._read(self.labels_file, state, np.empty(0, dtype=np.int64))
            except UserError as error:
                if isinstance(error, SystemRefusal):
                    raise
            else:
                return None
        return self._read(self.labels_file, state, state.queried)

    def accept_labels_file(self, state: State, answers: Answers) -> None:
        """Write the corrections of labels.csv, and make it the accepted answers of the cycle.

        The second answers stay in it until the run takes them up (`write_second_answers`): a
        run that is killed here must not take them for corrections, which lead back.

        answers: from `read_labels_file`."""
        again = self._second_answers(state, answers)
        indices = {int(self.dataset.dataset_indices[image]) for image in again}
        others = {n: label for n, label in answers.corrections.items() if n not in indices}
        self._write_corrections(state, replace(answers, corrections=others))
        self._move_labels_file(self.path(state.cycle))

    def _digest(self, cycle: int) -> str:
        path = self.path(cycle)
        with os_errors_refused(path, "read"):
            return digest_of_file(path)

    def _read(self, path: Path, state: State, queried: np.ndarray) -> Answers:
        """What a file answers to the queries (n,), with the corrections of earlier answers."""
        accepted = self.answers_by_index(state)
        indices = self.dataset.dataset_indices
        now = {int(index) for index in indices[queried]}
        earlier = {index: one.label for index, one in accepted.items() if index not in now}
        positions = [*map(int, queried), *(one.image for one in accepted.values())]
        paths = self.dataset.image_paths
        return read_answers(
            path,
            indices[queried],
            self.dataset.all_class_names,
            paths={int(indices[n]): paths[n] for n in positions} if paths else {},
            earlier=earlier,
        )

    def _to_number(self, answers: Answers, label: int, names: tuple[str, ...]) -> int:
        """A label in `answers` as a number of the classes `names`."""
        return label if label < 0 else names.index(str(self._name(answers, label)))

    def _name(self, answers: Answers, label: int) -> str | None:
        return name_of_label(label, (*self.dataset.all_class_names, *answers.new_classes))

    def _write_corrections(self, state: State, answers: Answers) -> None:
        """Write corrected answers into the files of their cycles; the others stay as they are."""
        accepted = self.answers_by_index(state)
        by_cycle: dict[int, dict[int, str | None]] = {}
        for index, label in answers.corrections.items():
            name = self._name(answers, label)
            by_cycle.setdefault(accepted[index].cycle, {})[accepted[index].image] = name
        for cycle, corrected in by_cycle.items():
            self._correct_file(state, cycle, corrected)

    def _correct_file(self, state: State, cycle: int, corrected: Mapping[int, str | None]) -> None:
        """corrected: image -> its class, as `name_of_label` gives it."""
        queried, now = state.history[cycle].queried, self.read_cycle(state, cycle)
        texts = [name_of_label(n, now.class_names) for n in now.labels.tolist()]
        merged = [corrected.get(int(n), text) for n, text in zip(queried, texts, strict=True)]
        if merged != texts:
            count = sum(text not in (None, NO_CLASS) for text in merged)
            check_label_count(count if cycle == 0 else MIN_LABELS, self.labels_file)
            write_atomically(self.path(cycle), self._render(queried, merged))

    def _render(self, queried: np.ndarray, texts: list[str | None]) -> bytes:
        """The file of a cycle: its queries (n,) and their classes, from `name_of_label`."""
        names = self.dataset.all_class_names
        words = {None: skip_answer(names), NO_CLASS: none_answer(names)}
        answers = [
            (int(index), words.get(text, str(text)))
            for index, text in zip(self.dataset.dataset_indices[queried], texts, strict=True)
        ]
        new = [text for text in texts if text not in (None, NO_CLASS)]
        added = {name for name in new if name not in self.dataset.data_class_names}
        return render_labels_csv(answers, added, class_names=[n for n in names if n not in added])

    def _move_labels_file(self, target: Path) -> None:
        with os_errors_refused(target):
            make_folder(target.parent)
            if self.labels_file.is_symlink():  # the person's file stays where it is
                write_atomically(target, self.labels_file.read_bytes())
            else:
                os.replace(self.labels_file, target)


def digest_of_file(path: Path) -> str:
    """16 hexadecimal digits of the contents. Raises OSError if the file cannot be read."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def answer_digests(folder: Path) -> dict[str, str]:
    """The digests of the files of accepted answers in a run folder, by name.

    Raises OSError if one cannot be read."""
    return {path.name: digest_of_file(path) for path in (folder / ANSWERS_FOLDER).glob("cycle*")}


def has_new_labels_file(folder: Path) -> bool:
    """Whether a run folder has a labels.csv that was not accepted; one that is a link stays there
    afterwards and does not count."""
    path = folder / LABELS_FILE
    return path.exists() and not path.is_symlink()


def check_label_count(count: int, path: Path) -> None:
    """Raises UserError if the answers of the first cycle in a file are too few to train on."""
    if count < MIN_LABELS:
        raise UserError(
            f"{path} leaves {count} labels of the first cycle, but training needs at least "
            f"{MIN_LABELS}: give the class of more of its images"
        )
