"""The loss of a training step.

A loss is a module that is called with the network and one Batch per view, so that what it remembers
from step to step (its buffers) is saved with the run.  The weighted loss is that of Iscen et al.,
CVPR 2019.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Batch(NamedTuple):
    """One view (augmentation) of some images."""

    images: torch.Tensor  # (B, c, H, W)
    targets: torch.Tensor  # (B,) int64 classes, -1 for none, or (B, C) float distributions
    weights: torch.Tensor  # (B,) float32, 0 where there is no target


class WeightedLoss(nn.Module):
    """Σ_i w_i ℓ_i / B over the single view of a batch."""

    def __init__(self, num_classes: int):
        super().__init__()

    def forward(self, network: nn.Module, views: tuple[Batch, ...]) -> torch.Tensor:
        ((images, targets, weights),) = views
        return (image_losses(network(images)[0].float(), targets) * weights).mean()


def image_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The loss of each image: (B,).

    logits: (B, C).  Targets (B,) of classes: cross-entropy.  Targets (B, C) of distributions: the
    Kullback-Leibler divergence of the prediction from the target."""
    if targets.is_floating_point():
        return F.kl_div(F.log_softmax(logits, dim=1), targets, reduction="none").sum(dim=1)
    return F.cross_entropy(logits, targets, reduction="none")
