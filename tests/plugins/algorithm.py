"""An algorithm with a loss of its own that remembers, two views of an image, averaged weights.

Labeled images as they are told; of some unlabeled ones the shifted view has to look like the plain
view, as far as the network has become sure of itself."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from semisup.spec import Algorithm
from training.losses import image_losses
from utils.options.converters import non_negative_float
from utils.options.option import Option


class Consistency(nn.Module):
    """views: labeled and unlabeled images shifted, and the same unlabeled ones plain."""

    def __init__(self, num_classes: int, strength: float = 1.0):
        super().__init__()
        self.strength = strength
        self.register_buffer("sureness", torch.full((), 1 / num_classes))

    def forward(self, network, views):
        told, plain = views
        with torch.no_grad():
            expected = network(plain.images)[0].softmax(dim=1)
        sure = expected.max(dim=1).values.mean()
        self.sureness.mul_(0.9).add_(0.1 * sure)
        logits = network(told.images)[0].float()
        labeled = told.targets >= 0
        supervised = image_losses(logits[labeled], told.targets[labeled]).mean()
        apart = F.kl_div(logits[~labeled].log_softmax(dim=1), expected, reduction="batchmean")
        return supervised + self.strength * self.sureness * apart


def streams(targets, pool, rng, *, batch_size: int = 32, steps: int = 0) -> list:
    """A batch: all labeled and as many unlabeled images; the second view shows the latter alone."""
    unlabeled = np.flatnonzero(pool.labels < 0)
    count = steps or 3
    drawn = [rng.choice(unlabeled, size=batch_size, replace=False) for _ in range(count)]
    return [(np.concatenate([pool.labeled_indices, some]), some) for some in drawn]


def row(**more) -> Algorithm:
    return Algorithm(
        title="guest",
        summary="train with a guest of the tests",
        epoch_batches=streams,
        augmentations=("weak", "plain"),
        make_loss=Consistency,
        defaults={"ema": 0.8},
        **more,
    )


ROW = row()
STRENGTH = Option("guest_strength", 1.0, "weight", kind=non_negative_float, keyword="strength")
WITH_OPTION = row(options=(STRENGTH,))
