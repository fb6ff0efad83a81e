"""FixMatch: what the network is sure of on a weak view of an image is the target of a strong one.

Source: Sohn et al., "FixMatch: simplifying semi-supervised learning with consistency and
confidence", NeurIPS 2020, section 2.2.  Of a batch of B labeled and μB unlabeled images:

    q_b           prediction on the weak view of the unlabeled image b, no gradient
    l = l_s + λ Σ_b 1(max q_b >= τ) H(argmax q_b, prediction on the strong view of b) / μB

The threshold may follow the network: Wang et al., "FreeMatch: self-adaptive thresholding for
semi-supervised learning", ICLR 2023, the section of that name; without its fairness penalty, a
second idea of that paper, which weighs on the predictions and not on the threshold.

    τ_t           m τ_{t-1} + (1 - m) Σ_b max q_b / μB                      τ_0 = 1 / C
    p̃_t (C,)      m p̃_{t-1} + (1 - m) Σ_b q_b / μB                          p̃_0 = 1 / C
    τ_t(c)        τ_t p̃_t(c) / max_c p̃_t(c)
"""

import numpy as np
import torch
from torch import nn

from data.batches import check_batch_list_size, cycle_indices, make_shuffled_batches
from data.pool import Pool, Targets, targets_from_labels
from semisup.log_once import log_if_no_pseudo_labels
from semisup.spec import Algorithm
from training.losses import Batch, WeightedLoss, image_losses
from utils.errors import UserError
from utils.options.converters import non_negative_float, positive_fraction, positive_integer
from utils.options.option import Option

THRESHOLD_MOMENTUM = 0.999  # m


class SelfAdaptiveThreshold(nn.Module):
    """A threshold a class, τ_t(c), from the predictions of each step so far."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.register_buffer("sureness", torch.full((), 1 / num_classes))  # τ_t
        self.register_buffer("classes", torch.full((num_classes,), 1 / num_classes))  # p̃_t

    def forward(self, probs: torch.Tensor) -> torch.Tensor:
        """(B, C) predictions of this step, which count already -> (C,)"""
        self.sureness.lerp_(probs.max(dim=1).values.mean(), 1 - THRESHOLD_MOMENTUM)
        self.classes.lerp_(probs.mean(dim=0), 1 - THRESHOLD_MOMENTUM)
        return self.sureness * self.classes / self.classes.max()


class FixMatchLoss(WeightedLoss):
    """views: labeled images weakly, unlabeled ones weakly and the same strongly; or labeled ones
    alone."""

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
        logits = network(torch.cat([view.images for view in views]))[0].float()  # one batch norm
        told, weak, strong = logits.split([len(view.images) for view in views])
        supervised = (image_losses(told, known.targets) * known.weights).mean()
        targets, sure = self.pseudo_labels(weak)
        return supervised + self.unlabeled_weight * (image_losses(strong, targets) * sure).mean()

    @torch.no_grad()
    def pseudo_labels(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C) logits of weak views -> classes, and are they used? (B,)"""
        probs = logits.softmax(dim=1)
        sureness, classes = probs.max(dim=1)
        limits = self.threshold if self.thresholds is None else self.thresholds(probs)[classes]
        return classes, sureness >= limits


def initial_targets(pool: Pool, num_classes: int, carry_over: dict) -> Targets:
    """The known labels: pseudo-labels are made in the loss, from step to step."""
    targets = targets_from_labels(pool, num_classes)
    if (pool.labels >= 0).all():
        log_if_no_pseudo_labels(pool, targets, "")
    return targets


def epoch_batches(
    targets: Targets,
    pool: Pool,
    rng: np.random.Generator,
    *,
    batch_size: int = 32,
    mu: int = 7,
    steps: int = 0,
) -> list[tuple[np.ndarray, ...]]:
    """`batch_size` labeled images, cycled, and `mu` times as many unlabeled ones, for each of two
    views; an epoch is one pass over the unlabeled ones, or `steps` batches."""
    unlabeled = np.flatnonzero(pool.labels < 0)
    if not len(unlabeled):
        return [
            (known,)
            for known in make_shuffled_batches(pool.labeled_indices, batch_size, rng, steps)
        ]
    parts = make_shuffled_batches(unlabeled, mu * batch_size, rng, steps)
    labeled = np.split(
        cycle_indices(pool.labeled_indices, batch_size * len(parts), rng), len(parts)
    )
    return [(known, part, part) for known, part in zip(labeled, parts, strict=True)]


def _fits(args, problem) -> None:
    images, size = len(problem.images), args.mu * args.batch_size
    if args.batch_size > images:
        raise UserError(
            f"--batch-size {args.batch_size} is more than the {images} training images of "
            f"{args.dataset}"
        )
    words = f"--mu {args.mu} times --batch-size {args.batch_size}"
    batches = args.steps_per_epoch or -(-images // size)
    check_batch_list_size(batches, args.batch_size + min(size, images), words)


ALGORITHM = Algorithm(
    title="FixMatch",
    summary="train strong views on the network's confident predictions of weak ones",
    options=(
        Option(
            "mu", 7, "unlabeled images for each labeled one", kind=positive_integer, metavar="N"
        ),
        Option(
            "fixmatch_threshold",
            0.95,
            "probability from which a prediction is used",
            kind=positive_fraction,
            keyword="threshold",
            when=(lambda args: not args.self_adaptive_threshold, "--self-adaptive-threshold False"),
        ),
        Option(
            "fixmatch_weight",
            1.0,
            "weight of the unlabeled images' loss",
            kind=non_negative_float,
            keyword="weight",
        ),
        Option(
            "self_adaptive_threshold",
            False,
            "a threshold a class that follows the network, FreeMatch's",
            kind=bool,
            keyword="adaptive",
        ),
    ),
    defaults={"ema": 0.999},
    fits=_fits,
    initial_targets=initial_targets,
    epoch_batches=epoch_batches,
    augmentations=("weak", "weak", "strong"),
    make_loss=FixMatchLoss,
)
