"""From scores to picks: larger scores first, equal scores in a random order.

A network that is certain of most images gives them the same score to the last bit.  Their order in
the files often follows the classes or the time at which they were taken, so it must not decide.
"""

import numpy as np


def tie_order(rng: np.random.Generator | None, count: int) -> np.ndarray:
    """The place of each of `count` images among equal scores: (N,) int64, a permutation.

    It is drawn from a child of rng, so that it changes nothing else that is drawn.  Without rng,
    the lower index comes first."""
    return np.arange(count) if rng is None else rng.spawn(1)[0].permutation(count)


def top_candidates(
    scores: np.ndarray, count: int, candidates: np.ndarray, places: np.ndarray | None = None
) -> np.ndarray:
    """The `count` candidates of largest score, best first.

    scores: (N,) float, indexed by image.
    candidates: (M,) int64, ascending.
    places: (N,) from `tie_order`; by default the lower index comes first among equal scores.
    -> (count,) int64.
    Raises ValueError if a candidate's score is NaN or there are fewer than `count` candidates."""
    candidate_scores = scores[candidates]
    if np.isnan(candidate_scores).any():
        raise ValueError("a score is NaN")
    if count > len(candidates):
        raise ValueError(f"cannot pick {count} of {len(candidates)} candidates")
    if count == 1:
        best = candidates[candidate_scores == candidate_scores.max()]
        return best[:1] if places is None else best[[places[best].argmin()]]
    keys = candidates if places is None else places[candidates]
    return candidates[np.lexsort((keys, -candidate_scores))[:count]]
