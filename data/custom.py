"""Common parts of the readers of the user's own data: which images form the test part, checks of
the classes, and which augmentations are safe when nothing is known about the images."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from data.flip_check import MAX_FLIP_DISTANCE_RATIO, flip_distance_ratio
from data.images import Images
from data.memmap import MemmapImages
from data.value_scale import ValueScale, scale_from_range
from utils.console import pluralize
from utils.errors import UserError
from utils.options.converters import parse_boolean, parse_range, type_or_word
from utils.options.option import OptionGroup, option

MAX_SHIFT_DIVISOR = 8  # max_shift is the side divided by this, as it is for CIFAR and digits
TEST_FRACTION = 0.2  # of each class, where the data have no test part
DEFAULT_OPTIONS: dict[str, Any] = {"arch": "sized_cnn", "lp_k": "auto"}


@dataclass(frozen=True)
class FlipOptions(OptionGroup):
    """Whether images may be flipped."""

    section = "data"
    flip: bool | str = option(
        "auto",
        "Mirror half of the images while training. True: a mirrored image keeps its class. auto: "
        "decided from the images, without labels.",
        type=type_or_word(parse_boolean, auto="auto"),
        metavar="{auto,True,False}",
    )


@dataclass(frozen=True)
class ValueOptions(OptionGroup):
    """What the stored values of pixels mean."""

    section = "data"
    value_range: str | None = option(
        None,
        "The pixel values that become black and white, as LOW,HIGH; values outside are clipped.",
        type=parse_range,
        metavar="LOW,HIGH",
        default_text="from the type and the smallest and largest value of all images",
    )

    @property
    def scale(self) -> ValueScale | None:
        """The scale of --value-range, None without it."""
        if self.value_range is None:
            return None
        low, high = self.value_range.split(",")
        return scale_from_range(float(low), float(high))


def make_test_mask(names: Sequence[Any] | np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which images form the test part: (N,) bool, about a fifth of each class, none of label -1.

    names: (N,) strings or numbers.  A hash of the name alone decides, so that adding an image moves
    no other image to the other part.  One exception: the image of a class with the largest hash
    always stays in the training part, so that no class is without training images."""
    digests = [
        hashlib.sha256(str(name).encode(errors="surrogateescape")).digest() for name in names
    ]
    positions = np.array([int.from_bytes(digest[:6], "big") / 2**48 for digest in digests])
    test = (positions < TEST_FRACTION) & (labels >= 0)
    for label in np.unique(labels[test]):
        members = np.flatnonzero(labels == label)
        test[members[positions[members].argmax()]] = False
    return test


def count_classes(train: np.ndarray, test: np.ndarray, source: str) -> int:
    """The number C of classes 0 .. C-1 in labels, which are -1 where unknown.

    source: where the data are, for messages.  Raises UserError where a class between 0 and the
    largest has no image."""
    known = np.unique(np.concatenate([train, test]))
    known = known[known >= 0]
    if len(known) and known[-1] != len(known) - 1:
        missing = int(np.flatnonzero(known != np.arange(len(known)))[0])
        raise UserError(
            f"the labels of {source} go up to {known[-1]}, but class {missing} has no image; "
            f"number the {len(known)} classes 0 .. {len(known) - 1}"
        )
    return len(known)


def check_classes(
    train: np.ndarray, test: np.ndarray, names: Sequence[str], source: str, part: str = "test"
) -> None:
    """Raises UserError where fewer than two classes have images, or there are no test images, or
    test images of classes that cannot be learned.

    train, test: labels, -1 where unknown; names: of the classes; source: for messages.
    part: the name of the part `test`."""
    known = np.union1d(train[train >= 0], test)
    if len(known) < 2:
        classes = pluralize(len(known), "class")
        problem = f"{source} has {classes} with images; at least two are needed"
        if unknown := int((train < 0).sum()):
            problem += f"; {unknown} labels are -1 or missing, which means unknown: number the "
            problem += "classes from 0 on"
        raise UserError(problem)
    if not len(test):
        raise UserError(
            f"{source} has no test part, and too few images to use a fifth of them for testing; "
            "add a test part"
        )
    test_only = np.setdiff1d(test, train)
    if len(test_only) and (train >= 0).all():
        examples = ", ".join(repr(names[label]) for label in test_only[:5])
        raise UserError(
            f"the {part} part of {source} has images of {len(test_only)} classes that the "
            f"training part lacks: {examples}"
        )


def infer_spec_fields(
    train: Images, test: Images, class_names: Sequence[str], flip: bool, source: str
) -> dict[str, Any]:
    """The fields that data.spec.DatasetSpec leaves open, from the images.

    source: where they are, for messages.  Raises UserError where the images are not squares of one
    shape."""
    _, channels, height, width = train.pixels.shape
    if height != width:
        raise UserError(
            f"the images of {source} are {height} x {width} pixels; crop or pad them to squares "
            "(images, height, width, channels)"
        )
    if train.pixels.shape[1:] != test.pixels.shape[1:]:
        shapes = " and ".join(str(tuple(part.pixels.shape[1:])) for part in (train, test))
        raise UserError(f"training and test images of {source} have different shapes: {shapes}")
    return {
        "num_classes": len(class_names),
        "channels": channels,
        "size": height,
        "max_shift": height // MAX_SHIFT_DIVISOR,
        "flip": flip,
    }


def resolve_flip(
    pixels: torch.Tensor | MemmapImages, flip: bool | str
) -> tuple[bool, tuple[str, ...]]:
    """Whether to flip images during training; and a line for the user where "auto" decides to.

    pixels: (N, C, H, W) uint8 of the training images; flip: True, False or "auto"."""
    if isinstance(flip, bool):
        return flip, ()
    if flip_distance_ratio(pixels) > MAX_FLIP_DISTANCE_RATIO:
        return False, ()
    return True, (
        "mirror images look like images of this data set: half of the images are mirrored while "
        "training (--flip False: none)",
    )
