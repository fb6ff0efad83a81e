"""What is the same for all data of the user's own: which images are held out for the test, the
classes, and what augmentation may do when nothing is known of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.flip_check import MAX_FLIP_DISTANCE_RATIO, flip_distance_ratio
from utils.errors import UserError
from utils.options.converters import parse_boolean, type_or_word
from utils.options.option import OptionGroup, option

MAX_SHIFT_DIVISOR = (
    8  # the side of an image over the most pixels that it is shifted by, as in CIFAR and digits
)
TEST_FRACTION = 0.2  # of each class, where there is no test part
DEFAULT_OPTIONS = {"arch": "sized_cnn", "lp_k": "auto"}


@dataclass(frozen=True)
class FlipOptions(OptionGroup):
    """Whether images may be mirrored."""

    section = "data"
    flip: bool | str = option(
        "auto",
        "Mirror half of the images while training. True: a mirrored image keeps its class. auto: "
        "decided from the images, without labels.",
        type=type_or_word(parse_boolean, auto="auto"),
        metavar="{auto,True,False}",
    )


def make_test_mask(names: Sequence, labels: np.ndarray) -> np.ndarray:
    """Which images are the test part: (N,) bool, about a fifth of each class, none of label -1.

    names: (N,) strings or numbers, of which a hash alone decides, so that adding an image moves no
    other; only the image of a class that comes last in this order always stays in training, so that
    no class is without."""
    hashed = [hashlib.sha256(str(name).encode(errors="surrogateescape")).digest() for name in names]
    places = np.array([int.from_bytes(digest[:6], "big") / 2**48 for digest in hashed])
    test = (places < TEST_FRACTION) & (labels >= 0)
    for label in np.unique(labels[test]):
        members = np.flatnonzero(labels == label)
        test[members[places[members].argmax()]] = False
    return test


def count_classes(train: np.ndarray, test: np.ndarray, where: str) -> int:
    """The number of classes 0 .. C-1 of labels, -1 where unknown.

    Raises UserError where a number in between is no image's."""
    known = np.unique(np.concatenate([train, test]))
    known = known[known >= 0]
    if len(known) and known[-1] != len(known) - 1:
        missing = int(np.flatnonzero(known != np.arange(len(known)))[0])
        raise UserError(
            f"the labels of {where} run up to {known[-1]}, but no image is of class {missing}: "
            f"number the {len(known)} classes 0 .. {len(known) - 1}"
        )
    return len(known)


def check_classes(train: np.ndarray, test: np.ndarray, names: Sequence[str], where: str) -> None:
    """Raises UserError where there are no two classes, nothing to test on, or classes to test on
    that cannot be learned.  names: of the classes."""
    if len(names) < 2:
        raise UserError(f"{where} has {len(names)} classes with images: two are the least")
    if not len(test):
        raise UserError(
            f"{where} has no test part, and too few images for a fifth of them: add a test part"
        )
    lacking = np.setdiff1d(test, train)
    if len(lacking) and (train >= 0).all():
        shown = ", ".join(repr(names[label]) for label in lacking[:5])
        raise UserError(
            f"the test part of {where} has images of {len(lacking)} classes that the training part "
            f"lacks: {shown}"
        )


def infer_spec_fields(train, test, class_names: Sequence[str], flip: bool, where: str) -> dict:
    """What data.spec.DatasetSpec leaves to the data, of images; train, test: data.images.Images."""
    _, channels, height, width = train.pixels.shape
    if height != width:
        raise UserError(
            f"the images of {where} are {height} x {width} pixels: crop or pad them to squares "
            "(images, height, width, channels)"
        )
    if train.pixels.shape[1:] != test.pixels.shape[1:]:
        shapes = " and ".join(str(tuple(part.pixels.shape[1:])) for part in (train, test))
        raise UserError(f"training and test images of {where} differ: {shapes}")
    return {
        "num_classes": len(class_names),
        "channels": channels,
        "size": height,
        "max_shift": height // MAX_SHIFT_DIVISOR,
        "flip": flip,
    }


def resolve_flip(pixels, flip: bool | str) -> tuple[bool, tuple[str, ...]]:
    """Are images mirrored while training?  And a line on it, where "auto" decides that they are.
    pixels: (N, C, H, W) uint8 of the training images."""
    if flip != "auto":
        return flip, ()
    if flip_distance_ratio(pixels) > MAX_FLIP_DISTANCE_RATIO:
        return False, ()
    line = "mirror images could be of this data: half of the images are mirrored while training"
    return True, (f"{line} (--flip False: none)",)
