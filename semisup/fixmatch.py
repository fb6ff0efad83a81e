"""FixMatch: a confident prediction for a weak view of an image is the target for a strong view.

Source: Sohn et al., "FixMatch: simplifying semi-supervised learning with consistency and
confidence", NeurIPS 2020, section 2.2.  For a batch of B labeled and μB unlabeled images:

    l_s           loss on the labeled images
    q_b           prediction for the weak view of the unlabeled image b, without gradient
    l = l_s + λ Σ_b 1(max q_b >= τ) H(argmax q_b, prediction for the strong view of b) / μB

The threshold may adapt to the network, as in Wang et al., "FreeMatch: self-adaptive thresholding
for semi-supervised learning", ICLR 2023, section "Self-adaptive thresholding".  The fairness
penalty of that paper, which acts on the predictions and not on the threshold, is not used.

    τ_t           m τ_{t-1} + (1 - m) Σ_b max q_b / μB                      τ_0 = 1 / C
    p̃_t (C,)      m p̃_{t-1} + (1 - m) Σ_b q_b / μB                          p̃_0 = 1 / C
    τ_t(c)        τ_t p̃_t(c) / max_c p̃_t(c)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from data.batches import BatchOptions, check_batch_list_size, cycle_indices, make_shuffled_batches
from data.pool import Pool, Targets, targets_from_labels
from semisup.log_once import log_if_no_pseudo_labels
from semisup.spec import Algorithm
from training.losses import Batch, WeightedLoss, image_losses
from utils.errors import UserError
from utils.options.converters import non_negative_float, positive_fraction, positive_integer
from utils.options.option import Condition, OptionGroup, OptionValues, option

THRESHOLD_MOMENTUM = 0.999  # m


@dataclass(frozen=True)
class FixMatchOptions(OptionGroup):
    """Batches and loss of FixMatch."""

    section = "FixMatch"
    add_fixmatch: bool = option(
        False,
        "Also train strongly augmented unlabeled images on the network's confident predictions "
        "for weakly augmented ones (FixMatch).",
    )
    mu: int = option(
        7,
        "Number of unlabeled images per labeled image in a batch.",
        type=positive_integer,
        metavar="N",
    )
    fixmatch_threshold: float = option(
        0.95,
        "Smallest probability at which a prediction is used.",
        type=positive_fraction,
        read_if=Condition(
            lambda options: not options.self_adaptive_threshold, "--self-adaptive-threshold False"
        ),
    )
    fixmatch_weight: float = option(
        1.0, "Weight of the loss on unlabeled images.", type=non_negative_float
    )
    self_adaptive_threshold: bool = option(
        False,
        "Replace the fixed FixMatch threshold by FreeMatch's per-class adaptive thresholds.",
    )

    def check_data(self, options: OptionValues, dataset: Any) -> None:
        batch, images = options.of(BatchOptions), len(dataset.images)
        if batch.batch_size > images:
            raise UserError(
                f"--batch-size {batch.batch_size} is more than the {images} training images of "
                f"--dataset {options.dataset}: use a smaller one"
            )
        size = self.mu * batch.batch_size
        batches = batch.steps_per_epoch or -(-images // size)
        words = f"--mu {self.mu} times --batch-size {batch.batch_size}"
        check_batch_list_size(batches, batch.batch_size + min(size, images), words)


class SelfAdaptiveThreshold(nn.Module):
    """A threshold per class, τ_t(c), from the predictions of all steps so far."""

    sureness: torch.Tensor
    classes: torch.Tensor

    def __init__(self, num_classes: int):
        super().__init__()
        self.register_buffer("sureness", torch.full((), 1 / num_classes))  # τ_t
        self.register_buffer("classes", torch.full((num_classes,), 1 / num_classes))  # p̃_t

    def forward(self, probs: torch.Tensor) -> torch.Tensor:
        """The thresholds (C,), updated with the predictions (B, C) of this step."""
        self.sureness.lerp_(probs.max(dim=1).values.mean(), 1 - THRESHOLD_MOMENTUM)
        self.classes.lerp_(probs.mean(dim=0), 1 - THRESHOLD_MOMENTUM)
        return self.sureness * self.classes / self.classes.max()


class FixMatchLoss(WeightedLoss):
    """The loss l of the module's docstring.

    views: the labeled images augmented weakly, the unlabeled ones weakly, and the same strongly; or
    the labeled ones alone."""

    def __init__(
        self,
        num_classes: int,
        *,
        threshold: float = 0.95,
        weight: float = 1.0,
        adaptive: bool = False,
    ):
        super().__init__(num_classes)
        self.threshold, self.unlabeled_weight = threshold, weight
        self.thresholds = SelfAdaptiveThreshold(num_classes) if adaptive else None

    def forward(self, network: nn.Module, views: tuple[Batch, ...]) -> torch.Tensor:
        if len(views) == 1:
            return super().forward(network, views)
        known = views[0]
        # One pass, so that batch normalisation sees all views together.
        logits = network(torch.cat([view.images for view in views]))[0].float()
        labeled, weak, strong = logits.split([len(view.images) for view in views])
        supervised = (image_losses(labeled, known.targets) * known.weights).mean()
        targets, is_confident = self.pseudo_labels(weak)
        unsupervised = (image_losses(strong, targets) * is_confident).mean()
        return supervised + self.unlabeled_weight * unsupervised

    @torch.no_grad()
    def pseudo_labels(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The predicted classes (B,), and whether each is confident enough to be used (B,).

        logits: (B, C), of the weak views."""
        probs = logits.softmax(dim=1)
        confidences, classes = probs.max(dim=1)
        limits = self.threshold if self.thresholds is None else self.thresholds(probs)[classes]
        return classes, confidences >= limits


def initial_targets(pool: Pool, num_classes: int, carry_over: dict[str, Any]) -> Targets:
    """The known labels: the loss computes the pseudo-labels in each step."""
    targets = targets_from_labels(pool, num_classes)
    if (pool.labels >= 0).all():
        log_if_no_pseudo_labels(pool, targets, "")
    return targets


def epoch_batches(
    targets: Targets,
    pool: Pool,
    rng: np.random.Generator,
    *,
    batch: BatchOptions,
    fixmatch: FixMatchOptions,
) -> list[tuple[np.ndarray, ...]]:
    """Index arrays of --batch-size labeled images, cycled, and of --mu times as many unlabeled
    images, once for each of their two augmentations.

    An epoch is one pass over the unlabeled images, or --steps-per-epoch batches."""
    unlabeled = np.flatnonzero(pool.labels < 0)
    size, steps = batch.batch_size, batch.steps_per_epoch
    if not len(unlabeled):
        labeled = make_shuffled_batches(pool.labeled_indices, size, rng, steps)
        return [(known,) for known in labeled]
    parts = make_shuffled_batches(unlabeled, fixmatch.mu * size, rng, steps)
    indices = cycle_indices(pool.labeled_indices, size * len(parts), rng)
    labeled = np.split(indices, len(parts))
    return [(known, part, part) for known, part in zip(labeled, parts, strict=True)]


def make_loss(num_classes: int, *, fixmatch: FixMatchOptions) -> FixMatchLoss:
    """The loss with a run's options."""
    return FixMatchLoss(
        num_classes,
        threshold=fixmatch.fixmatch_threshold,
        weight=fixmatch.fixmatch_weight,
        adaptive=fixmatch.self_adaptive_threshold,
    )


ALGORITHM = Algorithm(
    defaults={"ema": 0.999},
    initial_targets=initial_targets,
    epoch_batches=epoch_batches,
    augmentations=("weak", "weak", "strong"),
    make_loss=make_loss,
)
