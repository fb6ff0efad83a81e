"""One scale for a data set: what becomes of the values that cameras, scanners and arrays hold."""

import numpy as np
import pytest

from data.value_scale import infer_scale, scale_from_dict, scale_from_range

CASES = [  # type, smallest, largest -> what these become, and a value between
    ("uint8", 0, 255, {0: 0, 100: 100, 255: 255}),
    ("uint8", 40, 120, {40: 40, 120: 120}),  # a dark picture stays dark
    ("uint8", 0, 16, {0: 0, 8: 128, 16: 255}),  # counts
    ("uint8", 0, 1, {0: 0, 1: 255}),  # a mask
    ("int64", 0, 16, {0: 0, 8: 128, 16: 255}),
    ("float64", 0, 16, {0: 0, 8: 128, 16: 255}),  # scikit-learn's digits
    ("uint8", 0, 0, {0: 0}),
    ("bool", 0, 1, {0: 0, 1: 255}),
    ("uint16", 0, 65535, {0: 0, 256: 1, 65535: 255}),
    ("uint16", 0, 4095, {0: 0, 2048: 128, 4095: 255}),
    ("uint16", 300, 450, {300: 150, 450: 225}),
    ("uint16", 0, 1023, {512: 128, 1023: 255}),
    ("uint16", 0, 255, {0: 0, 77: 77, 255: 255}),  # 8 bits in a file of 16
    ("int32", 0, 255, {77: 77}),
    ("uint32", 0, 2**24, {2**24: 128}),
    ("int16", -1000, 60, {-1000: 0, -470: 128, 60: 255}),  # Hounsfield units
    ("float32", 0.0, 1.0, {0.0: 0, 0.5: 128, 1.0: 255}),
    ("float32", 0.0, 1.0000001, {1.0000001: 255}),
    ("float32", -1.0, 1.0, {-1.0: 0, 0.0: 128, 1.0: 255}),
    ("float64", 0.0, 255.0, {0.0: 0, 77.0: 77, 255.0: 255}),
    ("float32", 270.0, 320.0, {270.0: 0, 300.0: 153, 320.0: 255}),  # a temperature
]


@pytest.mark.parametrize("dtype, smallest, largest, pixels", CASES)
def test_the_scale_follows_from_type_and_range(dtype, smallest, largest, pixels):
    scale = infer_scale(np.dtype(dtype), smallest, largest)
    values = np.array(list(pixels), dtype=dtype)
    assert scale.to_uint8(values).tolist() == list(pixels.values())
    assert scale.to_uint8(values).dtype == np.uint8
    assert scale_from_dict(scale.to_dict()) == scale


def test_a_scale_never_changes_the_order_of_values():
    rng = np.random.default_rng(0)
    for dtype, smallest, largest, _ in CASES:
        values = np.sort(rng.uniform(smallest, largest, 200)).astype(dtype)
        pixels = infer_scale(np.dtype(dtype), smallest, largest).to_uint8(values)
        assert (np.diff(pixels.astype(int)) >= 0).all()


def test_a_given_range_clips():
    scale = scale_from_range(-200, 300)
    assert scale.to_uint8(np.array([-1000, -200, 50, 300, 3000])).tolist() == [0, 0, 128, 255, 255]
    with pytest.raises(ValueError, match="empty"):
        scale_from_range(3, 3)


@pytest.mark.parametrize("smallest, largest", [(np.nan, 1), (0, np.inf)])
def test_numbers_that_are_not_finite_are_refused(smallest, largest):
    with pytest.raises(ValueError, match="finite"):
        infer_scale(np.dtype("float32"), smallest, largest)


def test_text_is_refused():
    with pytest.raises(ValueError, match="not pixels"):
        infer_scale(np.dtype("U3"), 0, 1)
