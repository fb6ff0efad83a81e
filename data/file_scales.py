"""The scale of a folder's files: one for each kind of values that they hold.

Files of 8 bits may stand beside files of larger integers or of floats; each kind has its own scale,
from all files of the kind.  What can be understood in more than one way is refused: integers beside
floats, and 16-bit files that hold pictures of 8 bits beside ones that need many more bits.
--value-range replaces the rule, except for files of 8 bits beside files of another kind.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.value_scale import (
    EIGHT_BITS,
    FLOATS,
    INTEGERS,
    ValueScale,
    infer_scale,
    value_kind,
)
from utils.console import pluralize, to_one_line
from utils.errors import UserError

IDENTITY = ValueScale(0, 255, 0, "8 bits")
MAX_BYTE = 255
MIN_PICTURE_VALUE = 64  # largest value of a file of 8 bits that is not just a dark one
MIN_DEEP_BITS = 12  # of integers that make a picture of 8 bits nearly black
KIND_WORDS = {EIGHT_BITS: "8 bits", INTEGERS: "larger or signed integers", FLOATS: "floats"}


class FileValues(NamedTuple):
    """What one file holds; of 8 bits only the largest value of all files counts."""

    path: Path
    dtype: np.dtype
    smallest: float
    largest: float


def choose_scales(
    files: Sequence[FileValues], given: ValueScale | None
) -> tuple[dict[str, ValueScale], list[str]]:
    """Kind of values -> its scale; and lines for the user about what is not the usual 8 bits.

    given: the scale of --value-range.
    Raises UserError for a mixture that can be understood in more than one way."""
    by_kind: dict[str, list[FileValues]] = {}
    for file in files:
        by_kind.setdefault(value_kind(file.dtype), []).append(file)
    if not given:
        _check_mixture(by_kind)
    scales = {}
    for kind, members in by_kind.items():
        is_beside_others = kind == EIGHT_BITS and len(by_kind) > 1
        scales[kind] = given if given and not is_beside_others else _infer(members)
    return scales, _describe(by_kind, scales)


def usual_scale(scales: Mapping[str, ValueScale], kind: str) -> ValueScale:
    """The scale of a kind; of 8 bits without one, as they are.  Raises KeyError for others."""
    return scales.get(kind, IDENTITY) if kind == EIGHT_BITS else scales[kind]


def _infer(files: list[FileValues]) -> ValueScale:
    dtypes = {file.dtype for file in files}
    dtype = dtypes.pop() if len(dtypes) == 1 else np.dtype(np.int64)
    if value_kind(files[0].dtype) == FLOATS:
        dtype = np.dtype(np.float64)
    return infer_scale(
        dtype, min(file.smallest for file in files), max(file.largest for file in files)
    )


def _check_mixture(by_kind: dict[str, list[FileValues]]) -> None:
    integers, floats = by_kind.get(INTEGERS, []), by_kind.get(FLOATS, [])
    if integers and floats:
        raise UserError(
            f"{_count_and_example(integers)} hold integers and {_count_and_example(floats)} hold "
            "floats, whose values may mean different things; store all alike, or state what "
            "becomes black and white with --value-range LOW,HIGH"
        )
    if not integers or min(file.smallest for file in integers) < 0:
        return
    bits = int(max(file.largest for file in integers)).bit_length()
    dark = [f for f in integers if MIN_PICTURE_VALUE <= f.largest <= MAX_BYTE]
    bright = [f for f in integers if f.largest >= 2 ** (bits - 3)]
    between = [f for f in integers if MAX_BYTE < f.largest < 2 ** (bits - 3)]
    if bits >= MIN_DEEP_BITS and dark and not between:
        raise UserError(
            f"{_count_and_example(dark)} of 16 or more bits hold no value above {MAX_BYTE} and "
            f"{_count_and_example(bright)} need {bits} bits: if the former are pictures of 8 bits, "
            "store all alike; if they are dark, use --value-range LOW,HIGH, such as "
            f"--value-range 0,{2**bits - 1}"
        )


def _describe(by_kind: dict[str, list[FileValues]], scales: dict[str, ValueScale]) -> list[str]:
    changed = {kind: scale for kind, scale in scales.items() if not scale.is_identity}
    if len(by_kind) > 1:
        counts = " and ".join(
            f"{_count_and_example(files)} hold {KIND_WORDS[kind]}"
            for kind, files in by_kind.items()
        )
        rules = "; ".join(f"of {KIND_WORDS[k]}, {scales[k].description}" for k in by_kind)
        return [f"{counts}: {rules} (--value-range sets another range)"]
    return [
        f"pixel {scale.description}; --value-range sets another range" for scale in changed.values()
    ]


def _count_and_example(files: list[FileValues]) -> str:
    return f"{pluralize(len(files), 'file')} ({to_one_line(str(files[0].path))})"
