"""DICOM files, through the optional package pydicom.

The values are those of the device: stored values times slope plus intercept, which for computed
tomography are Hounsfield units.  The windows that a file proposes for viewing are not applied,
because they differ between files.
"""

from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from data.image_formats import check_pixel_count, require_package
from data.stored_image import ImagePage


def read_dicom(file: IO[bytes], first_only: bool) -> tuple[bool, Iterator[ImagePage]]:
    """Whether the file has several frames, and the frames.

    Raises UnreadableImage where pydicom is not installed."""
    pydicom = require_package("pydicom", "pydicom", "DICOM")
    file.seek(0)
    dataset = pydicom.dcmread(file)
    frames = int(dataset.get("NumberOfFrames") or 1)
    check_pixel_count(int(dataset.Columns), int(dataset.Rows))
    return frames > 1, _read_frames(dataset, 1 if first_only else frames)


def _read_frames(dataset: Any, count: int) -> Iterator[ImagePage]:
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    is_white_zero = dataset.PhotometricInterpretation == "MONOCHROME1"
    for index in range(count):
        values = pixel_array(dataset, index=index)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            values = apply_color_lut(values, dataset)
        elif "ModalityLUTSequence" in dataset:
            values = apply_modality_lut(values, dataset)
        else:
            values = _rescale(
                values,
                float(dataset.get("RescaleSlope", 1)),
                float(dataset.get("RescaleIntercept", 0)),
            )
        yield ImagePage(values, is_white_zero=is_white_zero)


def _rescale(values: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Whole numbers where slope and intercept are whole."""
    if (slope, intercept) == (1, 0):
        return values
    if slope.is_integer() and intercept.is_integer():
        return values.astype(np.int64) * int(slope) + int(intercept)
    return values * np.float64(slope) + intercept
