"""Arrays as numpy stores them: one .npz file, or a folder with a .npy file for each, which then are
memory-mapped.  Nothing is unpickled."""

import os
from pathlib import Path

import numpy as np

from utils.errors import UserError


def list_files(root: str) -> list[Path]:
    """What would be read."""
    path = Path(os.path.expanduser(root))
    return sorted(path.glob("*.npy")) if path.is_dir() else [path]


def load_arrays(root: str, what: str, name: str) -> tuple[dict[str, np.ndarray], str]:
    """The arrays `what`, `labels` and, where they are there, `test_<what>` and `test_labels`, by
    these names; and where they are, for messages.

    name: of the data set.  Raises UserError where something is missing or cannot be read."""
    path, wanted = Path(os.path.expanduser(root)), (what, "labels", f"test_{what}", "test_labels")
    if path.is_dir():
        found = {key: _load_memmap(path / f"{key}.npy") for key in wanted}
        found = {key: array for key, array in found.items() if array is not None}
    else:
        found = _load_npz(path, wanted, name)
    missing = [key for key in wanted[:2] if key not in found]
    if missing or (wanted[2] in found) != (wanted[3] in found):
        lacks = missing[0] if missing else next(key for key in wanted[2:] if key not in found)
        raise UserError(
            f"{path} holds no {lacks}: {what} and labels are right, and test_{what} and "
            "test_labels or neither"
        )
    return found, str(path)


def _load_npz(path: Path, wanted, name: str) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UserError(
            f"{path} is not there: --dataset {name} reads the .npz file, or the folder of .npy "
            "files, that --data-root names"
        )
    with _ReportReadErrors(path):
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise ValueError("it is no .npz file")
        with stored:
            return {key: stored[key] for key in wanted if key in stored.files}


def _load_memmap(path: Path) -> np.ndarray | None:
    """The array of a file; None where there is none.  Its pages are private: nothing that is done
    to the array reaches the file."""
    if not path.is_file():
        return None
    with _ReportReadErrors(path):
        return np.load(path, mmap_mode="c", allow_pickle=False)


class _ReportReadErrors:
    """What numpy raises becomes one line."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace) -> None:
        if not isinstance(error, Exception):  # of many kinds
            return
        why = f"{type(error).__name__}: {error}"
        if "pickle" in str(error):  # what numpy says of any file that is none of its own
            why = "it is neither an .npz nor an .npy file, and nothing is unpickled"
        if "Object arrays" in str(error):
            why = "it holds pickled objects, and nothing is unpickled: store arrays of numbers"
        raise UserError(f"{self.path} cannot be read ({why})") from None
