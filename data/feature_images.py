"""The images from which feature vectors were computed, for people to look at; they change nothing
else."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.image_decoding import decode_without_scale
from data.image_formats import UnreadableImage
from utils.errors import UserError

SIDE = 96  # pixels of the square that is shown
MISSING_GREY = 128


def find_image_files(
    paths: Sequence[str],
    folder: str | None,
    data_root: Path,
    source: str,
    *,
    recorded_folder: str = "",
) -> tuple[str, ...]:
    """The absolute path of each row's image file, "" where there is none; () where no row has one.

    paths: of the rows, as the file has them, absolute or relative; folder: what they are relative
    to, --images; None for recorded_folder, that of the data and the current one.
    recorded_folder: the one that the features were computed from, where that is known.
    Raises UserError where --images is given and leads to no image."""
    if not paths and folder is not None:
        raise UserError(
            f"--images {folder}: {source} has no array paths that says which row is which image; "
            "add one, or leave --images out"
        )
    beside = data_root if data_root.is_dir() else data_root.parent
    bases = [beside, Path()]
    if folder is not None:
        bases = [Path(folder).expanduser()]
    elif recorded_folder:
        bases.insert(0, Path(recorded_folder))
    files = tuple(_find_file(path, bases) for path in paths)
    if not any(files):
        if folder is not None:
            raise UserError(
                f"--images {folder} has none of the paths of {source}, such as {paths[0]}: give "
                "the folder to which they are relative"
            )
        return ()
    return files


def _find_file(path: str, bases: Sequence[Path]) -> str:
    if not path or "\0" in path:
        return ""
    candidates = (base / path for base in bases)  # an absolute path replaces the base
    try:
        found = next((one for one in candidates if one.is_file()), None)
    except OSError:  # too long for a file name
        return ""
    return str(found.absolute()) if found else ""


class FileImages:
    """Images by position, decoded when they are indexed; grey where there is no readable file."""

    def __init__(self, files: Sequence[str]):
        """files: of the images, "" where there is none."""
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        """(n,) -> (n, 3, SIDE, SIDE) uint8"""
        images = np.full((len(positions), 3, SIDE, SIDE), MISSING_GREY, np.uint8)
        for image, position in zip(images, positions, strict=True):
            pixels = decode_or_none(self.files[int(position)])
            if pixels is not None:
                image[:] = pixels
        return images


def decode_or_none(file: str) -> np.ndarray | None:
    """(3, SIDE, SIDE) uint8; None where the file cannot be read as an image."""
    if not file:
        return None
    try:
        return decode_without_scale(Path(file), SIDE, grey=False)
    except (UnreadableImage, OSError):
        return None
