"""Read CIFAR batches without the risk of pickle: a pickle may name any function and have it called.

Here it may only name what the genuine batches name, numpy arrays of plain numbers, and these names
are bound to our own classes.  Not even numpy's own unpickling runs, because a forged dtype makes it
treat bytes as addresses.
"""

import codecs
import pickle
from pathlib import Path
from typing import Any

import numpy as np


class _SafeDtype:
    """Replaces numpy.dtype; allows only types of plain numbers."""

    def __init__(self, name: Any, align: Any = False, copy: Any = False):
        self.numpy_dtype = np.dtype(str(name))
        if self.numpy_dtype.kind not in "iuf":
            raise pickle.UnpicklingError(f"it contains an array of {name!r}, not of numbers")

    def __setstate__(self, state: Any) -> None:
        if (order := state[1]) in ("<", ">"):
            self.numpy_dtype = self.numpy_dtype.newbyteorder(order)


class _SafeArray:
    """Replaces numpy.ndarray."""

    numpy_array: np.ndarray

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        raw = raw.encode("latin1") if isinstance(raw, str) else raw  # a byte string of Python 2
        array = np.frombuffer(raw, dtype.numpy_dtype)
        self.numpy_array = array.reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: Any) -> _SafeArray:
    """Replaces numpy's, which makes an empty array; __setstate__ fills it."""
    return _SafeArray()


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Replaces codecs.encode, by which Python 3 writes bytes in protocols without bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it contains bytes encoded as {encoding!r}")
    return codecs.latin_1_encode(text)[0]


_ALLOWED_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _SafeArray,
    ("numpy", "dtype"): _SafeDtype,
    ("_codecs", "encode"): _encode_latin1,
}


class _SafeUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch needs")
        return _ALLOWED_GLOBALS[module, name]


def load_pickled_batch(path: Path) -> dict[str, Any]:
    """A pickled dict of arrays and plain types; byte strings of Python 2 are decoded as latin1.

    Raises what pickle and numpy raise for anything else; no code in the file is run."""
    with open(path, "rb") as file:
        batch = _SafeUnpickler(file, encoding="latin1").load()
    if not isinstance(batch, dict):
        raise pickle.UnpicklingError("it does not contain a dict")
    return {
        key: value.numpy_array if isinstance(value, _SafeArray) else value
        for key, value in batch.items()
    }
