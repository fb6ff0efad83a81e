"""How good features are, measured without labels: whether pre-training has spoiled them.

stability  utils.graph.neighbor_stability: the share of nearest neighbours that survive strong
           augmentation.
rank       the effective rank, exp of the entropy of the normalised singular values (Roy & Vetterli,
           EUSIPCO 2007; as a measure of features: Garrido et al., "RankMe", ICML 2023).  Collapsed
           features have rank one.

DeepCluster and SimCLR were run on digits and on 5,000 MNIST digits.  Where pre-training left fewer
neighbours of the same class than the untrained network, stability had changed by a factor of 0.9 to
1.1; in all other runs by 1.4 to 5.  The rank revealed nothing but a collapse.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from data.augment import ImageStore
from utils.console import log
from utils.graph.neighbor_stability import BATCH_SIZE, MAX_IMAGES, neighbor_agreement

MIN_STABILITY_GAIN = 1.25  # relative to the untrained network
MIN_RANK_RATIO = 0.5  # relative to the untrained network


class FeatureQuality(NamedTuple):
    neighbor_stability: float  # in [0, 1]
    effective_rank: float  # in [1, d]


def pretrain_and_measure(
    pretrain: Callable[..., list[dict[str, Any]]],
    model: torch.nn.Module,
    images: ImageStore,
    **settings: Any,
) -> tuple[list[dict[str, Any]], tuple[FeatureQuality, FeatureQuality]]:
    """Pre-train; returns the rows of `pretrain` and the feature quality before and after.

    pretrain: of an entry of PRETRAINERS; settings: its keyword arguments."""
    before = measure_feature_quality(model, images)
    rows = pretrain(model, images, **settings)
    return rows, (before, measure_feature_quality(model, images))


@torch.inference_mode()
def measure_feature_quality(model: torch.nn.Module, images: ImageStore) -> FeatureQuality:
    """The quality of a network's features, measured on images spread over all."""
    model.eval()
    chosen = np.linspace(0, len(images) - 1, min(MAX_IMAGES, len(images))).astype(np.int64)
    parts = np.array_split(chosen, -(-len(chosen) // BATCH_SIZE))
    features = torch.cat([model(images.plain_batch(part))[1] for part in parts])
    singular_values = torch.linalg.svdvals(features.double())
    tiny = torch.finfo(singular_values.dtype).tiny
    shares = singular_values / singular_values.sum().clamp(min=tiny)
    rank = torch.special.entr(shares).sum().exp()
    stability = neighbor_agreement(lambda batch: model(batch)[1], images, seed=0)
    return FeatureQuality(float(stability), float(rank))


def log_feature_quality(before: FeatureQuality, after: FeatureQuality) -> None:
    """Log both, and warn where pre-training has not improved the features."""
    log.info(
        "features: %.3f of the neighbours survive strong augmentation (%.3f before), effective "
        "rank %.1f (%.1f)",
        after.neighbor_stability,
        before.neighbor_stability,
        after.effective_rank,
        before.effective_rank,
    )
    is_more_stable = (
        after.neighbor_stability >= MIN_STABILITY_GAIN * before.neighbor_stability
        and after.neighbor_stability > 0
    )
    has_rank = after.effective_rank >= MIN_RANK_RATIO * before.effective_rank
    if not (is_more_stable and has_rank):
        log.warning(
            "the features are no better than those of the untrained network: try other "
            "--pretraining-* options, or --pretraining-method"
        )
