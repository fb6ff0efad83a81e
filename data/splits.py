"""Balanced splits: which images are labeled at the start.

A split is a pure function of the labels, its size and its number, kept as a text file of a line an
image, index and class, in data/labels/<dataset>/<size>_balanced_labels/<two digits>.txt (or below
AL_LABELS_ROOT).  Of the user's own data <dataset> is the name and the start of the fingerprint: two
folders share no split, and one that has changed has splits of its own.
"""

import os
from pathlib import Path

import numpy as np

from utils.console import print_line
from utils.errors import SystemRefusal, UserError
from utils.files import write_atomically


def split_folder_name(dataset: str, fingerprint: str) -> str:
    """The folder of a data set's splits; fingerprint: of the user's own data, "" for others."""
    return f"{dataset}-{fingerprint[:10]}" if fingerprint else dataset


def split_path(dataset: str, size: int, number: int) -> Path:
    """Where the split's file is or would be."""
    root = os.environ.get("AL_LABELS_ROOT") or Path(__file__).parent / "labels"
    return Path(root) / dataset / f"{size}_balanced_labels" / f"{number:02d}.txt"


def draw_balanced_split(labels: np.ndarray, size: int, number: int) -> np.ndarray:
    """Indices of `size` images, as many of each class as can be, at most one apart.

    labels: (N,) int64, -1 where unknown -> (size,) int64, ascending.  Raises UserError where a
    class is too small."""
    # RandomState's streams are frozen for good (NEP 19); Generator's may change with numpy, and a
    # split must not.
    rng = np.random.RandomState(number)
    classes, members_of = np.unique(labels[labels >= 0], return_counts=True)
    if not len(classes):
        raise UserError(
            "a balanced split needs labels, and no image has one: use another --initial"
        )
    counts = np.full(len(classes), size // len(classes))
    counts[rng.permutation(len(classes))[: size % len(classes)]] += 1
    chosen = []
    for label, count in zip(classes, counts, strict=True):
        members = np.flatnonzero(labels == label)
        if count > len(members):
            raise UserError(
                f"a balanced split of {size} needs {count} images of class {label}, "
                f"which has {len(members)}: at most {len(classes) * members_of.min()} fit"
            )
        chosen.append(rng.permutation(members)[:count])
    return np.sort(np.concatenate(chosen))


def format_split(indices: np.ndarray, labels: np.ndarray) -> str:
    """The text of a split's file.  indices: (size,), labels: (size,), their classes."""
    return "".join(f"{i} {label}\n" for i, label in zip(indices, labels, strict=True))


def read_split(path: Path, labels: np.ndarray, num_classes: int, size: int) -> np.ndarray:
    """The indices of a split's file, checked against the data.  Raises UserError with its line."""
    indices = []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        try:
            index, label = (int(word) for word in line.split())
        except ValueError:
            raise UserError(f"{path} line {number}: {line!r} is not an index and a class") from None
        if not 0 <= index < len(labels):
            problem = f"index {index} is outside 0 .. {len(labels) - 1}"
        elif index in indices:
            problem = f"index {index} stands here twice"
        elif not 0 <= label < num_classes:
            problem = f"there is no class {label}, only 0 .. {num_classes - 1}"
        elif label != labels[index]:
            problem = f"image {index} is of class {labels[index]} in the data, not {label}"
        else:
            indices.append(index)
            continue
        raise UserError(f"{path} line {number}: {problem}")
    if len(indices) != size:
        count = f"has {len(indices)} images" if indices else "is empty"
        raise UserError(f"{path} {count}, not {size}: delete it and it is made anew")
    return np.array(indices, dtype=np.int64)


def write_split(path: Path, labels: np.ndarray, size: int, number: int) -> bool:
    """Write the split's file unless it is there already; True if it was written.

    Raises UserError where the file there is another split: nothing is overwritten."""
    text = _make_split_text(labels, size, number)
    if path.exists():
        if _read_text(path) != text:
            raise UserError(f"{path} is there with other contents: move it away first")
        return False
    write_atomically(path, text.encode())
    return True


def split_warnings(path: Path, labels: np.ndarray, size: int, number: int) -> list[str]:
    """What the user should know of a split's file: a line where it is another than would be made
    of the labels, size and number, or none."""
    try:
        if not path.exists() or _read_text(path) == _make_split_text(labels, size, number):
            return []
    except UserError:
        pass  # no balanced split of this size can be made
    return [f"split {path} is your own, not the one that is made for its number"]


def read_or_draw_split(dataset: str, labels: np.ndarray, num_classes: int, size: int, number: int):
    """The indices of a split: of its file, or what the file will hold where it is missing."""
    path = split_path(dataset, size, number)
    return (
        read_split(path, labels, num_classes, size)
        if path.exists()
        else draw_balanced_split(labels, size, number)
    )


def _make_split_text(labels: np.ndarray, size: int, number: int) -> str:
    indices = draw_balanced_split(labels, size, number)
    return format_split(indices, labels[indices])


def _read_text(path: Path) -> str:
    """What is in a split's file.  Raises UserError where that is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        found = f"is not text in UTF-8 (byte {error.start})"
    except OSError as error:
        found = f"cannot be read ({error.strerror})"
    raise UserError(f"split {path} {found}: a line an image is right, its index and class")


def write_missing_split(path: Path, problem) -> bool:
    """Write a split's file where it is missing, and say so; True if it was written.

    problem: data.active_dataset.Problem"""
    if path.exists():
        return False
    text = format_split(problem.dataset_indices[problem.initial_indices], problem.initial_labels)
    try:
        write_atomically(path, text.encode())
    except SystemRefusal as error:
        raise SystemRefusal(f"split {error}: set AL_LABELS_ROOT") from None
    print_line(f"made the missing split {path}")
    return True


def draw_validation_set(labels: np.ndarray, kept: np.ndarray, per_class: int, rng) -> np.ndarray:
    """A validation set: `per_class` images of each class, none of `kept` (the initial labels).

    labels: (N,) -> ascending indices.  Raises UserError where a class has too few others."""
    free = np.ones(len(labels), dtype=bool)
    free[kept] = False
    chosen = []
    for label in np.unique(labels[labels >= 0]):
        members = np.flatnonzero(free & (labels == label))
        if len(members) < per_class:
            raise UserError(
                f"--use-val-set needs {per_class} images of class {label} beside the initial "
                f"labels, there are {len(members)}"
            )
        chosen.append(rng.permutation(members)[:per_class])
    return np.sort(np.concatenate(chosen))
