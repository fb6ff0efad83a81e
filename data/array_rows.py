"""Which rows of a user's arrays form the training and the test part, and what is known of each row.

Where the file has no test part, a fifth of each class is held out, and the row numbers stay with
the images: an index that a user sees is a row of the file."""

from typing import Any, NamedTuple

import numpy as np

from data.array_roles import ArrayParts
from data.custom import make_test_mask
from data.feature_vectors import Features
from data.images import Images, data_fingerprint
from data.spec import LoadedDataset
from utils.errors import UserError
from utils.fingerprints import array_digest


class RowNumbers(NamedTuple):
    """(N,) int64 each: the rows of one array that form the two parts."""

    train: np.ndarray
    test: np.ndarray


def hold_out_rows(labels: np.ndarray) -> RowNumbers:
    """The rows of a file without a test part.  labels: (N,), -1 where unknown."""
    is_test = make_test_mask(np.arange(len(labels)), labels)
    return RowNumbers(np.flatnonzero(~is_test), np.flatnonzero(is_test))


def make_loaded_dataset(
    train: Images | Features,
    test: Images | Features,
    rows: RowNumbers | None,
    parts: ArrayParts,
    class_names: tuple[str, ...],
    source: str,
    **fields: Any,
) -> LoadedDataset:
    """The data set with what follows from its rows.

    rows: where both parts are rows of one array; parts: as found in the file, whose notes become
    warnings; fields: further ones of LoadedDataset.
    Raises UserError where the number of paths or ids is not that of the images."""
    contents = data_fingerprint(train, test)
    names, test_names = _row_names(parts, rows, len(train.labels), len(test.labels), source)
    more: dict[str, Any] = {"fingerprint": contents}
    if rows is not None:
        more = {
            "fingerprint": fingerprint_with_rows(contents, rows),
            "row_numbers": rows.train,
            "test_row_numbers": rows.test,
        }
    return LoadedDataset(
        train,
        test,
        class_names=class_names,
        image_paths=names,
        test_paths=test_names,
        contents_fingerprint=contents,
        warnings=tuple(parts.notes),
        **more,
        **fields,
    )


def fingerprint_with_rows(contents: str, rows: RowNumbers) -> str:
    """The fingerprint of data whose parts are rows of one array.

    contents: the fingerprint of pixels or features and labels alone."""
    return array_digest(np.frombuffer(contents.encode(), np.uint8), *rows)


def _row_names(
    parts: ArrayParts, rows: RowNumbers | None, count: int, test_count: int, source: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Paths or ids of the training and the test images as text, () where there are none."""
    if rows is not None:
        texts = _as_texts(parts.paths, count + test_count, source)
        return _choose_texts(texts, rows.train), _choose_texts(texts, rows.test)
    return (
        _as_texts(parts.paths, count, source),
        _as_texts(parts.test_paths, test_count, f"the test part of {source}"),
    )


def _choose_texts(texts: tuple[str, ...], rows: np.ndarray) -> tuple[str, ...]:
    return tuple(texts[row] for row in rows) if texts else ()


def _as_texts(values: np.ndarray | None, count: int, source: str) -> tuple[str, ...]:
    if values is None:
        return ()
    values = values.reshape(-1)
    if len(values) != count:
        raise UserError(
            f"{source}: {count} rows but {len(values)} paths or ids; one per row is needed"
        )
    texts = values.tolist()
    return tuple(
        text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else str(text)
        for text in texts
    )
