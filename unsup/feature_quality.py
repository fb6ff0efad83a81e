"""What can be seen of features without a label: whether pre-training has spoiled them.

agreement  utils.graph.neighbor_stability: neighbours that stay neighbours under strong augmentation.
rank       the effective rank, exp of the entropy of the normalised singular values (Roy & Vetterli,
           EUSIPCO 2007; as a measure of features: Garrido et al., "RankMe", ICML 2023).  Features
           that have collapsed give one.

Of DeepCluster and SimCLR on digits and 5,000 MNIST digits, those that ended with fewer neighbours
of their own class than the untrained network had multiplied its agreement by 0.9 to 1.1, the others
by 1.4 to 5; ranks told nothing but a collapse.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from data.augment import ImageStore
from utils.console import log
from utils.graph.neighbor_stability import BATCH_SIZE, MAX_IMAGES, neighbor_agreement

MIN_STABILITY_GAIN, MIN_RANK_RATIO = 1.25, 0.5  # of the untrained network's


class FeatureQuality(NamedTuple):
    neighbor_stability: float  # in [0, 1]
    effective_rank: float  # in [1, d]


def pretrain_and_measure(
    pretrain: Callable, model, images: ImageStore, **settings
) -> tuple[list, tuple[FeatureQuality, FeatureQuality]]:
    """What `pretrain` (of a row of PRETRAINERS) gives, and what is seen of the features before and
    after, for `tell`."""
    before = measure_feature_quality(model, images)
    rows = pretrain(model, images, **settings)
    return rows, (before, measure_feature_quality(model, images))


@torch.inference_mode()
def measure_feature_quality(model, images: ImageStore) -> FeatureQuality:
    """Of a network's features, on images spread over all."""
    model.eval()
    chosen = np.linspace(0, len(images) - 1, min(MAX_IMAGES, len(images))).astype(np.int64)
    parts = np.array_split(chosen, -(-len(chosen) // BATCH_SIZE))
    lengths = torch.linalg.svdvals(
        torch.cat([model(images.plain_batch(p))[1] for p in parts]).double()
    )
    shares = lengths / lengths.sum().clamp(min=torch.finfo(lengths.dtype).tiny)
    rank = torch.special.entr(shares).sum().exp()
    found = neighbor_agreement(lambda batch: model(batch)[1], images, seed=0)
    return FeatureQuality(float(found), float(rank))


def log_feature_quality(before: FeatureQuality, after: FeatureQuality) -> None:
    """Log both, and warn where pre-training has not made the features better."""
    log.info(
        "features: %.3f of the neighbours stay in a strong view (%.3f before), effective rank %.1f "
        "(%.1f)",
        *(
            after.neighbor_stability,
            before.neighbor_stability,
            after.effective_rank,
            before.effective_rank,
        ),
    )
    better = (
        after.neighbor_stability >= MIN_STABILITY_GAIN * before.neighbor_stability
        and after.neighbor_stability > 0
    )
    if not (better and after.effective_rank >= MIN_RANK_RATIO * before.effective_rank):
        log.warning(
            "pre-training has not made the features better than the untrained network's: try other "
            "--pretraining-* options, or --pretraining-method"
        )
