"""Arrays as numpy and other programs store them: one reader per form of file, in READERS.

A reader returns the arrays of a file by name.  Formats that need an optional package name it where
it is missing.  Nothing is unpickled, because a pickle can run any program when it is opened.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data.mat_files import load_mat
from utils.errors import UserError

Arrays = dict[str, np.ndarray]
PICKLED = np.empty(0, object)  # stands for an array of Python objects, which is not read

CLIP_ARRAYS, CLIP_TABLES = "img_emb", "metadata"  # folders that clip-retrieval writes
MATLAB_HDF5 = 2  # major version of files in HDF5, which MATLAB calls 7.3
PICKLED_SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".bin")
SAVE_ADVICE = "numpy.savez('new.npz', images=..., labels=...) or features=..., labels=..."


def list_files(root: str) -> list[Path]:
    """The files that `read_arrays` reads."""
    path = Path(os.path.expanduser(root))
    if not path.is_dir():
        return [path]
    clip = _clip_files(path, CLIP_ARRAYS, "npy") + _clip_files(path, CLIP_TABLES, "parquet")
    return sorted([*path.glob("*.npy"), *clip])


def read_arrays(root: str, dataset: str) -> tuple[Arrays, str]:
    """All arrays of the file or folder that --data-root names, in stored order, and its path.

    dataset: name of the data set, for messages.
    Raises UserError where the file is missing, cannot be read or is of an unknown form."""
    path = Path(os.path.expanduser(root))
    if path.is_dir():
        return _read_folder(path), str(path)
    forms = ", ".join(READERS)
    if not path.is_file():
        raise UserError(
            f"{path} does not exist; --dataset {dataset} reads the file ({forms}), or the folder "
            "of .npy files, that --data-root names"
        )
    suffix, save = path.suffix.lower(), f"save its arrays with {SAVE_ADVICE}"
    if suffix in PICKLED_SUFFIXES:
        raise UserError(
            f"{path} is of a form that can run programs when it is opened; load it where you trust "
            f"it and {save}"
        )
    reader = READERS.get(suffix)
    if reader is None and not _starts_like_numpy(path):
        raise UserError(f"{path} is not of a form that --dataset {dataset} reads ({forms}); {save}")
    with _report_read_errors(path):
        arrays = (reader or _read_npz)(path)
        for name, array in arrays.items():
            _check_text(name, array)
    return arrays, str(path)


def _read_npz(path: Path) -> Arrays:
    stored = np.load(path, allow_pickle=False)
    if not isinstance(stored, np.lib.npyio.NpzFile):
        raise ValueError(
            "it is a single array, not an .npz file; name the folder that has it as images.npy or "
            "features.npy beside labels.npy"
        )
    with stored:
        return {name: _unless_pickled(stored.__getitem__, name) for name in stored.files}


def _check_text(name: str, array: np.ndarray) -> None:
    """Raises ValueError for text that Python could not make a str of."""
    if array.dtype.kind == "U" and array.nbytes:
        code_points = np.dtype(np.uint32).newbyteorder(array.dtype.byteorder)
        if np.ascontiguousarray(array).view(code_points).max() > sys.maxunicode:
            raise ValueError(f"its array {name} has text that is not Unicode")


_map_npy = partial(np.load, mmap_mode="c", allow_pickle=False)


def _unless_pickled(read: Callable[[Any], np.ndarray], name: str | Path) -> np.ndarray:
    """What `read` returns, or PICKLED for an array of Python objects."""
    try:
        return read(name)
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        return PICKLED


def _read_mat(path: Path) -> Arrays:
    """MATLAB files up to version 7.2 by scipy, of version 7.3 (HDF5) by h5py."""
    import scipy.io

    if scipy.io.matlab.matfile_version(path)[0] == MATLAB_HDF5:
        return _read_hdf5(path)
    arrays = {name: array for name, array in load_mat(path).items() if not name.startswith("__")}
    return {
        name: _cells_to_text(array) if array.dtype == object else array
        for name, array in arrays.items()
        if isinstance(array, np.ndarray) and array.dtype.names is None
    }


def _cells_to_text(cells: np.ndarray) -> np.ndarray:
    """A MATLAB cell array of texts -> (n,) text."""
    return np.array([str(np.ravel(cell)[0]) if np.size(cell) else "" for cell in cells.ravel()])


def _read_hdf5(path: Path) -> Arrays:
    """All data sets; those in groups are named by their path, joined with "_"."""
    h5py = _import_optional("h5py", path)
    arrays: Arrays = {}

    def read(name: str, node: Any) -> None:
        if not isinstance(node, h5py.Dataset) or name.startswith("#") or node.dtype.names:
            return
        matlab_class = node.attrs.get("MATLAB_class")
        if h5py.check_string_dtype(node.dtype) is not None:
            array = np.asarray(node.asstr()[()]).astype(str)
        elif node.dtype == object:  # references and sequences of different lengths
            return
        else:
            array = np.asarray(node[()])
        if matlab_class is not None:  # MATLAB stores the axes in reverse order
            array = array.T
        if matlab_class == b"logical":
            array = array.astype(bool)
        arrays[name.replace("/", "_")] = array

    with h5py.File(path, "r") as file:
        file.visititems(read)
    return arrays


def _read_safetensors(path: Path) -> Arrays:
    import torch

    tensors = _import_optional("safetensors.torch", path).load_file(path)
    exotic = {torch.bfloat16, *(getattr(torch, name) for name in dir(torch) if "float8_" in name)}
    return {
        name: (tensor.float() if tensor.dtype in exotic else tensor).numpy()
        for name, tensor in tensors.items()
    }


def _read_parquet(path: Path) -> Arrays:
    """Columns of numbers and texts as (N,), columns of lists of equal length as (N, d)."""
    table = _import_optional("pyarrow.parquet", path).read_table(path)
    columns = (name for name in table.column_names if not name.startswith("__index_level"))
    return {name: _column_to_array(name, table.column(name)) for name in columns}


def _column_to_array(name: str, column: Any) -> np.ndarray:
    kind = str(column.type)
    if kind.startswith("struct"):
        raise ValueError(
            f"its column {name} is not a column of numbers or texts; unpack encoded images into a "
            "folder and use --dataset folder"
        )
    if "list" not in kind:
        array = column.to_numpy()
        if array.dtype != object:
            return array
        empty = "" if any(isinstance(value, str) for value in array) else np.nan
        return np.array([empty if value is None else value for value in array])
    rows = column.to_pylist()
    lengths = {len(row) if row is not None else 0 for row in rows}
    if len(lengths) > 1:
        raise ValueError(f"its column {name} has lists of different lengths")
    return np.array(rows)


def _import_optional(module: str, path: Path) -> Any:
    """The module.  Raises UserError that says how to install it where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise UserError(
            f"{path} needs the package {package}, which is not installed: pip install {package}, "
            f"or save its arrays with {SAVE_ADVICE}"
        ) from None


READERS: dict[str, Callable[[Path], Arrays]] = {
    ".npz": _read_npz,
    ".mat": _read_mat,
    ".parquet": _read_parquet,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".safetensors": _read_safetensors,
}


def _read_folder(folder: Path) -> Arrays:
    """The .npy files of a folder, memory-mapped, and the files of clip-retrieval, joined.

    The mapped pages are private, so that changes of an array never reach its file."""
    arrays: Arrays = {}
    parts: list[np.ndarray] = []
    tables: list[Arrays] = []
    for path in sorted(folder.glob("*.npy")):
        with _report_read_errors(path):
            arrays[path.stem] = _unless_pickled(_map_npy, path)
            _check_text(path.stem, arrays[path.stem])
    for path in _clip_files(folder, CLIP_ARRAYS, "npy"):
        with _report_read_errors(path):
            parts.append(_map_npy(path))
    for path in _clip_files(folder, CLIP_TABLES, "parquet"):
        with _report_read_errors(path):
            tables.append(_read_parquet(path))
    if not parts:
        return arrays
    names = [name for name in tables[0] if all(name in table for table in tables)] if tables else []
    joined = {name: np.concatenate([table[name] for table in tables]) for name in names}
    count = sum(map(len, parts))
    for name, column in joined.items():
        if len(column) != count:
            raise UserError(
                f"{folder / CLIP_ARRAYS} has {count} rows, but column {name} of "
                f"{folder / CLIP_TABLES} has {len(column)}; write both again with clip-retrieval"
            )
    return {CLIP_ARRAYS: parts[0] if len(parts) == 1 else np.concatenate(parts)} | joined | arrays


def _clip_files(folder: Path, name: str, suffix: str) -> list[Path]:
    """The files <name>/<name>_<number>.<suffix>, by number."""
    numbered = {
        int(match[1]): path
        for path in (folder / name).glob(f"*.{suffix}")
        if (match := re.fullmatch(rf"{name}_(\d+)\.{suffix}", path.name))
    }
    return [numbered[number] for number in sorted(numbered)]


def _starts_like_numpy(path: Path) -> bool:
    with _report_read_errors(path), open(path, "rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"\x93NUM")


@contextmanager
def _report_read_errors(path: Path) -> Iterator[None]:
    """Raises UserError, one line, for whatever a reader raises."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # numpy, zipfile and the packages raise many kinds
        reason = f"{type(error).__name__}: {error}"
        if str(error).startswith(("its ", "it is")):  # of this file
            reason = str(error)
        elif "pickle" in str(error):
            reason = "it is neither an .npz nor an .npy file, and nothing is unpickled"
        raise UserError(f"{path} cannot be read ({' '.join(reason.split())})") from None
