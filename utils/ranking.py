"""From scores to picks: larger scores first, ties go to the lower index."""

import numpy as np


def top_candidates(scores: np.ndarray, count: int, candidates: np.ndarray) -> np.ndarray:
    """The `count` candidates of largest score, best first.

    scores: (N,) float, indexed by image.
    candidates: (M,) int64, ascending.
    -> (count,) int64.
    Raises ValueError if a candidate's score is NaN or there are fewer than `count` candidates."""
    candidate_scores = scores[candidates]
    if np.isnan(candidate_scores).any():
        raise ValueError("a score is NaN")
    if count > len(candidates):
        raise ValueError(f"cannot pick {count} of {len(candidates)} candidates")
    if count == 1:  # argmax returns the first of equal scores
        return candidates[[candidate_scores.argmax()]]
    return candidates[np.argsort(-candidate_scores, kind="stable")[:count]]
