"""CIFAR batches without pickle's risk: a pickle may name any function and have it called.

Here it may name only what the genuine batches name, numpy's arrays of plain numbers, and what
stands for these names is our own: of numpy's, not even the unpickling is run, since a forged dtype
makes it take bytes for addresses.
"""

import codecs
import pickle

import numpy as np


class _SafeDtype:
    """Stands for numpy.dtype: a type of plain numbers."""

    def __init__(self, name, align=False, copy=False):
        self.numpy_dtype = np.dtype(str(name))
        if self.numpy_dtype.kind not in "iuf":
            raise pickle.UnpicklingError(f"it holds an array of {name!r}, not of numbers")

    def __setstate__(self, state) -> None:
        if (order := state[1]) in ("<", ">"):
            self.numpy_dtype = self.numpy_dtype.newbyteorder(order)


class _SafeArray:
    """Stands for numpy.ndarray."""

    numpy_array: np.ndarray

    def __setstate__(self, state) -> None:
        _, shape, dtype, fortran, raw = state
        raw = raw.encode("latin1") if isinstance(raw, str) else raw  # a byte string of Python 2
        array = np.frombuffer(raw, dtype.numpy_dtype)
        self.numpy_array = array.reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_) -> _SafeArray:
    """numpy's, which makes an empty array; its contents come by __setstate__."""
    return _SafeArray()


def _encode_latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in a protocol that knows none."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds bytes as {encoding!r}")
    return codecs.latin_1_encode(text)[0]


_ALLOWED_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _SafeArray,
    ("numpy", "dtype"): _SafeDtype,
    ("_codecs", "encode"): _encode_latin1,
}


class _SafeUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in _ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch needs")
        return _ALLOWED_GLOBALS[module, name]


def load_pickled_batch(path) -> dict:
    """A pickled dict of arrays and plain types; byte strings of Python 2 are decoded as latin1.

    Raises what pickle and numpy raise where it is anything else; nothing in it is run."""
    with open(path, "rb") as file:
        batch = _SafeUnpickler(file, encoding="latin1").load()
    if not isinstance(batch, dict):
        raise pickle.UnpicklingError("it holds no dict")
    return {
        key: value.numpy_array if isinstance(value, _SafeArray) else value
        for key, value in batch.items()
    }
