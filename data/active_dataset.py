"""A data set made ready for a run: images on their device, the initial split, the judges."""

import os
from dataclasses import dataclass, replace

import numpy as np

from data import export, splits
from data.augment import ImageBatches, channel_statistics
from data.download import checksums
from data.feature_vectors import VectorBatches
from data.images import fingerprint
from data.memmap import image_batches
from data.spec import DatasetSpec, Found
from utils.errors import UserError
from utils.options.converters import not_empty, number, positive
from utils.options.option import Option, Part

VALIDATION_IMAGES = 50  # a class, with --use-val-set


def _check(args) -> None:
    if args.initial_size is not None and args.initial_size < 2:
        raise UserError("--initial-size must be at least 2 (default: --al-budget), for batch norm")


def _fits(args, problem: "Problem") -> None:
    images = len(problem.images)
    first = len(problem.initial) if args.initial_size is None else args.initial_size
    if first < 2:
        raise UserError(
            f"--initial given finds {first} labels of training images in {args.dataset}: two are "
            "the least, for batch norm"
        )
    wanted = first + (args.al_nb_cycles - 1) * args.al_budget
    if wanted > images:
        raise UserError(
            f"--al-budget {args.al_budget} over --al-nb-cycles {args.al_nb_cycles} needs {wanted} "
            f"labels, {args.dataset} has {images} training images: ask for less of either"
        )


DATA_ROOT = Option(
    "data_root",
    None,
    "where the data sets are; of one's own data the folder or file itself",
    kind=not_empty,
    metavar="FOLDER",
    shown="$AL_DATA_ROOT, else ./downloads",
    identity=False,
    derive=lambda args: os.environ.get("AL_DATA_ROOT") or "./downloads",
)

PROBLEM = Part(
    "data",
    options=(
        DATA_ROOT,
        Option(
            "split",
            0,
            "number of the initial split",
            kind=number(int, at_least=0, below=2**32),  # a seed of numpy's RandomState
            metavar="N",
        ),
        Option(
            "use_val_set",
            False,
            f"hold {VALIDATION_IMAGES} images a class out of training and report on them too",
            kind=bool,
            keyword="validation",
            section="training",
        ),
    ),
)

BUDGET = Part(
    "active learning",
    options=(
        Option("al_budget", 100, "images to label in each cycle", kind=positive, metavar="N"),
        Option("al_nb_cycles", 10, "training cycles", kind=positive, metavar="N", identity=False),
        Option(
            "initial_size",
            None,
            "labels in cycle 0",
            kind=number(int, at_least=2),
            keyword="size",
            metavar="N",
            shown="the budget",
            derive=lambda args: None if args.initial == "given" else args.al_budget,
            when=(lambda args: args.initial != "given", "--initial balanced or a method"),
        ),
    ),
    check=_check,
    fits=_fits,
)


@dataclass(frozen=True)
class Oracle:
    """Answers with the data set's own labels.

    labels: (N,) int64, -1 where unknown; nothing below main_al.py is given them."""

    labels: np.ndarray

    def answers(self, asked: np.ndarray) -> np.ndarray:
        """The classes (n,) of the images `asked` (n,)."""
        return self.labels[asked]


@dataclass(frozen=True)
class Problem:
    """What active learning is done on.  N: training images, the validation set taken out.

    Where the data set has features in place of images, these are VectorBatches."""

    images: ImageBatches | VectorBatches  # of N
    everything: ImageBatches  # with the validation set, for pre-training, which every split shares
    oracle: Oracle  # of N
    ids: np.ndarray  # (N,) int64, the index in the data set of each training image
    initial: np.ndarray  # indices into images, labeled at the start: the split, or what is given
    initial_labels: np.ndarray  # their classes
    judges: dict[str, tuple[ImageBatches, np.ndarray]]  # column prefix -> images, labels
    num_classes: int
    channels: int  # or how many numbers a vector has
    size: int  # pixels a side
    vectors: bool  # features in place of images
    class_names: tuple[str, ...]  # of num_classes
    fingerprint: str  # of all pixels and labels, and of nothing else
    paths: tuple[str, ...] | None = None  # by `ids`: the images' files, where each has one
    notices: tuple[str, ...] = ()  # what the user should know of the files, a line each

    @property
    def texts(self) -> dict[str, str]:
        """Files of the run folder that say what the data are, by name."""
        return export.texts(self)


def load_problem(
    spec: DatasetSpec,
    root: str,
    *,
    name: str,
    split: int = 0,
    size: int,
    drawn: bool = True,
    given: bool = False,
    validation: bool = False,
    rng,
    device,
    **options,
) -> Problem:
    """Read the data set and the split number `split` of `size` labels; nothing is written but, if
    that can be, the checksums of published files beside them.

    drawn: are the first labels a split's?  given: are they all that there are?  If neither they are
    asked for later, and `initial` is empty.  rng draws the validation set; options: the data set's
    own.  Raises UserError for whatever is wrong with either."""
    found = spec.read(root, **options)
    content = found.fingerprint or fingerprint(found.train, found.test)
    folder, train = splits.folder_name(name, content if spec.own else ""), found.train
    spec = replace(spec, **found.facts)
    chosen, said = np.flatnonzero(train.labels >= 0) if given else np.empty(0, np.int64), ()
    if drawn:
        chosen, said = _drawn(folder, train.labels, spec.num_classes, size, split)
    everything, judged = batches_of(spec, found, device)
    judges = {"": (judged, found.test.labels)}
    images, ids = everything, np.arange(len(train.labels))
    if validation:
        ids, judges["val_"] = hold_out(everything, train.labels, chosen, rng)
        images = everything.subset(ids)
    return Problem(
        images=images,
        everything=everything,
        oracle=Oracle(train.labels[ids]),
        ids=ids,
        initial=np.searchsorted(ids, chosen),
        initial_labels=train.labels[chosen],
        judges=judges,
        num_classes=spec.num_classes,
        channels=spec.channels,
        size=spec.size,
        vectors=spec.vectors,
        class_names=found.classes or tuple(map(str, range(spec.num_classes))),
        fingerprint=content,
        paths=found.paths or None,
        notices=(*checksums.notices(name, root, spec.published), *found.notices, *said),
    )


def _drawn(folder: str, labels: np.ndarray, num_classes: int, size: int, split: int):
    """The images of a split, and what the user should know of its file."""
    chosen = splits.read_or_balance(folder, labels, num_classes, size, split)
    return chosen, splits.notices(splits.path_of(folder, size, split), labels, size, split)


def hold_out(everything, labels: np.ndarray, chosen: np.ndarray, rng):
    """Take the validation set out of all images: -> the indices that stay (n,), and the images that
    are held out, with their labels.  chosen: indices of the initial labels, which stay."""
    held_out = splits.hold_out(labels, chosen, VALIDATION_IMAGES, rng)
    stay = np.setdiff1d(np.arange(len(labels)), held_out)
    return stay, (everything.subset(held_out), labels[held_out])


def batches_of(spec: DatasetSpec, found: Found, device):
    """Training and test part as batches on their device."""
    train, test = found.train, found.test
    if spec.vectors:
        return tuple(VectorBatches(part.vectors.to(device)) for part in (train, test))
    mean, std = (spec.mean, spec.std) if spec.mean else channel_statistics(train.pixels)
    return (
        image_batches(train.pixels, mean, std, spec.max_shift, spec.flip, device),
        image_batches(test.pixels, mean, std, 0, False, device),
    )
