"""A training algorithm with its own loss, which has a state, two views per image, and averaged
weights.

Labeled images are trained on their labels.  For some unlabeled images, the prediction for the
shifted view should equal that for the plain view, the more so the more confident the network is.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from data.batches import BatchOptions
from data.pool import Pool, Targets
from semisup.spec import Algorithm
from training.losses import Batch, image_losses
from utils.options.converters import non_negative_float
from utils.options.option import OptionGroup, option


@dataclass(frozen=True)
class ConsistencyOptions(OptionGroup):
    section = "plugin"
    add_plugin: bool = option(False, "Also train on unlabeled images with a consistency loss.")
    plugin_strength: float = option(1.0, "Weight of the consistency.", type=non_negative_float)


class ConsistencyLoss(nn.Module):
    """views: labeled and unlabeled images shifted, and the same unlabeled images plain."""

    confidence: torch.Tensor

    def __init__(self, num_classes: int, *, strength: float):
        super().__init__()
        self.strength = strength
        self.register_buffer("confidence", torch.full((), 1 / num_classes))

    def forward(self, network: nn.Module, views: tuple[Batch, ...]) -> torch.Tensor:
        shifted, plain = views
        with torch.no_grad():
            expected = network(plain.images)[0].softmax(dim=1)
        self.confidence.mul_(0.9).add_(0.1 * expected.max(dim=1).values.mean())
        logits = network(shifted.images)[0].float()
        labeled = shifted.targets >= 0
        supervised = image_losses(logits[labeled], shifted.targets[labeled]).mean()
        log_probs = logits[~labeled].log_softmax(dim=1)
        consistency = F.kl_div(log_probs, expected, reduction="batchmean")
        return supervised + self.strength * self.confidence * consistency


def make_loss(num_classes: int, *, consistency: ConsistencyOptions) -> ConsistencyLoss:
    return ConsistencyLoss(num_classes, strength=consistency.plugin_strength)


def epoch_batches(
    targets: Targets, pool: Pool, rng: np.random.Generator, *, batch: BatchOptions
) -> list[tuple[np.ndarray, np.ndarray]]:
    """All labeled and as many unlabeled images as the batch size; the second view shows the latter
    alone."""
    unlabeled = np.flatnonzero(pool.labels < 0)
    count = batch.steps_per_epoch or 3
    parts = [rng.choice(unlabeled, size=batch.batch_size, replace=False) for _ in range(count)]
    return [(np.concatenate([pool.labeled_indices, part]), part) for part in parts]


ALGORITHM = Algorithm(
    epoch_batches=epoch_batches,
    augmentations=("weak", "plain"),
    make_loss=make_loss,
    defaults={"ema": 0.8},
)
