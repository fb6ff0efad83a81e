"""Labels as other projects store them -> class numbers 0 .. C-1 and names of the classes.

(N,), (N, 1), (1, N) or one-hot (N, C); integers, floats that are whole numbers, booleans or texts.
Unknown: -1, NaN, an empty text, a row of zeros of a one-hot array.  The classes are the distinct
values in their order; numbers need not begin at 0, and their values are the names.
"""

from typing import Any

import numpy as np

from data.array_roles import PICKLED_CURE, is_onehot
from utils.errors import UserError

MISSING_TEXTS = ("", "nan", "none", "null", "<na>")


def read_labels(
    labels: np.ndarray | None,
    count: int,
    test_labels: np.ndarray | None,
    test_count: int,
    class_names: np.ndarray | None,
    source: str,
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Class numbers (count,) and (test_count,), int64 and -1 where unknown, and the class names.

    labels: None where all are unknown; class_names: None where the file has none.
    Raises UserError naming the first invalid label."""
    test_source = f"the test part of {source}"
    values = np.full(count, np.nan) if labels is None else _read_values(labels, count, source)
    tests = np.empty(0) if test_labels is None else _read_values(test_labels, test_count, source)
    if test_labels is not None and (unknown := _unknown_mask(tests)).any():
        raise UserError(
            f"label {unknown.argmax()} of {test_source} is -1 or missing; leave its row out, "
            "because the test part needs all labels"
        )
    if (
        labels is not None
        and len(tests)
        and (values.dtype.kind == "U") != (tests.dtype.kind == "U")
    ):
        raise UserError(f"{source}: the labels of one part are texts and of the other numbers")
    known = np.concatenate([values[~_unknown_mask(values)], tests])
    distinct = np.unique(known)
    names = None if class_names is None else _read_class_names(class_names, source)
    ordered, shown = _order_classes(distinct, names, source)
    return _to_class_numbers(values, ordered), _to_class_numbers(tests, ordered), shown


def _read_values(labels: np.ndarray, count: int, source: str) -> np.ndarray:
    """(count,) float64 with NaN where unknown, or text with "" where unknown."""
    labels = np.asarray(labels)
    if labels.dtype == object:
        raise UserError(f"the labels of {source}: the array {PICKLED_CURE}")
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.shape[0] != 1:
        return _read_onehot(labels, count, source)
    if labels.ndim > 1 and labels.size != max(labels.shape):
        raise UserError(f"the labels of {source} have shape {labels.shape}, not (N,) or (N, 1)")
    labels = labels.reshape(-1)
    if len(labels) != count or not count:
        raise UserError(
            f"{source}: {count} images but {len(labels)} labels; one label per image is needed, "
            "and at least one image"
        )
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    if labels.dtype.kind == "U":
        missing = np.isin(np.char.lower(np.char.strip(labels)), MISSING_TEXTS)
        return np.where(missing, "", labels)
    if labels.dtype.kind == "b":
        return labels.astype(np.str_)
    if labels.dtype.kind not in "iuf":
        raise UserError(f"the labels of {source} are of type {labels.dtype}, not numbers or texts")
    values = labels.astype(np.float64)
    invalid = ~np.isnan(values) & ~(
        (values >= -1) & (values == np.floor(values)) & (values < 2**53)
    )
    if invalid.any():
        first = int(invalid.argmax())
        raise UserError(
            f"label {first} of {source} is {labels[first]}, not a whole number from 0 on, or -1 "
            "where it is unknown"
        )
    return np.where(values == -1, np.nan, values)


def _read_onehot(labels: np.ndarray, count: int, source: str) -> np.ndarray:
    if len(labels) != count:
        raise UserError(
            f"{source}: {count} images but {len(labels)} labels; one per image is needed"
        )
    missing = np.isnan(labels).any(axis=1) if labels.dtype.kind == "f" else np.zeros(count, bool)
    rows = np.where(missing[:, None], 0, labels)
    if not is_onehot(rows):
        is_bad = ((rows != 0) & (rows != 1)).any(axis=1) | ((rows != 0).sum(axis=1) > 1)
        bad = int(is_bad.argmax())
        raise UserError(
            f"the labels of {source} have shape {labels.shape}, but row {bad} is not one-hot (a "
            "single 1 among zeros); one class per row is needed, not several or probabilities"
        )
    return np.where(rows.any(axis=1), rows.argmax(axis=1).astype(np.float64), np.nan)


def _unknown_mask(values: np.ndarray) -> np.ndarray:
    return values == "" if values.dtype.kind == "U" else np.isnan(values)


def _read_class_names(names: np.ndarray, source: str) -> tuple[str, ...]:
    names = np.asarray(names).reshape(-1)
    if names.dtype == object:
        raise UserError(f"the class names of {source}: the array {PICKLED_CURE}")
    if names.dtype.kind == "S":
        names = np.char.decode(names, "utf-8", "replace")
    texts = tuple(map(str, names.tolist()))
    if len(set(texts)) < len(texts):
        double = next(text for text in texts if texts.count(text) > 1)
        raise UserError(f"{source}: the class name {double!r} is there twice; give each class one")
    return texts


def _order_classes(
    distinct: np.ndarray, names: tuple[str, ...] | None, source: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The values of the classes in order, and their names."""
    if distinct.dtype.kind == "U":
        _refuse_similar(distinct, source)
        if names is None:
            return distinct, tuple(map(str, distinct))
        unknown = [str(value) for value in distinct if value not in names]
        if unknown:
            raise UserError(f"{source}: label {unknown[0]!r} is not in its class names")
        return np.array(names), names
    if names is None:
        return distinct, tuple(f"{value:.0f}" for value in distinct)
    first = 1 if len(distinct) and distinct[0] >= 1 and distinct[-1] == len(names) else 0
    if len(distinct) and distinct[-1] >= len(names) + first:
        raise UserError(
            f"{source}: label {distinct[-1]:.0f} has no name among its {len(names)} class names"
        )
    return np.arange(first, first + len(names), dtype=np.float64), names


def _refuse_similar(texts: Any, source: str) -> None:
    """Raises UserError for classes whose names differ only by case or blanks."""
    seen: dict[str, str] = {}
    for text in map(str, texts):
        plain = " ".join(text.casefold().split())
        if plain in seen:
            raise UserError(
                f"{source}: the classes {seen[plain]!r} and {text!r} differ only by case or "
                "blanks; write both in one way"
            )
        seen[plain] = text


def _to_class_numbers(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """The position of each value among the classes, -1 where it is unknown."""
    numbers = np.full(len(values), -1, np.int64)
    known = ~_unknown_mask(values)
    order = np.argsort(ordered, kind="stable")
    if known.any():
        numbers[known] = order[np.searchsorted(ordered[order], values[known])]
    return numbers
