"""Arrays in, arrays out: numpy by default, torch tensors accepted."""

import numpy as np
import torch


def as_numpy(array, dtype=None) -> np.ndarray:
    """`array` as a contiguous numpy array, copied off its device only when it has to be."""
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu().numpy()
    return np.ascontiguousarray(array, dtype=dtype)


def as_read_only(array: np.ndarray) -> np.ndarray:
    """`array` where nobody can write to it, else a copy that nobody can write to."""
    if not array.flags.writeable and (array.base is None or not _is_writeable(array.base)):
        return array
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def _is_writeable(base) -> bool:
    return not isinstance(base, np.ndarray) or base.flags.writeable


def l2_normalize(features: np.ndarray) -> np.ndarray:
    """Rows scaled to Euclidean length one; a zero row stays zero.  (N, d) -> (N, d)

    Of rows between 1e-18 and 1e18 long, whose squares float32 can hold."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, np.finfo(np.float32).tiny)
