"""Scores to picks: a larger score is more wanted, ties go to the lower index."""

import numpy as np


def top_candidates(scores: np.ndarray, count: int, candidates: np.ndarray) -> np.ndarray:
    """The `count` candidates of largest score, best first.

    scores: (N,) float, indexed by image; candidates: (M,) int64, ascending -> (count,) int64.
    Raises ValueError where a candidate's score is not a number or there are fewer than `count`."""
    wanted = scores[candidates]
    if np.isnan(wanted).any():
        raise ValueError("a score is not a number")
    if count > len(candidates):
        raise ValueError(f"{count} picks of {len(candidates)} candidates")
    if count == 1:  # argmax takes the first of equals
        return candidates[[wanted.argmax()]]
    return candidates[np.argsort(-wanted, kind="stable")[:count]]
