"""A data set prepared for a run: images on their device, the initial split, the evaluation sets."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch

from data import export, splits
from data.augment import ImageStore, channel_statistics
from data.download import checksums
from data.feature_vectors import Features, FeatureStore
from data.images import Images, data_fingerprint
from data.memmap import make_image_store
from data.overview import CONTACT_SHEET_FILE, DataOverview, look_at_images
from data.spec import DatasetSpec, LoadedDataset
from utils.errors import UserError
from utils.options.converters import make_number_type, non_empty_text, positive_integer
from utils.options.option import Condition, OptionGroup, OptionValues, option

Store: TypeAlias = ImageStore | FeatureStore

VALIDATION_IMAGES_PER_CLASS = 50  # with --use-val-set


def default_data_root() -> str:
    """Where the data sets are without --data-root."""
    return os.environ.get("AL_DATA_ROOT") or "./downloads"


@dataclass(frozen=True)
class DataOptions(OptionGroup):
    """Where the data are, and which split is used."""

    section = "data"
    data_root: str = option(
        None,
        "Folder of the data sets; for your own data, the folder or file itself.",
        type=non_empty_text,
        metavar="FOLDER",
        default_text="$AL_DATA_ROOT, else ./downloads",
        identity=False,
        default_from=lambda options: default_data_root(),
    )
    split: int = option(
        0,
        "Number of the split: which images are labeled at the start.",
        type=make_number_type(int, at_least=0, below=2**32),  # a seed of numpy's RandomState
        metavar="N",
    )


@dataclass(frozen=True)
class ValidationOptions(OptionGroup):
    """Whether a validation set is split off from the training images."""

    section = "training"
    use_val_set: bool = option(
        False,
        f"Hold {VALIDATION_IMAGES_PER_CLASS} images per class out of training and report the "
        "accuracy on them as well.",
    )


@dataclass(frozen=True)
class BudgetOptions(OptionGroup):
    """How many labels are queried, and when."""

    section = "active learning"
    al_budget: int = option(
        100, "Number of images to label per cycle.", type=positive_integer, metavar="N"
    )
    al_nb_cycles: int = option(
        10, "Number of training cycles.", type=positive_integer, metavar="N", identity=False
    )
    initial_size: int | None = option(
        None,
        "Number of labels in the first cycle.",
        type=make_number_type(int, at_least=2),
        metavar="N",
        default_text="the budget",
        default_from=lambda options: None if options.initial == "given" else options.al_budget,
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
        if needed > images:
            raise UserError(
                f"--al-budget {self.al_budget} with --al-nb-cycles {self.al_nb_cycles} needs "
                f"{needed} labels, but --dataset {options.dataset} has {images} training images; "
                "lower one of the two"
            )


@dataclass(frozen=True)
class Oracle:
    """Answers queries with the true labels of the data set.

    labels: (N,) int64, -1 where unknown; no code below main_al.py receives them."""

    labels: np.ndarray

    def query_labels(self, indices: np.ndarray) -> np.ndarray:
        """The classes (n,) of the queried images `indices` (n,)."""
        return self.labels[indices]


@dataclass(frozen=True)
class ActiveDataset:
    """A data set for active learning.  N: training images without the validation set.

    Where the data set has feature vectors, every store is a FeatureStore."""

    images: Store  # N training images
    all_images: Store  # also those of the validation set; pre-training uses all, for every split
    oracle: Oracle  # for N
    dataset_indices: np.ndarray  # (N,) int64, index in the data set of each training image
    initial_indices: np.ndarray  # (n,) into images; labeled at the start, by a split or --initial
    initial_labels: np.ndarray  # (n,) their classes
    eval_sets: dict[str, tuple[Store, np.ndarray]]  # column prefix -> images, labels
    num_classes: int
    channels: int  # for feature vectors their dimension
    size: int  # side in pixels
    has_feature_vectors: bool  # features instead of images
    class_names: tuple[str, ...]  # num_classes of them
    fingerprint: str  # of all pixels and labels, and of nothing else
    image_paths: tuple[str, ...] | None = None  # by index in the data set; None without files
    warnings: tuple[str, ...] = ()  # for the user, one line each
    overview: DataOverview | None = None  # of a user's own images

    @property
    def notes(self) -> tuple[str, ...]:
        """What the data hold, for the log."""
        return self.overview.lines if self.overview else ()

    @property
    def export_files(self) -> dict[str, bytes]:
        """Files for the run folder that describe the data: name -> content."""
        texts = export.render_export_files(self)
        files = {name: text.encode() for name, text in texts.items()}
        return files | ({CONTACT_SHEET_FILE: self.overview.contact_sheet} if self.overview else {})


def load_active_dataset(
    spec: DatasetSpec,
    root: str,
    *,
    name: str,
    split: int = 0,
    size: int | None,
    from_split: bool = True,
    use_all_labels: bool = False,
    validation: bool = False,
    rng: np.random.Generator,
    device: torch.device | str,
    out: str | None = None,
    **options: Any,
) -> ActiveDataset:
    """Read the data set and its split.  Nothing is written except, where possible, the checksums of
    published files beside them.

    root: the data root; name: of the data set.
    split, size: number and size of the split; size is None without a split.
    out: folder of runs whose splits are also used.
    from_split: whether the initial labels are those of a split; use_all_labels: whether they are
    all known labels.  With neither there are no initial labels yet.
    validation: whether to split off a validation set, which `rng` draws.
    options: the data set's own groups of options.
    Raises UserError for faults of the data or the split."""
    loaded = spec.load_and_check(root, **options)
    train, test = loaded.train, loaded.test
    fingerprint = loaded.fingerprint or data_fingerprint(train, test)
    folder = splits.split_folder_name(name, fingerprint if spec.is_custom else "")
    facts = loaded.spec_fields
    num_classes = facts["num_classes"]
    initial = np.empty(0, np.int64)
    split_warnings: list[str] = []
    if from_split:
        assert size is not None  # only --initial given has no size
        path = splits.split_path(folder, size, split, out)
        initial = splits.read_or_draw_split(path, train.labels, num_classes, size, split)
        split_warnings = splits.split_warnings(path, train.labels, size, split)
    elif use_all_labels:
        initial = np.flatnonzero(train.labels >= 0)
    all_images, test_images = make_stores(replace(spec, **facts), loaded, device)
    eval_sets = {"": (test_images, test.labels)}
    images, indices = all_images, np.arange(len(train.labels))
    if validation:
        indices, eval_sets["val_"] = split_off_validation_set(
            all_images, train.labels, initial, rng
        )
        images = all_images.subset(indices)
    overview = None
    if spec.is_custom and isinstance(train, Images) and isinstance(test, Images):
        overview = look_at_images(train, test, loaded.class_names)
    return ActiveDataset(
        images=images,
        all_images=all_images,
        oracle=Oracle(train.labels[indices]),
        dataset_indices=indices,
        initial_indices=np.searchsorted(indices, initial),
        initial_labels=train.labels[initial],
        eval_sets=eval_sets,
        num_classes=num_classes,
        channels=facts["channels"],
        size=facts["size"],
        has_feature_vectors=spec.has_feature_vectors,
        class_names=loaded.class_names or tuple(map(str, range(num_classes))),
        fingerprint=fingerprint,
        image_paths=loaded.image_paths or None,
        warnings=(
            *checksums.checksum_warnings(name, root, spec.published_md5),
            *loaded.warnings,
            *(overview.warnings if overview else ()),
            *split_warnings,
        ),
        overview=overview,
    )


def split_off_validation_set(
    all_images: Store, labels: np.ndarray, initial: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[Store, np.ndarray]]:
    """Take the validation set out of all images (M).

    labels: (M,), -1 where unknown; initial: indices of the initial labels, which stay.
    -> the indices (N,) that stay, and the validation images with their labels."""
    validation = splits.draw_validation_set(labels, initial, VALIDATION_IMAGES_PER_CLASS, rng)
    remaining = np.setdiff1d(np.arange(len(labels)), validation)
    return remaining, (all_images.subset(validation), labels[validation])


def make_stores(
    spec: DatasetSpec, loaded: LoadedDataset, device: torch.device | str
) -> tuple[Store, Store]:
    """The training and the test part on their device; only the training part is augmented."""
    train, test = loaded.train, loaded.test
    if isinstance(train, Features):
        assert isinstance(test, Features)
        return FeatureStore(train.features.to(device)), FeatureStore(test.features.to(device))
    assert isinstance(test, Images)
    mean, std = spec.mean, spec.std
    if mean is None or std is None:
        mean, std = map(tuple, channel_statistics(train.pixels))
    max_shift, flip = spec.max_shift or 0, bool(spec.flip)
    return (
        make_image_store(train.pixels, mean, std, max_shift, flip, device),
        make_image_store(test.pixels, mean, std, 0, False, device),
    )
