"""A data set made ready for a run: images on their device, the initial split, the judges."""

import os
from dataclasses import dataclass, replace

import numpy as np

from data import export, splits
from data.augment import ImageStore, channel_statistics
from data.download import checksums
from data.feature_vectors import FeatureStore
from data.images import data_fingerprint
from data.memmap import make_image_store
from data.spec import DatasetSpec, LoadedDataset
from utils.errors import UserError
from utils.options.converters import make_number_type, non_empty_text, positive_integer
from utils.options.option import Condition, OptionGroup, OptionValues, option

VALIDATION_IMAGES_PER_CLASS = 50  # a class, with --use-val-set


def default_data_root() -> str:
    """Where the data sets are unless --data-root says otherwise."""
    return os.environ.get("AL_DATA_ROOT") or "./downloads"


@dataclass(frozen=True)
class DataOptions(OptionGroup):
    """Where the data are, and which of their splits is used."""

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
    """Whether a validation set is split off."""

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
                "--initial-size must be at least 2 (default: --al-budget), for batch normalisation"
            )

    def check_data(self, options: OptionValues, dataset: "ActiveDataset") -> None:
        images = len(dataset.images)
        first = len(dataset.initial_indices) if self.initial_size is None else self.initial_size
        if first < 2:
            raise UserError(
                f"--initial given finds {first} labels of training images in --dataset "
                f"{options.dataset}: at least two are needed, for batch normalisation"
            )
        needed = first + (self.al_nb_cycles - 1) * self.al_budget
        if needed > images:
            raise UserError(
                f"--al-budget {self.al_budget} over --al-nb-cycles {self.al_nb_cycles} needs "
                f"{needed} labels, --dataset {options.dataset} has {images} training images: "
                "lower either"
            )


@dataclass(frozen=True)
class Oracle:
    """Answers with the data set's own labels.

    labels: (N,) int64, -1 where unknown; nothing below main_al.py is given them."""

    labels: np.ndarray

    def query_labels(self, indices: np.ndarray) -> np.ndarray:
        """The classes (n,) of the images `asked` (n,)."""
        return self.labels[indices]


@dataclass(frozen=True)
class ActiveDataset:
    """What active learning is done on.  N: training images, the validation set taken out.

    Where the data set has features in place of images, these are VectorBatches."""

    images: ImageStore | FeatureStore  # of N
    all_images: ImageStore  # with the validation set, for pre-training, which every split shares
    oracle: Oracle  # of N
    dataset_indices: np.ndarray  # (N,) int64, the index in the data set of each training image
    initial_indices: (
        np.ndarray
    )  # indices into images, labeled at the start: the split, or what is given
    initial_labels: np.ndarray  # their classes
    eval_sets: dict[str, tuple[ImageStore, np.ndarray]]  # column prefix -> images, labels
    num_classes: int
    channels: int  # or how many numbers a vector has
    size: int  # pixels a side
    has_feature_vectors: bool  # features in place of images
    class_names: tuple[str, ...]  # of num_classes
    fingerprint: str  # of all pixels and labels, and of nothing else
    image_paths: tuple[str, ...] | None = None  # by `ids`: the images' files, where each has one
    warnings: tuple[str, ...] = ()  # what the user should know of the files, a line each

    @property
    def export_files(self) -> dict[str, str]:
        """Files of the run folder that say what the data are, by name."""
        return export.render_export_files(self)


def load_active_dataset(
    spec: DatasetSpec,
    root: str,
    *,
    name: str,
    split: int = 0,
    size: int,
    from_split: bool = True,
    use_all_labels: bool = False,
    validation: bool = False,
    rng,
    device,
    **options,
) -> ActiveDataset:
    """Read the data set and the split number `split` of `size` labels; nothing is written but, if
    that can be, the checksums of published files beside them.

    drawn: are the first labels a split's?  given: are they all that there are?  If neither they are
    asked for later, and `initial` is empty.  rng draws the validation set; options: the data set's
    own.  Raises UserError for whatever is wrong with either."""
    found = spec.load_and_check(root, **options)
    content = found.fingerprint or data_fingerprint(found.train, found.test)
    folder, train = splits.split_folder_name(name, content if spec.is_custom else ""), found.train
    spec = replace(spec, **found.spec_fields)
    chosen, said = (
        np.flatnonzero(train.labels >= 0) if use_all_labels else np.empty(0, np.int64),
        (),
    )
    if from_split:
        chosen, said = _load_split(folder, train.labels, spec.num_classes, size, split)
    everything, judged = make_stores(spec, found, device)
    judges = {"": (judged, found.test.labels)}
    images, ids = everything, np.arange(len(train.labels))
    if validation:
        ids, judges["val_"] = split_off_validation_set(everything, train.labels, chosen, rng)
        images = everything.subset(ids)
    return ActiveDataset(
        images=images,
        all_images=everything,
        oracle=Oracle(train.labels[ids]),
        dataset_indices=ids,
        initial_indices=np.searchsorted(ids, chosen),
        initial_labels=train.labels[chosen],
        eval_sets=judges,
        num_classes=spec.num_classes,
        channels=spec.channels,
        size=spec.size,
        has_feature_vectors=spec.has_feature_vectors,
        class_names=found.class_names or tuple(map(str, range(spec.num_classes))),
        fingerprint=content,
        image_paths=found.image_paths or None,
        warnings=(
            *checksums.checksum_warnings(name, root, spec.published_md5),
            *found.warnings,
            *said,
        ),
    )


def _load_split(folder: str, labels: np.ndarray, num_classes: int, size: int, split: int):
    """The images of a split, and what the user should know of its file."""
    chosen = splits.read_or_draw_split(folder, labels, num_classes, size, split)
    return chosen, splits.split_warnings(
        splits.split_path(folder, size, split), labels, size, split
    )


def split_off_validation_set(all_images, labels: np.ndarray, chosen: np.ndarray, rng):
    """Take the validation set out of all images: -> the indices that stay (n,), and the images that
    are held out, with their labels.  chosen: indices of the initial labels, which stay."""
    held_out = splits.draw_validation_set(labels, chosen, VALIDATION_IMAGES_PER_CLASS, rng)
    stay = np.setdiff1d(np.arange(len(labels)), held_out)
    return stay, (all_images.subset(held_out), labels[held_out])


def make_stores(spec: DatasetSpec, found: LoadedDataset, device):
    """Training and test part as batches on their device."""
    train, test = found.train, found.test
    if spec.has_feature_vectors:
        return tuple(FeatureStore(part.features.to(device)) for part in (train, test))
    mean, std = (spec.mean, spec.std) if spec.mean else channel_statistics(train.pixels)
    return (
        make_image_store(train.pixels, mean, std, spec.max_shift, spec.flip, device),
        make_image_store(test.pixels, mean, std, 0, False, device),
    )
