"""Rank labels by cleanlab: reads one JSON object per line, writes the scores of each.

Runs with the Python of an environment with cleanlab==2.9.0, started by wrong_labels.py.
A line has `labels` (L) and `probs` (L, C), predictions that do not know the label; the answer has,
per method of cleanlab, the quality of each label (L): smaller is worse.
"""

import json
import sys

import numpy as np
from cleanlab.rank import get_label_quality_scores

METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")

for line in sys.stdin:
    task = json.loads(line)
    labels, probs = np.array(task["labels"]), np.array(task["probs"])
    answer = {
        method: get_label_quality_scores(labels, probs, method=method).tolist()
        for method in METHODS
    }
    print(json.dumps(answer), flush=True)
