"""Random generators derived from (seed, purpose, cycle, epoch).

No generator has a state to save: a resumed run draws what the uninterrupted run would have drawn.
"""

import zlib

import numpy as np


def rng_for(seed: int, purpose: str, cycle: int = 0, epoch: int = 0) -> np.random.Generator:
    """An independent generator for one purpose at one moment of the run.

    Raises ValueError (numpy's) for a negative integer."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), cycle, epoch])


def derive_seed(seed: int, purpose: str, cycle: int = 0, epoch: int = 0) -> int:
    """An integer seed, for libraries that take one (torch, faiss) or to derive more from."""
    return int(rng_for(seed, purpose, cycle, epoch).integers(2**31 - 1))
