"""Which array of a file is what: images or features, labels, the test part, paths, names of
classes.

Names of other projects are understood in any case: MedMNIST (train_images, val_images,
test_images), Keras (x_train, y_test), scikit-learn (data, target, target_names), MATLAB (X, y).
Arrays without names (numpy.savez without keywords) are told apart by their shapes.  A line says
what was taken where a name does not, and which arrays are not used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from data.array_files import PICKLED
from utils.errors import UserError

CONTENT_NAMES = {
    "images": ("images", "image", "imgs", "img", "pixels", "x", "data"),
    "features": (
        *("features", "feature", "embeddings", "embedding", "image_embeddings", "image_embedding"),
        *("img_emb", "feats", "emb", "vectors", "x", "data"),
    ),
}
LABEL_NAMES = ("labels", "label", "y", "targets", "target", "class", "classes", "category")
PART_WORDS = {
    "": ("", "train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation", "dev"),
}
CLASS_NAMES = ("class_names", "label_names", "target_names", "classes", "names")
PATH_NAMES = ("paths", "path", "image_path", "image_paths", "filenames", "filename", "files", "url")
ID_NAMES = ("ids", "id", "keys", "key")
PICKLED_CURE = "contains pickled objects, and nothing is unpickled; store plain numbers or text"


@dataclass
class ArrayParts:
    """The arrays of a data set as the file stores them; None where there is none.

    content: images or features; notes: lines for the user."""

    content: np.ndarray
    labels: np.ndarray | None
    test_content: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    class_names: np.ndarray | None = None
    paths: np.ndarray | None = None
    test_paths: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)


def find_parts(arrays: Mapping[str, np.ndarray], content: str, source: str) -> ArrayParts:
    """The arrays by their names, or else by their shapes.

    content: "images" or "features"; source: the file, for messages.
    Raises UserError where an array is missing, or where it is not clear which one is meant."""
    finder = _Finder(arrays, source)
    found, labels = _find_pair(finder, content, "")
    if found is None:
        parts = _find_by_shape(finder, content)
    else:
        parts = ArrayParts(found, labels)
        for word in ("test", "val"):
            _add_evaluation_part(parts, finder, content, word)
    parts.class_names = finder.take(CLASS_NAMES)
    parts.paths = finder.take(_with_part_words(PATH_NAMES, ""))
    ids = finder.take(_with_part_words(ID_NAMES, ""))
    parts.test_paths = finder.take(_with_part_words(PATH_NAMES, "test"))
    test_ids = finder.take(_with_part_words(ID_NAMES, "test"))
    parts.paths = ids if parts.paths is None else parts.paths
    parts.test_paths = test_ids if parts.test_paths is None else parts.test_paths
    if parts.labels is None and parts.class_names is None:
        raise UserError(
            f"{source} has no array labels; it must contain {content} and labels (N,), -1 where a "
            f"label is unknown, or class_names where all are; it has {finder.describe_all()}"
        )
    if unused := finder.describe_unused():
        parts.notes.append(f"{source}: not used: {unused}")
    return parts


class _Finder:
    """The arrays of a file by name, and which of them have been taken."""

    def __init__(self, arrays: Mapping[str, np.ndarray], source: str):
        self.arrays, self.source = arrays, source
        self.by_plain_name = {_plain(name): name for name in reversed(list(arrays))}
        self.taken: set[str] = set()

    def take(self, names: Sequence[str]) -> np.ndarray | None:
        """The first of these arrays that exists and has not been taken."""
        for plain_name in names:
            name = self.by_plain_name.get(plain_name)
            if name is not None and name not in self.taken:
                return self.take_exactly(name)
        return None

    def take_exactly(self, name: str) -> np.ndarray:
        self.taken.add(name)
        if self.arrays[name] is PICKLED:
            raise UserError(f"{self.source}: array {name} {PICKLED_CURE}")
        return self.arrays[name]

    def names_left(self) -> list[str]:
        return [name for name in self.arrays if name not in self.taken]

    def describe_unused(self) -> str:
        return ", ".join(self._describe(name) for name in self.names_left())

    def describe_all(self) -> str:
        return ", ".join(map(self._describe, self.arrays)) or "no array"

    def _describe(self, name: str) -> str:
        return f"{name} {self.arrays[name].shape}"


def _plain(name: str) -> str:
    """The name as the lists above have it."""
    return name.casefold().replace("-", "_").replace(" ", "_").replace("/", "_").strip("_")


def _with_part_words(names: Sequence[str], part: str) -> list[str]:
    """The names with the words of a part before and behind them."""
    words = PART_WORDS[part]
    combined = [(f"{word}_{name}", f"{name}_{word}") for word in words for name in names]
    return [name.strip("_") for pair in combined for name in pair]


def _find_pair(
    finder: _Finder, content: str, part: str
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The content of a part and its labels, None each where there are none."""
    found = finder.take(_with_part_words(CONTENT_NAMES[content], part))
    if found is None:
        return None, None
    return found, _take_labels(finder, part)


def _take_labels(finder: _Finder, part: str) -> np.ndarray | None:
    return finder.take(_with_part_words(LABEL_NAMES, part))


def _add_evaluation_part(parts: ArrayParts, finder: _Finder, content: str, word: str) -> None:
    """The test part; the validation part takes its place where there is none."""
    found, labels = _find_pair(finder, content, word)
    if found is None:
        labels = _take_labels(finder, word)
    if found is None and labels is None:
        return
    if found is None or labels is None:
        missing = f"{word}_{content}" if found is None else f"{word}_labels"
        raise UserError(
            f"{finder.source} has no array {missing}; it must contain either both or neither of "
            f"{word}_{content} and {word}_labels"
        )
    if parts.test_content is None:
        parts.test_content, parts.test_labels = found, labels
        if word != "test":
            parts.notes.append(f"{finder.source}: the {word} part is the test part")
    else:
        parts.notes.append(
            f"{finder.source}: the {word} part ({len(found)} {content}) is not used, because there "
            "is a test part"
        )


def _find_by_shape(finder: _Finder, content: str) -> ArrayParts:
    """The arrays by their shapes: one or two with images or features, each with as many labels.

    Raises UserError where this is not clear."""
    is_content = _looks_like_images if content == "images" else _looks_like_features
    free = {name: finder.arrays[name] for name in finder.names_left()}
    contents = [name for name, array in free.items() if is_content(array)]
    labels = [name for name in free if name not in contents and _looks_like_labels(free[name])]
    pairs = []
    for name in contents:
        matching = [one for one in labels if _count_labels(free[one]) == len(free[name])]
        if len(matching) > 1 and len(contents) > 1:  # of equal length: in stored order
            matching = matching[:1]
        if len(matching) == 1:
            labels.remove(matching[0])
            pairs.append((name, matching[0]))
    if not 1 <= len(pairs) <= 2 or len(pairs) != len(contents):
        raise UserError(
            f"{finder.source} has no array {content}; it must contain {content} and labels, and "
            f"either both or neither of test_{content} and test_labels, but it has "
            f"{finder.describe_all()}"
        )
    arrays = [finder.take_exactly(name) for pair in pairs for name in pair]
    names = [f"{one} for {content}, {two} for their labels" for one, two in pairs]
    note = f"{finder.source}: by their shapes, {names[0]}"
    note += f"; {names[1]} as test part" if len(pairs) == 2 else ""
    parts = ArrayParts(arrays[0], arrays[1], notes=[note])
    if len(pairs) == 2:
        parts.test_content, parts.test_labels = arrays[2:]
    return parts


def _is_numeric(array: np.ndarray) -> bool:
    return array.dtype.kind in "biuf" and array.size > 0


def _looks_like_images(array: np.ndarray) -> bool:
    return _is_numeric(array) and array.ndim in (3, 4)


def _looks_like_features(array: np.ndarray) -> bool:
    return _is_numeric(array) and array.ndim == 2 and min(array.shape) > 1 and not is_onehot(array)


def _looks_like_labels(array: np.ndarray) -> bool:
    if array.dtype.kind in "US":
        return array.ndim == 1
    is_vector = array.ndim == 1 or (array.ndim == 2 and min(array.shape) == 1)
    return _is_numeric(array) and (is_vector or is_onehot(array))


def _count_labels(array: np.ndarray) -> int:
    return len(array) if is_onehot(array) else array.size


def is_onehot(array: np.ndarray) -> bool:
    """Whether an array (N, C) has exactly one 1 per row, or none, and else zeros."""
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind not in "biuf":
        return False
    is_one = array == 1
    return bool((is_one | (array == 0)).all() and (is_one.sum(axis=1) <= 1).all() and is_one.any())
