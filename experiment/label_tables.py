"""Tables of a run folder that follow from the labels.

    inherited.csv        the duplicates of labeled images, with the label that they inherit
    set_aside.csv        the images of none of the classes
    unseen_classes.csv   after each cycle's labels: how many images may be of a class without labels

A table is rewritten as a whole whenever labels are revealed, and removed where it has no rows.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from al_methods import INITIAL_BALANCED, MethodOptions
from data.active_dataset import ActiveDataset
from data.duplicates import inherit_labels
from data.state import SET_ASIDE, State
from data.unseen_classes import MIN_RANDOM_LABELS, UnseenShare, estimate_unseen_share
from labeling.audit import audit_size
from utils.console import log
from utils.files import render_csv
from utils.options.option import OptionValues
from utils.spreadsheets import escape_cell

INHERITED_FILE = "inherited.csv"
INHERITED_COLUMNS = ("cycle", "index", "label", "same_as")
SET_ASIDE_FILE = "set_aside.csv"
SET_ASIDE_COLUMNS = ("cycle", "index", "path", "same_as")
UNSEEN_FILE = "unseen_classes.csv"
UNSEEN_COLUMNS = (
    "cycle",
    "labeled",
    "set_aside",
    "classes",
    "unseen_percent",
    "unseen_low",
    "unseen_high",
    "unseen_images",
    "picks",
)
RANDOM_PICKS, CHOSEN_PICKS = "random", "chosen"
MIN_LABELS_PER_CLASS = 2
WARNING = (
    "the labels cover too few classes: look for the others, for example among images drawn at "
    "random, and name them"
)


def render_label_tables(
    options: OptionValues, dataset: ActiveDataset, state: State
) -> dict[str, bytes | None]:
    """The contents of each table by file name; None where it has no rows."""
    estimates = estimate_unseen(options, dataset, state)
    tables: dict[str, tuple[tuple[str, ...], list[dict[str, Any]]]] = {
        INHERITED_FILE: (INHERITED_COLUMNS, make_inherited_rows(dataset, state)),
        SET_ASIDE_FILE: (SET_ASIDE_COLUMNS, make_set_aside_rows(dataset, state)),
        UNSEEN_FILE: (UNSEEN_COLUMNS, [estimate.to_row() for estimate in estimates]),
    }
    return {
        name: render_csv(header, rows).encode(errors="surrogateescape") if rows else None
        for name, (header, rows) in tables.items()
    }


def make_inherited_rows(dataset: ActiveDataset, state: State) -> list[dict[str, Any]]:
    """One row per inherited label: the cycle whose network chose the labeled image (-1: the first
    labels), index and label of the image that inherits, and the index of the labeled one."""
    groups = dataset.duplicate_groups
    if groups is None:
        return []
    cycles = _cycle_of_image(state)
    inherited = inherit_labels(groups, state.pool.labels, state.pool.labeled_order)
    rows = []
    for image, label, source in zip(*(part.tolist() for part in inherited), strict=True):
        index, same_as = dataset.dataset_indices[[image, source]].tolist()
        values = (cycles[source], index, label, same_as)
        rows.append(dict(zip(INHERITED_COLUMNS, values, strict=True)))
    return sorted(rows, key=lambda row: (row["cycle"], row["index"]))


def make_set_aside_rows(dataset: ActiveDataset, state: State) -> list[dict[str, Any]]:
    """One row per image of none of the classes: the cycle as in `make_inherited_rows`, index, path,
    and of a duplicate the index of the image that the person has seen."""
    cycles, groups, rows = _cycle_of_image(state), dataset.duplicate_groups, []
    for image in state.set_aside_indices.tolist():
        members = np.array([image])
        if groups is not None:
            members = np.flatnonzero(groups == groups[image])
            if (state.pool.labels[members] >= 0).any():  # another one of them has a label
                members = np.array([image])
        for member in members.tolist():
            path = dataset.image_paths[member] if dataset.image_paths else ""
            index, seen = dataset.dataset_indices[[member, image]].tolist()
            values = (cycles[image], index, escape_cell(path), None if member == image else seen)
            rows.append(dict(zip(SET_ASIDE_COLUMNS, values, strict=True)))
    return rows


def _cycle_of_image(state: State) -> dict[int, int]:
    """The cycle whose network chose each queried image; -1 for the first labels."""
    records = state.history[: state.num_answered_cycles]
    return {int(n): cycle - 1 for cycle, record in enumerate(records) for n in record.queried}


@dataclass(frozen=True)
class UnseenClasses:
    """What the labels of the cycles up to one say about classes without a label.

    cycle: the one that is trained with these labels; labeled, set_aside: how many answers there
    are; classes: how many classes have a label; images: how many distinct images have no answer.
    estimate: of the share of these images whose class has no label."""

    cycle: int
    labeled: int
    set_aside: int
    classes: int
    images: int
    estimate: UnseenShare

    def to_row(self) -> dict[str, Any]:
        """A row of unseen_classes.csv."""
        one = self.estimate
        values = (
            *(self.cycle, self.labeled, self.set_aside, self.classes),
            *(f"{100 * part:.1f}" for part in (one.share, one.low, one.high)),
            round(one.share * self.images),
            RANDOM_PICKS if one.is_random else CHOSEN_PICKS,
        )
        return dict(zip(UNSEEN_COLUMNS, values, strict=True))

    @property
    def says_something(self) -> bool:
        """Few random images, or chosen ones with less than two labels per class, say nothing."""
        is_sample = self.estimate.is_random and self.estimate.num_labels >= MIN_RANDOM_LABELS
        num_answers = self.labeled + self.set_aside
        return is_sample or num_answers >= MIN_LABELS_PER_CLASS * self.classes

    @property
    def is_likely(self) -> bool:
        """Whether there are images of classes without a label, rather than perhaps."""
        return self.says_something and self.estimate.low > 0

    def lines(self) -> list[str]:
        """The estimate in words, and the warning if there is reason for it."""
        return [self.describe(), *([WARNING] if self.is_likely else [])]

    def describe(self) -> str:
        """One line for people."""
        one = self.estimate
        classes = "1 class has" if self.classes == 1 else f"{self.classes} classes have"
        if not self.says_something:
            return (
                f"{classes} labels so far. There are too few labels to estimate how many images "
                "are of other classes"
            )
        low, high = round(one.low * self.images), round(one.high * self.images)
        words = (
            f"{classes} labels so far; about {round(one.share * self.images)} of the {self.images} "
            f"other images are of classes without a label ({low} to {high}, 95 % interval)"
        )
        why = "The labeled images were chosen, which makes this estimate too high"
        return words if one.is_random else f"{words}. {why}"


def estimate_unseen(
    options: OptionValues, dataset: ActiveDataset, state: State
) -> list[UnseenClasses]:
    """The estimates after the labels of each cycle; none where the first labels are a balanced
    split, which was drawn by class."""
    initial, method = options.initial, options.of(MethodOptions).al_method
    if initial == INITIAL_BALANCED:
        return []
    found, answers, is_random = [], np.empty(0, dtype=np.int64), np.empty(0, dtype=bool)
    labels = np.full(len(state.pool.labels), -1)
    skipped = np.empty(0, dtype=np.int64)
    for cycle, record in enumerate(state.history[: state.num_answered_cycles]):
        if record.answers is None:
            continue
        chosen_by = method if cycle else initial
        answers = np.concatenate([answers, record.answers])
        audited = audit_size(options) if cycle else 0  # the first ones
        drawn = len(record.answers) if chosen_by == RANDOM_PICKS else audited
        is_random = np.concatenate([is_random, np.arange(len(record.answers)) < drawn])
        labels[record.queried] = record.answers
        skipped = np.concatenate([skipped, record.queried[record.answers < 0]])
        estimate = estimate_unseen_share(answers, is_random)
        if estimate is not None:
            labeled = int((answers >= 0).sum())
            aside, classes = (
                int((answers == SET_ASIDE).sum()),
                len(np.unique(answers[answers >= 0])),
            )
            others = count_without_answer(dataset.duplicate_groups, labels, skipped)
            found.append(UnseenClasses(cycle, labeled, aside, classes, others, estimate))
    return found


def count_without_answer(groups: np.ndarray | None, labels: np.ndarray, skipped: np.ndarray) -> int:
    """How many distinct images have neither a label nor another answer.

    groups: (N,) of duplicates or None; labels: (N,), negative where unknown; skipped: (k,) images
    with another answer."""
    labeled = np.flatnonzero(labels >= 0)
    groups = np.arange(len(labels)) if groups is None else groups
    return len(np.setdiff1d(groups, groups[np.concatenate([labeled, skipped])]))


def describe_unseen_classes(estimates: list[UnseenClasses]) -> list[str]:
    """The last estimate in words, and a warning where some class surely has no label."""
    return [line for last in estimates[-1:] for line in last.lines()]


def log_unseen_classes(estimates: list[UnseenClasses], asks_person: bool) -> None:
    """A line on the last estimate, and a warning where some class surely has no label; in the log
    file alone where a person does not label the images.

    asks_person: whether one does."""
    for last in estimates[-1:]:
        log.log(logging.INFO if asks_person else logging.DEBUG, "%s", last.describe())
        if last.is_likely and asks_person:
            log.warning("%s", WARNING)
