"""A data set prepared for a run: images on their device, the initial split, the evaluation sets."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from data import export, splits
from data.augment import ImageStore
from data.budget import VALIDATION_IMAGES_PER_CLASS
from data.download import checksums
from data.duplicates import describe_groups, find_representatives, subset_groups
from data.feature_images import decode_or_none
from data.images import Images, data_fingerprint
from data.memmap import MemmapImages
from data.overview import CONTACT_SHEET_FILE, DataOverview, look_at_images
from data.spec import DatasetSpec, LoadedDataset
from data.stores import Store, make_stores, make_validation_store
from data.value_scale import ValueScale
from utils.errors import UserError
from utils.options.converters import make_number_type, non_empty_text
from utils.options.option import OptionGroup, option

# Images that a run does not learn from, their indices (n,) as the user knows them, paths or ids.
HeldOutPart: TypeAlias = tuple[Store, np.ndarray, tuple[str, ...] | None]


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
    # (N,) int64, index of each training image as the user knows it: the row of the user's file
    # where the reader says so, else the position in the training part
    dataset_indices: np.ndarray
    initial_indices: np.ndarray  # (n,) into images; labeled at the start, by a split or --initial
    initial_labels: np.ndarray  # (n,) their classes
    eval_sets: dict[str, tuple[Store, np.ndarray]]  # column prefix -> images, labels
    num_classes: int
    channels: int  # for feature vectors their dimension
    size: int  # side in pixels
    has_feature_vectors: bool  # features instead of images
    class_names: tuple[str, ...]  # num_classes of them; a run may add some to those of the data
    fingerprint: str  # of all pixels and labels, of row numbers, and of nothing else
    image_paths: tuple[str, ...] | None = None  # N paths or ids; None without
    warnings: tuple[str, ...] = ()  # for the user, one line each
    overview: DataOverview | None = None  # of a user's own images
    image_files: tuple[str, ...] | None = None  # N files to look at, for feature vectors; or ""
    shown_pixels: Any = None  # (N, C, S, S), in the place of image_files where there are no files
    contents_fingerprint: str = ""  # without row numbers, as earlier versions computed it
    preprocessing: Mapping[str, Any] = field(default_factory=dict)  # for preprocessing.json
    # "validation" and "test", where these are rows of the user's file or of the training part
    held_out: Mapping[str, HeldOutPart] = field(default_factory=dict)
    value_scales: Mapping[str, ValueScale] = field(default_factory=dict)  # as in LoadedDataset
    page: str = "first"  # as in LoadedDataset
    # The classes of the data; by their numbers where they have no names.
    data_class_names: tuple[str, ...] = ()
    has_class_names: bool = False  # whether the data name their classes
    # (N,) int64, position of the first image of each one's group of duplicates (data.duplicates);
    # None where all images are distinct, or each is queried by itself.
    duplicate_groups: np.ndarray | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the data hold, for the log."""
        lines = self.overview.lines if self.overview else ()
        if self.duplicate_groups is not None:
            lines = (*lines, *describe_groups(self.duplicate_groups, self.oracle.labels))
        return lines

    def count_queryable(self) -> int:
        """How many images can be queried after the first labels."""
        if self.duplicate_groups is None:
            return len(self.images) - len(self.initial_indices)
        labels = np.full(len(self.images), -1)
        labels[self.initial_indices] = self.initial_labels
        representatives = find_representatives(self.duplicate_groups, labels)
        return len(representatives) - len(self.initial_indices)

    @property
    def export_files(self) -> dict[str, bytes]:
        """Files for the run folder that describe the data: name -> content."""
        texts = export.render_export_files(self)
        files = {name: text.encode() for name, text in texts.items()}
        return files | ({CONTACT_SHEET_FILE: self.overview.contact_sheet} if self.overview else {})

    def pixels_to_show(self, positions: np.ndarray) -> list[np.ndarray | None]:
        """The training images at these positions (n,) for a person to look at: pixels (C, H, W)
        uint8, as the run uses them; None where there is no image, or no readable one."""
        if isinstance(self.images, ImageStore):
            return list(self.images.subset(positions).pixels.cpu().numpy())
        if self.shown_pixels is not None:
            return list(self.shown_pixels[positions].numpy())
        if self.image_files:
            return [decode_or_none(self.image_files[position]) for position in positions]
        return [None] * len(positions)

    @property
    def all_class_names(self) -> tuple[str, ...]:
        """`class_names`, and then the classes that only the data have: new class folders."""
        known = {normalize_name(name) for name in self.class_names}
        added = [name for name in self.data_class_names if normalize_name(name) not in known]
        return (*self.class_names, *added)

    def with_classes(self, class_names: tuple[str, ...]) -> ActiveDataset:
        """The same data with these classes, at least those that have images.

        Raises UserError where a class that has images has another number in `class_names`."""
        labels = np.concatenate([self.oracle.labels, *(y for _, y in self.eval_sets.values())])
        for label in np.unique(labels[labels >= 0]):
            name = self.data_class_names[label]
            expected = class_names[label] if label < len(class_names) else None
            if expected is None or normalize_name(name) != normalize_name(expected):
                raise UserError(
                    f"class {label} of the data is {name!r}, but the run began with {expected!r}: "
                    "give the classes their earlier order, or use another --run-dir"
                )
        return replace(self, class_names=class_names, num_classes=len(class_names))


def normalize_name(name: str) -> str:
    """Without surrounding blanks, and with one encoding of accents; file systems have several."""
    return unicodedata.normalize("NFC", name.strip())


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
    loaded: LoadedDataset | None = None,
    train_digests: Sequence[bytes] | None = None,
    duplicate_groups: np.ndarray | None = None,
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
    loaded: what the reader returned, where it has been called; None: it is called here.
    train_digests, duplicate_groups: of all training images, from data.duplicates; None: none.
    options: the data set's own groups of options.
    Raises UserError for faults of the data or the split."""
    loaded = loaded or spec.load_and_check(root, **options)
    train, rows = loaded.train, loaded.row_numbers
    fingerprint = loaded.fingerprint or data_fingerprint(train, loaded.test)
    facts, split_size = loaded.spec_fields, size if from_split else None
    path = _split_path(name, spec, fingerprint, split_size, split, out)
    initial, split_warnings = _find_initial_indices(path, loaded, size, split, use_all_labels)
    all_images, test_images = make_stores(replace(spec, **facts), loaded, device)
    drawn = _draw_validation_set(loaded, root, initial, rng) if validation else initial[:0]
    indices = np.setdiff1d(np.arange(len(train.labels)), drawn)
    eval_sets, held_out = _make_evaluated_parts(loaded, all_images, test_images, drawn)
    overview = _look_at_own_images(spec, loaded, train_digests)
    class_names = loaded.class_names or tuple(map(str, range(facts["num_classes"])))
    return ActiveDataset(
        images=all_images.subset(indices) if validation else all_images,
        all_images=all_images,
        oracle=Oracle(train.labels[indices]),
        dataset_indices=indices if rows is None else rows[indices],
        initial_indices=np.searchsorted(indices, initial),
        initial_labels=train.labels[initial],
        eval_sets=eval_sets,
        num_classes=facts["num_classes"],
        channels=facts["channels"],
        size=facts["size"],
        has_feature_vectors=spec.has_feature_vectors,
        class_names=class_names,
        data_class_names=class_names,
        has_class_names=bool(loaded.class_names),
        fingerprint=fingerprint,
        **_image_fields(loaded, indices),
        contents_fingerprint=loaded.contents_fingerprint or fingerprint,
        preprocessing=loaded.preprocessing,
        held_out=held_out,
        warnings=_data_warnings(spec, root, name, loaded, overview) + tuple(split_warnings),
        overview=overview,
        value_scales=loaded.value_scales,
        page=loaded.page,
        duplicate_groups=subset_groups(duplicate_groups, indices),
    )


def _split_path(
    name: str, spec: DatasetSpec, fingerprint: str, size: int | None, split: int, out: str | None
) -> Path | None:
    """The file of a split, None without a size; a user's own data have a folder by fingerprint."""
    if not size:
        return None
    folder = splits.split_folder_name(name, fingerprint if spec.is_custom else "")
    return splits.split_path(folder, size, split, out)


def _image_fields(loaded: LoadedDataset, indices: np.ndarray) -> dict[str, Any]:
    """What people see of the training images at these positions (n,): fields of ActiveDataset."""
    return {
        "image_paths": _choose(loaded.image_paths, indices),
        "image_files": _choose(loaded.image_files, indices),
        "shown_pixels": _choose_pixels(loaded.shown_pixels, indices),
    }


def _draw_validation_set(
    loaded: LoadedDataset, root: str, initial: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The training images (n,) of the validation set.

    Raises UserError where the data have a validation part of their own."""
    if loaded.validation is not None:
        raise UserError(
            f"{root} has a validation part of its own: leave --use-val-set out, or move the "
            "part out of the folder"
        )
    return splits.draw_validation_set(
        loaded.train.labels, initial, VALIDATION_IMAGES_PER_CLASS, rng
    )


def _data_warnings(
    spec: DatasetSpec, root: str, name: str, loaded: LoadedDataset, overview: DataOverview | None
) -> tuple[str, ...]:
    """Lines on what is odd about the files and the images."""
    checksum_lines = checksums.checksum_warnings(name, root, spec.published_md5)
    own_lines = overview.warnings if overview else ()
    return (*checksum_lines, *loaded.notes, *loaded.warnings, *own_lines)


def _choose(texts: tuple[str, ...], indices: np.ndarray) -> tuple[str, ...] | None:
    """The texts at these positions; None where there are no texts."""
    return tuple(texts[index] for index in indices) if texts else None


def _choose_pixels(pixels: Any, indices: np.ndarray) -> Any:
    """The images at these positions; all of them where they are all, without a copy."""
    if pixels is None or len(pixels) == len(indices):
        return pixels
    return pixels.subset(indices) if isinstance(pixels, MemmapImages) else pixels[indices]


def _find_initial_indices(
    path: Path | None, loaded: LoadedDataset, size: int | None, split: int, use_all_labels: bool
) -> tuple[np.ndarray, list[str]]:
    """The images (n,) that are labeled at the start; lines on what is odd.

    path: of the split's file, drawn if it is missing; None without a split."""
    labels, rows = loaded.train.labels, loaded.row_numbers
    if path is None:
        return (np.flatnonzero(labels >= 0) if use_all_labels else np.empty(0, np.int64)), []
    assert size is not None  # only --initial given has no size
    num_classes = loaded.spec_fields["num_classes"]
    initial = splits.read_or_draw_split(path, labels, num_classes, size, split, rows)
    return initial, splits.split_warnings(path, labels, size, split, rows)


def _look_at_own_images(
    spec: DatasetSpec, loaded: LoadedDataset, digests: Sequence[bytes] | None
) -> DataOverview | None:
    """None for published data sets and for features."""
    train, test = loaded.train, loaded.test
    if spec.is_custom and isinstance(train, Images) and isinstance(test, Images):
        return look_at_images(train, test, loaded.class_names, digests)
    return None


def _make_evaluated_parts(
    loaded: LoadedDataset, all_images: Store, test_images: Store, drawn: np.ndarray
) -> tuple[dict[str, tuple[Store, np.ndarray]], dict[str, HeldOutPart]]:
    """`eval_sets` and `held_out` of ActiveDataset.

    drawn: (n,) of all images that are the validation set; none without one, or with a validation
    part of the data."""
    labels, rows = loaded.train.labels, loaded.row_numbers
    eval_sets = {"": (test_images, loaded.test.labels)}
    held_out: dict[str, HeldOutPart] = {}
    if loaded.validation is not None:
        eval_sets["val_"] = make_validation_store(all_images, loaded.validation)
    elif len(drawn):
        store = all_images.subset(drawn)
        eval_sets["val_"] = store, labels[drawn]
        held_out["validation"] = (
            store,
            drawn if rows is None else rows[drawn],
            _choose(loaded.image_paths, drawn),
        )
    if loaded.test_row_numbers is not None:
        held_out["test"] = (test_images, loaded.test_row_numbers, loaded.test_paths or None)
    return eval_sets, held_out
