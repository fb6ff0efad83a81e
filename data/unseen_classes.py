"""How many images are of classes that no label has named yet, estimated from the labels alone.

Good (Biometrika 1953): if n labels are drawn at random and f_1 classes occur once among them, the
share of the pool whose classes do not occur is about f_1 / n.  The next image is of a new class as
often as the last one was.  An image of none of the listed classes counts like one of a class of its
own, because its class has no label.

The variance is that of Esty (Annals of Statistics 1983), u (1 - u) / n + 2 f_2 / n², with f_2 the
classes that occur twice.  Instead of the estimate, the interval puts the unknown share u into it,
as Wilson's (JASA 1927) does for a proportion, and counts f_2 + 1, so that it is not empty where no
class occurs once or twice:

    (f_1 / n - u)² <= z² (u (1 - u) / n + 2 (f_2 + 1) / n²)

Labels that a method has chosen are no random sample.  Where there are random ones, only these are
counted, while the others say which classes are known; otherwise the estimate is too high as long as
there are few labels per class, because a method that avoids images like the labeled ones finds each
class once before it finds one twice (docs/labeling.md has measurements).
"""

import math
from typing import NamedTuple

import numpy as np

from data.state import SET_ASIDE

Z = 1.959964  # of a normal distribution, for 95 %
MIN_RANDOM_LABELS = 10


class UnseenShare(NamedTuple):
    """The share of the unlabeled images whose classes have no label, in [0, 1], with the ends of a
    95 % interval.

    num_labels: that the estimate is of; num_once: of them of a class that occurs once, or of none.
    is_random: whether these were drawn at random."""

    share: float
    low: float
    high: float
    num_labels: int
    num_once: int
    is_random: bool


def estimate_unseen_share(answers: np.ndarray, is_random: np.ndarray) -> UnseenShare | None:
    """The share of the unlabeled images whose classes have no label; None without any label.

    answers: (n,) int64, classes, or SET_ASIDE for images of none of the classes; others are left
    out, such as skipped images.
    is_random: (n,) bool, whether the image was drawn at random."""
    is_answer = (answers >= 0) | (answers == SET_ASIDE)
    answers, is_random = answers[is_answer], is_random[is_answer]
    uses_random = int(is_random.sum()) >= MIN_RANDOM_LABELS
    counted = is_random if uses_random else np.ones(len(answers), dtype=bool)
    size = int(counted.sum())
    if not size:
        return None
    is_class = answers >= 0
    totals = np.bincount(answers[is_class], minlength=1)
    occurrences = np.where(is_class, totals[answers * is_class], 1)
    once = int((counted & (occurrences == 1)).sum())
    twice = len(np.unique(answers[counted & (occurrences == 2)]))
    low, high = good_turing_interval(once, twice, size)
    return UnseenShare(once / size, low, high, size, once, bool(is_random[counted].all()))


def good_turing_interval(once: int, twice: int, size: int) -> tuple[float, float]:
    """The 95 % interval of the module's docstring, within [0, 1].

    once, twice: f_1 and f_2; size: n."""
    share, c = once / size, Z * Z / size
    middle = 2 * share + c
    root = math.sqrt(middle**2 - 4 * (1 + c) * (share**2 - 2 * c * (twice + 1) / size))
    ends = (middle - root) / (2 * (1 + c)), (middle + root) / (2 * (1 + c))
    return max(ends[0], 0.0), min(ends[1], 1.0)
