"""Conversions between numpy arrays and torch tensors, read-only arrays, and row lengths."""

import numpy as np
import torch
from numpy.typing import ArrayLike, DTypeLike


def as_numpy(array: torch.Tensor | ArrayLike, dtype: DTypeLike | None = None) -> np.ndarray:
    """A contiguous numpy array with the same values; copied only if necessary."""
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu().numpy()
    return np.ascontiguousarray(array, dtype=dtype)


def as_read_only(array: np.ndarray) -> np.ndarray:
    """The array itself if nothing can write to it, else a read-only copy."""
    if not array.flags.writeable and (array.base is None or not _is_writeable(array.base)):
        return array
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def _is_writeable(base: object) -> bool:
    return not isinstance(base, np.ndarray) or base.flags.writeable


def l2_normalize(features: np.ndarray) -> np.ndarray:
    """Rows scaled to Euclidean length one; a zero row stays zero.  (N, d) -> (N, d)

    Rows must be 1e-18 to 1e18 long, so that their squares fit into float32."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, np.finfo(np.float32).tiny)
