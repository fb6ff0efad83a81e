"""The estimate of the images of classes without a label beside the truth, on digits.

python scripts/studies/unseen_classes_compared.py

Per situation, method and number of labels, over NUM_RUNS pools of POOL digits: the mean true and
estimated share in percent, how often the interval has the true share, and how often its lower end
is above zero.  A method that is not `random` sees raw pixels.

    all        the ten classes
    3 hidden   images of three of the classes are answered with "none of these"
    rare       one of the classes has 1 % of the images
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import pandas as pd

from al_methods import select
from data import DATASETS
from data.images import Images
from data.state import SET_ASIDE
from data.unseen_classes import estimate_unseen_share
from utils.console import print_line

NUM_RUNS = 20
POOL = 500
NUM_LABELS = (10, 20, 50, 100)
METHODS: dict[str, dict[str, Any]] = {
    "random": {},
    "lp_coverage": {"lp_k": 10, "lp_gamma": 3, "lp_alpha": 0.99},
    "typiclust": {},
    "coreset": {},
    "maxherding": {},
}
SITUATIONS = ("all", "3 hidden", "rare")


def main() -> int:
    train = DATASETS["digits"].load_and_check("").train
    assert isinstance(train, Images)
    pixels = np.asarray(train.pixels).reshape(len(train.labels), -1).astype(np.float32) / 255
    rows = [
        row
        for seed in range(NUM_RUNS)
        for situation in SITUATIONS
        for row in run_situation(situation, pixels, train.labels, seed)
    ]
    table = pd.DataFrame(rows).groupby(["situation", "method", "labels"], sort=False).mean()
    print_line((100 * table).round(1).to_string())
    return 0


def run_situation(
    situation: str, pixels: np.ndarray, classes: np.ndarray, seed: int
) -> Iterator[dict]:
    """One row per method and number of labels."""
    rng = np.random.default_rng(seed)
    chosen_classes = rng.permutation(10)
    order = rng.permutation(len(classes))
    if situation == "rare":
        is_rare = classes[order] == chosen_classes[0]
        order = np.concatenate([order[is_rare][: POOL // 100], order[~is_rare]])
    pool = rng.permutation(order[:POOL])
    features, truth = pixels[pool], classes[pool].copy()
    if situation == "3 hidden":
        truth[np.isin(truth, chosen_classes[:3])] = SET_ASIDE
    for method, options in METHODS.items():
        for count in NUM_LABELS:
            picks = select(
                method,
                features=features,
                pretrained_features=features,
                labels=np.full(len(pool), -1),
                budget=count,
                num_classes=10,
                rng=np.random.default_rng(seed),
                **options,
            )
            answers = truth[picks]
            others = np.delete(truth, picks)
            unseen = np.mean((others < 0) | ~np.isin(others, answers))
            found = estimate_unseen_share(answers, np.full(count, method == "random"))
            assert found is not None
            yield {
                "situation": situation,
                "method": method,
                "labels": count,
                "true": unseen,
                "estimate": found.share,
                "within": found.low <= unseen <= found.high,
                "warns": found.low > 0,
            }


if __name__ == "__main__":
    sys.exit(main())
