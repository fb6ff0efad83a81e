"""Randomness by derivation: every stream follows from (seed, purpose, cycle, epoch).

No generator has a state to save: a resumed run draws what the uninterrupted one would have drawn.
"""

import zlib

import numpy as np


def rng_for(seed: int, purpose: str, cycle: int = 0, epoch: int = 0) -> np.random.Generator:
    """A generator of its own for one purpose at one moment of the run.

    All integers are >= 0 (ValueError otherwise, numpy's own)."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), cycle, epoch])


def derive_seed(seed: int, purpose: str, cycle: int = 0, epoch: int = 0) -> int:
    """A seed that follows from another, for what takes an integer: torch, faiss, a split's run."""
    return int(rng_for(seed, purpose, cycle, epoch).integers(2**31 - 1))
