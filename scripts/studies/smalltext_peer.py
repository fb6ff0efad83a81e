"""Ask the stopping criteria of small-text; run by stopping_rules.py.

Runs with the Python of an environment with small-text==1.4.1.  A line is the path of a file with
what a run predicted: `probs` (T, N, C) after each of T cycles, and `unlabeled` (T, N), bool.  The
answer has, per criterion at its default settings, whether it stops after each cycle (T).
"""

import json
import sys

import numpy as np
from small_text.stopping_criteria import (
    ClassificationChange,
    DeltaFScore,
    KappaAverage,
    OverallUncertainty,
)

for line in sys.stdin:
    with np.load(line.rstrip("\n")) as file:
        probs, unlabeled = file["probs"], file["unlabeled"]
    count = probs.shape[2]
    criteria = [KappaAverage(count), ClassificationChange(count), OverallUncertainty(count)]
    if count == 2:  # it refuses more
        criteria.append(DeltaFScore(count))
    answer = {
        type(criterion).__name__: [
            bool(criterion.stop(None, p.argmax(axis=1), p, np.flatnonzero(u)))
            for p, u in zip(probs, unlabeled, strict=True)
        ]
        for criterion in criteria
    }
    print(json.dumps(answer), flush=True)
