"""Balanced splits: which images are labeled at the start.

A split is a pure function of the labels, its size and its number, stored as a text file with one
line per image, index and class: <root>/<dataset>/<size>_balanced_labels/<two digits>.txt.

The root is AL_LABELS_ROOT where it is set.  Otherwise it is data/labels, which holds the splits
that come with the project and those of generate_splits.py, or <out>/splits for splits that
data/labels lacks: a run writes nothing into the checkout.

For the user's own data <dataset> is the name and the start of the fingerprint, so that no two
folders share a split, and a folder that has changed gets splits of its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.console import print_line
from utils.errors import SystemRefusal, UserError
from utils.files import write_atomically

if TYPE_CHECKING:
    from data.active_dataset import ActiveDataset

SHIPPED_ROOT = Path(__file__).parent / "labels"


def split_folder_name(dataset: str, fingerprint: str) -> str:
    """The folder of a data set's splits.

    fingerprint: of the user's own data, "" for published data sets."""
    return f"{dataset}-{fingerprint[:10]}" if fingerprint else dataset


def split_path(folder: str, size: int, number: int, out: str | None = None) -> Path:
    """Where a split is, or where it would be written.

    folder: from `split_folder_name`; out: the --out of a run, None for generate_splits.py."""
    file = Path(folder, f"{size}_balanced_labels", f"{number:02d}.txt")
    if labels_root := os.environ.get("AL_LABELS_ROOT"):
        return Path(labels_root) / file
    if out is None or os.path.exists(SHIPPED_ROOT / file):
        return SHIPPED_ROOT / file
    return Path(out) / "splits" / file


def draw_balanced_split(labels: np.ndarray, size: int, number: int) -> np.ndarray:
    """Indices of `size` images with balanced classes, whose counts differ by at most one.

    labels: (N,) int64, -1 where unknown -> (size,) int64, ascending.
    Raises UserError where a class has too few images."""
    # RandomState, because its streams are frozen (NEP 19).  Generator's may change with numpy, but
    # a split must not.
    rng = np.random.RandomState(number)
    classes, class_sizes = np.unique(labels[labels >= 0], return_counts=True)
    if not len(classes):
        raise UserError(
            "a balanced split needs labels, but no image has one; use another --initial"
        )
    counts = np.full(len(classes), size // len(classes))
    counts[rng.permutation(len(classes))[: size % len(classes)]] += 1
    chosen = []
    for label, count in zip(classes, counts, strict=True):
        members = np.flatnonzero(labels == label)
        if count > len(members):
            raise UserError(
                f"a balanced split of {size} needs {count} images of class {label}, "
                f"but there are {len(members)}; the largest possible size is "
                f"{len(classes) * class_sizes.min()}"
            )
        chosen.append(rng.permutation(members)[:count])
    return np.sort(np.concatenate(chosen))


def format_split(indices: np.ndarray, labels: np.ndarray) -> str:
    """The text of a split file.  indices: (size,); labels: (size,), their classes."""
    return "".join(f"{i} {label}\n" for i, label in zip(indices, labels, strict=True))


def read_split(
    path: Path,
    labels: np.ndarray,
    num_classes: int,
    size: int,
    row_numbers: np.ndarray | None = None,
) -> np.ndarray:
    """The positions (size,) of the images of a split file, in its order, checked against the labels
    (N,) of the data.

    row_numbers: (N,), the index that the file has for each image; None for 0 .. N - 1.
    Raises UserError naming the first invalid line, or for another size."""
    indices: list[int] = []
    positions = None
    if row_numbers is not None:
        positions = {int(row): position for position, row in enumerate(row_numbers)}
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        try:
            row, label = (int(word) for word in line.split())
        except ValueError:
            raise UserError(f"{path} line {number}: {line!r} is not an index and a class") from None
        index = row if positions is None else positions.get(row, -1)
        if positions is not None and index < 0:
            problem = f"index {row} is not a row of the training part"
        elif not 0 <= index < len(labels):
            problem = f"index {row} is outside 0 .. {len(labels) - 1}"
        elif index in indices:
            problem = f"index {row} is repeated"
        elif not 0 <= label < num_classes:
            problem = f"class {label} is outside 0 .. {num_classes - 1}"
        elif label != labels[index]:
            problem = f"image {row} has class {labels[index]} in the data, not {label}"
        else:
            indices.append(index)
            continue
        raise UserError(f"{path} line {number}: {problem}")
    if len(indices) != size:
        count = f"has {len(indices)} images" if indices else "is empty"
        raise UserError(f"{path} {count}, not {size}; delete it and it will be created again")
    return np.array(indices, dtype=np.int64)


def write_split(
    path: Path, labels: np.ndarray, size: int, number: int, row_numbers: np.ndarray | None = None
) -> bool:
    """Write a split file unless it exists; True if it was written.

    labels: (N,) of the data; row_numbers: as in `read_split`.  Raises UserError where the existing
    file is a different split, which is not overwritten."""
    text = _make_split_text(labels, size, number, row_numbers)
    if path.exists():
        if _read_text(path) != text:
            raise UserError(f"{path} exists with different contents; move it away first")
        return False
    write_atomically(path, text.encode())
    return True


def split_warnings(
    path: Path, labels: np.ndarray, size: int, number: int, row_numbers: np.ndarray | None = None
) -> list[str]:
    """A line where the split file is not the split that follows from labels (N,), size and number;
    otherwise none."""
    try:
        expected = _make_split_text(labels, size, number, row_numbers)
        if not path.exists() or _read_text(path) == expected:
            return []
    except UserError:
        pass  # the user's own file, of a size that no balanced split has
    return [f"split {path} is your own, not the one generated for its number"]


def read_or_draw_split(
    path: Path,
    labels: np.ndarray,
    num_classes: int,
    size: int,
    number: int,
    row_numbers: np.ndarray | None = None,
) -> np.ndarray:
    """The positions (size,) of the images of a split: from its file, or drawn where there is none.

    labels: (N,) of the data; row_numbers: as in `read_split`.
    Raises UserError where the file is invalid or a class too small."""
    if path.exists():
        return read_split(path, labels, num_classes, size, row_numbers)
    return draw_balanced_split(labels, size, number)


def _make_split_text(
    labels: np.ndarray, size: int, number: int, row_numbers: np.ndarray | None
) -> str:
    positions = draw_balanced_split(labels, size, number)
    indices = positions if row_numbers is None else row_numbers[positions]
    return format_split(indices, labels[positions])


def _read_text(path: Path) -> str:
    """The text of a split file.  Raises UserError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 text (byte {error.start})"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    raise UserError(f"split {path} {problem}; it must have one line per image, its index and class")


def write_missing_split(path: Path, dataset: ActiveDataset) -> bool:
    """Write the file of a run's split unless it exists, and log it; True if it was written.

    Raises SystemRefusal where it cannot be written."""
    if path.exists():
        return False
    text = format_split(dataset.dataset_indices[dataset.initial_indices], dataset.initial_labels)
    try:
        write_atomically(path, text.encode())
    except SystemRefusal as error:
        raise SystemRefusal(f"split {error}; set AL_LABELS_ROOT to another folder") from None
    print_line(f"created split {path}")
    return True


def draw_validation_set(
    labels: np.ndarray, initial_indices: np.ndarray, per_class: int, rng: np.random.Generator
) -> np.ndarray:
    """A validation set: `per_class` images of each class, none of them initially labeled.

    labels: (N,), -1 where unknown -> ascending indices.  Raises UserError where a class has too few
    other images."""
    free = np.ones(len(labels), dtype=bool)
    free[initial_indices] = False
    chosen = []
    for label in np.unique(labels[labels >= 0]):
        members = np.flatnonzero(free & (labels == label))
        if len(members) < per_class:
            raise UserError(
                f"--use-val-set needs {per_class} images of class {label} that are not among the "
                f"initial labels, but there are {len(members)}"
            )
        chosen.append(rng.permutation(members)[:per_class])
    return np.sort(np.concatenate(chosen))
