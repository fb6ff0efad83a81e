"""Images of one size in a file, one after the other, until all have been read.

Only then is it known what scale their values have and whether all of them are grey.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from data.file_scales import FileValues, usual_scale
from data.image_decoding import read_image
from data.image_formats import UnreadableImage
from data.stored_image import FittedImage, StoredImage, fit_image
from data.value_scale import EIGHT_BITS, SMALL_VALUE, ValueScale
from utils.console import EpochProgressBar


class _Record(NamedTuple):
    """How an image stands in the spool: the fields of FittedImage without its planes."""

    kind: str
    is_float: bool
    planes: int
    has_opacity: bool
    is_white_zero: bool

    @property
    def is_grey(self) -> bool:
        return self.planes - self.has_opacity == 1


class ImageSpool:
    """Images of one size in an open file, one after the other, until their scale is known."""

    def __init__(self, file: IO[bytes], size: int, bytes_as_values: bool = False):
        """bytes_as_values: images of 8 bits wait for a scale, too."""
        file.seek(0)
        file.truncate()
        self.file, self.size, self.bytes_as_values = file, size, bytes_as_values
        self.records: list[_Record] = []
        self.sides: Counter[int] = Counter()
        self.values: list[FileValues] = []
        self.unreadable: dict[int, str] = {}
        self.several_pages: list[Path] = []
        self._largest_byte = -1.0

    def read_files(self, paths: Sequence[Path], page: str) -> None:
        """Read the files in their order."""
        with EpochProgressBar(range(len(paths)), "reading images") as progress:
            for number in progress:
                try:
                    image = read_image(paths[number], page)
                except UnreadableImage as error:
                    self.unreadable[number] = str(error)
                    continue
                self._append(image, paths[number])
        self.file.flush()

    def _append(self, image: StoredImage, path: Path) -> None:
        self.sides[image.side] += 1
        fitted = fit_image(image, self.size, self.bytes_as_values)
        planes = fitted.planes
        self.file.write(planes.tobytes())
        self.records.append(
            _Record(
                fitted.kind,
                planes.dtype != np.uint8,
                len(planes),
                fitted.has_opacity,
                fitted.is_white_zero,
            )
        )
        largest = image.largest
        if fitted.kind == EIGHT_BITS and self._largest_byte <= SMALL_VALUE:
            largest = self._largest_byte = max(self._largest_byte, image.find_largest())
        self.values.append(FileValues(path, image.dtype, image.smallest, largest))
        if image.has_several_pages:
            self.several_pages.append(path)

    def render(self, scales: Mapping[str, ValueScale], grey: bool, folder: Path | None) -> None:
        """Replace the content of the file by pixels of 8 bits, unless it is just that."""
        planes = 1 if grey else 3
        if all(not record.is_float and record.planes == planes for record in self.records):
            return
        self.file.seek(0)
        with tempfile.TemporaryFile(dir=folder) as rendered:
            for record in self.records:
                dtype = np.dtype(np.float32 if record.is_float else np.uint8)
                shape = (record.planes, self.size, self.size)
                content = self.file.read(dtype.itemsize * int(np.prod(shape)))
                fitted = FittedImage(
                    np.frombuffer(content, dtype).reshape(shape),
                    record.kind,
                    record.has_opacity,
                    record.is_white_zero,
                )
                pixels = fitted.render(usual_scale(scales, record.kind), grey)
                rendered.write(pixels.tobytes())
            rendered.seek(0)
            self.file.seek(0)
            self.file.truncate()
            shutil.copyfileobj(rendered, self.file)
        self.file.flush()
