"""A data set made ready for a run: images on their device, the initial split, the judges."""

import os
from dataclasses import dataclass

import numpy as np

from data import exported, originals, splits
from data.augment import ImageBatches, channel_statistics
from data.spec import DatasetSpec, Images
from utils.errors import UserError
from utils.options.declare import Option, Part
from utils.options.kinds import not_empty, number, positive
from utils.run.identity import array_digest

VALIDATION_IMAGES = 50  # a class, with --use-val-set


def _check(args) -> None:
    if args.initial_size < 2:
        raise UserError("--initial-size must be at least 2 (default: --al-budget), for batch norm")


def _fits(args, problem: "Problem") -> None:
    images = len(problem.images)
    wanted = args.initial_size + (args.al_nb_cycles - 1) * args.al_budget
    if wanted > images:
        raise UserError(
            f"--al-budget {args.al_budget} over --al-nb-cycles {args.al_nb_cycles} needs {wanted} "
            f"labels, {args.dataset} has {images} training images: ask for less of either"
        )


DATA_ROOT = Option(
    "data_root",
    None,
    "where the data sets are",
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
            derive=lambda args: args.al_budget,
        ),
    ),
    check=_check,
    fits=_fits,
)


@dataclass(frozen=True)
class Oracle:
    """Answers with the data set's own labels.

    labels: (N,) int64, -1 where the data set has none; nothing below main_al.py is given them."""

    labels: np.ndarray

    def answers(self, asked: np.ndarray) -> np.ndarray:
        """The classes (n,) of the images `asked` (n,)."""
        return self.labels[asked]


@dataclass(frozen=True)
class Problem:
    """What active learning is done on.  N: training images, the validation set taken out."""

    images: ImageBatches  # of N
    everything: ImageBatches  # with the validation set, for pre-training, which every split shares
    oracle: Oracle  # of N
    ids: np.ndarray  # (N,) int64, the index in the data set of each training image
    initial: np.ndarray  # indices into images, labeled at the start: the split
    initial_labels: np.ndarray  # their classes
    judges: dict[str, tuple[ImageBatches, np.ndarray]]  # column prefix -> images, labels
    num_classes: int
    channels: int
    size: int  # pixels a side
    class_names: tuple[str, ...]  # of num_classes
    fingerprint: str  # of all pixels and labels, and of nothing else
    paths: tuple[str, ...] | None = None  # by `ids`: the images' files, where each has one
    notices: tuple[str, ...] = ()  # what the user should know of the files, a line each

    @property
    def texts(self) -> dict[str, str]:
        """Files of the run folder that say what the data are, by name."""
        return exported.texts(self)


def load_problem(
    spec: DatasetSpec,
    root: str,
    *,
    name: str,
    split: int = 0,
    size: int,
    drawn: bool = True,
    validation: bool = False,
    rng,
    device,
    **options,
) -> Problem:
    """Read the data set and the split number `split` of `size` labels; nothing is written but, if
    that can be, the checksums of published files beside them.

    drawn: are the first labels a split's?  If not they are asked for later, and `initial` is empty.
    rng draws the validation set; options: the data set's own.  Raises UserError for whatever is
    wrong with either."""
    train, test = spec.read(root, **options)
    chosen, said = np.empty(0, np.int64), []
    if drawn:
        chosen = splits.read_or_balance(name, train.labels, spec.num_classes, size, split)
        said = splits.notices(splits.path_of(name, size, split), train.labels, size, split)
    mean, std = (spec.mean, spec.std) if spec.mean else channel_statistics(train.pixels)
    everything = ImageBatches(train.pixels.to(device), mean, std, spec.max_shift, spec.flip)
    judges = {"": (ImageBatches(test.pixels.to(device), mean, std), test.labels)}
    images, ids = everything, np.arange(len(train.labels))
    if validation:
        held_out = splits.hold_out(train.labels, chosen, VALIDATION_IMAGES, rng)
        ids = np.setdiff1d(ids, held_out)
        images = everything.subset(ids)
        judges["val_"] = (everything.subset(held_out), train.labels[held_out])
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
        class_names=tuple(map(str, range(spec.num_classes))),
        fingerprint=fingerprint(train, test),
        notices=(*originals.notices(name, root, spec.published), *said),
    )


def fingerprint(*parts: Images) -> str:
    """A name for the contents of training and test part."""
    return array_digest(*(a for part in parts for a in (part.pixels.numpy(), part.labels)))
