"""How many labels a run queries: the options, and defaults that fit the size of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data.duplicates import ASK_EACH
from utils.errors import UserError
from utils.options.converters import make_number_type, positive_integer
from utils.options.option import Condition, OptionGroup, OptionValues, option

if TYPE_CHECKING:
    from data.active_dataset import ActiveDataset

VALIDATION_IMAGES_PER_CLASS = 50  # with --use-val-set


class DataSize(NamedTuple):
    """What default values of options depend on (utils.options.schema.fit_defaults_to_data).

    images: for training, without the validation set; known: of them with a class; class_sizes: the
    number of known images of each class.
    duplicates: images that are not the first of their group (data.duplicates).
    is_table: whether the data are rows of numbers that belong to no image."""

    images: int
    known: int
    class_sizes: tuple[int, ...]
    duplicates: int = 0
    is_table: bool = False

    @property
    def distinct(self) -> int:
        """How many images can be queried, where duplicates inherit their label."""
        return self.images - self.duplicates

    @staticmethod
    def of(
        labels: np.ndarray,
        num_classes: int,
        validation: bool,
        groups: np.ndarray | None = None,
        is_table: bool = False,
    ) -> DataSize:
        """labels: (N,) of the training part, -1 where unknown; validation: whether a validation set
        is split off; groups: (N,) of duplicates, None where all images are distinct."""
        sizes = np.bincount(labels[labels >= 0], minlength=num_classes)
        if validation:
            sizes = sizes - VALIDATION_IMAGES_PER_CLASS * (sizes > 0)
        known = int(sizes.sum())
        images = known + int((labels < 0).sum())
        duplicates = 0 if groups is None else len(groups) - len(np.unique(groups))
        return DataSize(images, known, tuple(sizes.tolist()), duplicates, is_table)


def _first_label_count(options: OptionValues, data: DataSize) -> int | None:
    """The number of first labels where the data or the user decide it, otherwise None."""
    if options.initial == "given":
        return data.known
    return options.initial_size if options.is_explicit("initial_size") else None


def _queryable(options: OptionValues, data: DataSize) -> int:
    """How many images can be queried."""
    return data.images if options.duplicates == ASK_EACH else data.distinct


def _fitting_budget(options: OptionValues, data: DataSize) -> int:
    """--al-budget, or what leaves enough images for all cycles."""
    cycles, images = options.al_nb_cycles, _queryable(options, data)
    room = images // cycles
    first = _first_label_count(options, data)
    if first is not None:
        if first >= images:
            return options.al_budget  # nothing is left to query: the check refuses the run
        room = (images - first) // max(cycles - 1, 1)
    return max(min(options.al_budget, room), 1)


def _fitting_cycles(options: OptionValues, data: DataSize) -> int:
    """--al-nb-cycles, or as many as there are images for."""
    first, images = _first_label_count(options, data), _queryable(options, data)
    if first is None:
        first = options.al_budget
    elif first >= images:
        return options.al_nb_cycles
    return max(min(options.al_nb_cycles, 1 + (images - first) // options.al_budget), 1)


def _fitting_initial_size(options: OptionValues, data: DataSize) -> int | None:
    """The budget, or the largest balanced split."""
    if options.initial == "given":
        return None
    size: int = options.al_budget
    sizes = [count for count in data.class_sizes if count > 0]
    if options.initial == "balanced" and sizes:
        size = min(size, len(sizes) * min(sizes))
    return max(size, 2) if size < options.initial_size else options.initial_size


@dataclass(frozen=True)
class BudgetOptions(OptionGroup):
    """How many labels are queried, and when."""

    section = "active learning"
    al_budget: int = option(
        100,
        "Number of images to label per cycle.",
        type=positive_integer,
        metavar="N",
        default_for_data=_fitting_budget,
    )
    al_nb_cycles: int = option(
        10,
        "Number of training cycles.",
        type=positive_integer,
        metavar="N",
        identity=False,
        default_for_data=_fitting_cycles,
    )
    initial_size: int | None = option(
        None,
        "Number of labels in the first cycle.",
        type=make_number_type(int, at_least=2),
        metavar="N",
        default_text="the budget",
        default_from=lambda options: None if options.initial == "given" else options.al_budget,
        default_for_data=_fitting_initial_size,
        read_if=Condition(
            lambda options: options.initial != "given", "--initial balanced or a method"
        ),
    )

    def check(self, options: OptionValues) -> None:
        if self.initial_size is not None and self.initial_size < 2:
            raise UserError(
                "--initial-size (default: --al-budget) must be at least 2, because batch "
                "normalisation needs two images"
            )

    def check_data(self, options: OptionValues, dataset: ActiveDataset) -> None:
        images = len(dataset.images)
        first = len(dataset.initial_indices) if self.initial_size is None else self.initial_size
        if first < 2:
            raise UserError(
                f"--initial given: --dataset {options.dataset} has {first} labels of training "
                "images, but batch normalisation needs at least two"
            )
        needed = first + (self.al_nb_cycles - 1) * self.al_budget
        # Duplicates of an image that is labeled at the start are not queried.
        left = dataset.count_queryable()
        if needed - len(dataset.initial_indices) > left:
            distinct = ""
            if dataset.duplicate_groups is not None:
                distinct = f" ({left} without duplicates, which --duplicates ask-each also queries)"
            raise UserError(
                f"--al-budget {self.al_budget} with --al-nb-cycles {self.al_nb_cycles} needs "
                f"{needed} labels, but --dataset {options.dataset} has {images} training images"
                f"{distinct}; lower one of the two"
            )
