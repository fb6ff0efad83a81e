"""Arrays as numpy stores them: one .npz file, or a folder with one .npy file per array, which are
memory-mapped.  Nothing is unpickled."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from utils.errors import UserError


def list_files(root: str) -> list[Path]:
    """The files that `load_arrays` reads."""
    path = Path(os.path.expanduser(root))
    return sorted(path.glob("*.npy")) if path.is_dir() else [path]


def load_arrays(root: str, content: str, dataset: str) -> tuple[dict[str, np.ndarray], str]:
    """The arrays `<content>`, `labels` and, where they exist, `test_<content>` and `test_labels`,
    by these names; and the path that was read, for messages.

    content: "images" or "features"; dataset: name of the data set, for messages.
    Raises UserError where an array is missing or cannot be read."""
    path = Path(os.path.expanduser(root))
    required = (content, "labels")
    optional = (f"test_{content}", "test_labels")
    if path.is_dir():
        arrays = _load_npy_folder(path, (*required, *optional))
    else:
        arrays = _load_npz(path, (*required, *optional), dataset)
    expected = (*required, *(optional if any(name in arrays for name in optional) else ()))
    missing = [name for name in expected if name not in arrays]
    if missing:
        raise UserError(
            f"{path} has no array {missing[0]}; it must contain {content} and labels, and either "
            f"both or neither of test_{content} and test_labels"
        )
    return arrays, str(path)


def _load_npz(path: Path, names: Sequence[str], dataset: str) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UserError(
            f"{path} does not exist; --dataset {dataset} reads the .npz file, or the folder of "
            ".npy files, that --data-root names"
        )
    with _report_read_errors(path):
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise ValueError("it is not an .npz file")
        with stored:
            return {name: stored[name] for name in names if name in stored.files}


def _load_npy_folder(folder: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays that exist, memory-mapped.  Their pages are private, so that changes of an array
    never reach its file."""
    arrays = {}
    for name in names:
        path = folder / f"{name}.npy"
        if path.is_file():
            with _report_read_errors(path):
                arrays[name] = np.load(path, mmap_mode="c", allow_pickle=False)
    return arrays


@contextmanager
def _report_read_errors(path: Path) -> Iterator[None]:
    """Raises UserError, one line, for whatever numpy raises."""
    try:
        yield
    except Exception as error:  # numpy and zipfile raise many kinds
        reason = f"{type(error).__name__}: {error}"
        if "pickle" in str(error):  # numpy's message for any file that it cannot recognise
            reason = "it is neither an .npz nor an .npy file, and nothing is unpickled"
        if "Object arrays" in str(error):
            reason = "it contains pickled objects, and nothing is unpickled; store plain numbers"
        raise UserError(f"{path} cannot be read ({reason})") from None
