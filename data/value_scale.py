"""From the values that a data set stores to pixels of 8 bits: one scale for all of its images.

Cameras, X-ray and CT devices store 10, 12 or 14 bits in files of 16, Hounsfield units below zero,
or floats; masks use 0 and 1 of 256 values.  A scale per image would hide differences of brightness
between images, and the scale of the file format would make most of these images black.  The scale
follows from the type and the smallest and largest value of the whole data set:

    bool                   0 and 1 -> 0 and 255
    8-bit integers         unchanged
    integers and floats    where no value is below 0 or above SMALL_VALUE, and floats are not within
                           [0, 1]: 0 .. largest -> 0 .. 255
    larger integers >= 0   the upper 8 bits of the fewest bits, at least 8, that hold the largest
    integers below zero    smallest .. largest -> 0 .. 255
    floats                 the first of [0, 1], [-1, 1], [0, 255] that holds all values, up to
                           TOLERANCE for rounding; else smallest .. largest -> 0 .. 255

A range that the user gives (--value-range) replaces the rule; values outside are clipped.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

SMALL_VALUE = 31  # largest value up to which images are counts or masks, not pictures
EIGHT_BITS, INTEGERS, FLOATS = "8 bits", "integers", "floats"  # kinds of values, each with a scale
TOLERANCE = 1e-3
FLOAT_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))


@dataclass(frozen=True)
class ValueScale:
    """low .. high becomes 0 .. 255.

    shift: values are shifted right by this many bits, None for a linear scale; reason: of the
    choice, for the log."""

    low: float
    high: float
    shift: int | None
    reason: str

    def to_uint8(self, values: np.ndarray) -> np.ndarray:
        """Values of any shape and numeric type -> uint8 of that shape; the others are clipped."""
        if self.shift is not None:
            return np.clip(values.astype(np.int64) >> self.shift, 0, 255).astype(np.uint8)
        scaled = (values.astype(np.float64) - self.low) * (255 / (self.high - self.low))
        return np.clip(np.round(scaled), 0, 255).astype(np.uint8)

    @property
    def is_identity(self) -> bool:
        """Whether 8-bit values stay as they are."""
        return self.shift == 0

    @property
    def description(self) -> str:
        """For the log: "values 0 to 4095 become 0 to 255 (the largest needs 12 bits)"."""
        return f"values {self.low:g} to {self.high:g} become 0 to 255 ({self.reason})"

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for preprocessing.json."""
        return {"low": self.low, "high": self.high, "shift": self.shift, "reason": self.reason}


def value_kind(dtype: np.dtype) -> str:
    """The kind of values of this type, which share a scale: "8 bits", "integers" or "floats"."""
    if dtype.kind == "f":
        return FLOATS
    return EIGHT_BITS if dtype.kind == "b" or dtype == np.uint8 else INTEGERS


def scale_from_dict(plain: dict[str, Any]) -> ValueScale:
    """The scale that `to_dict` gave.  Raises ValueError or TypeError for anything else."""
    scale = ValueScale(**plain)
    low, high, shift = float(scale.low), float(scale.high), scale.shift
    if shift is None and not -math.inf < low < high < math.inf:
        raise ValueError(f"the range {low:g} to {high:g} is empty")
    if shift is not None and (type(shift) is not int or not 0 <= shift < 64):
        raise ValueError(f"values cannot be shifted by {shift} bits")
    return scale


def scale_from_range(low: float, high: float) -> ValueScale:
    """The scale of --value-range LOW HIGH.  Raises ValueError unless low < high."""
    if not low < high:
        raise ValueError(f"the range {low:g} to {high:g} is empty")
    return ValueScale(float(low), float(high), None, "--value-range")


def infer_scale(dtype: np.dtype, smallest: float, largest: float) -> ValueScale:
    """The scale for values of this type between smallest and largest, both finite.

    Raises ValueError for a type that is not numeric, and for numbers that are not finite."""
    kind = np.dtype(dtype).kind
    if kind not in "biuf":
        raise ValueError(f"values of type {dtype} are not pixels")
    if not np.isfinite([smallest, largest]).all():
        raise ValueError("a value is not finite")
    if kind == "b":
        return ValueScale(0, 1, None, "black and white")
    if kind == "f":
        return _float_scale(smallest, largest)
    if smallest < 0:
        return _linear_scale(smallest, largest, "there are values below zero")
    if 0 < largest <= SMALL_VALUE:
        return _linear_scale(0, largest, f"no value is above {largest:g}")
    bits = max(int(largest).bit_length(), 8)
    return ValueScale(
        0, 2**bits - 1, bits - 8, f"the largest value, {largest:g}, needs {bits} bits"
    )


def _float_scale(smallest: float, largest: float) -> ValueScale:
    if smallest >= 0 and 1 + TOLERANCE < largest <= SMALL_VALUE:
        return _linear_scale(0, largest, f"no value is above {largest:g}")
    for low, high in FLOAT_RANGES:
        if low - TOLERANCE <= smallest and largest <= high + TOLERANCE:
            return ValueScale(low, high, None, "floats within this range")
    return _linear_scale(smallest, largest, "the smallest and the largest float")


def _linear_scale(low: float, high: float, reason: str) -> ValueScale:
    return ValueScale(float(low), float(max(high, low + 1)), None, reason)
