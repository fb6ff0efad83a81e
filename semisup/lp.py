"""Label propagation as a training algorithm: its options, its schedule and its batches.

Source: Iscen et al., CVPR 2019, section 4; the mathematics is in semisup.label_propagation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from data.batches import BatchOptions, check_batch_list_size, cycle_indices, make_shuffled_batches
from data.pool import Pool, Targets
from semisup.label_propagation import (
    BALANCE_MODES,
    PSEUDO_LABEL_MODES,
    propagate,
    targets_from_propagation,
)
from semisup.leave_one_out import LeaveOneOut, leave_one_out
from semisup.log_once import log_if_no_pseudo_labels, log_once
from semisup.propagation_solvers import SOLVERS
from semisup.spec import Algorithm
from utils.errors import UserError
from utils.graph import affinity
from utils.graph.graph_options import (
    GraphOptions,
    GraphViewOptions,
    affinity_settings,
    graph_inputs,
    graph_needs,
)
from utils.options.converters import (
    make_number_type,
    one_of,
    positive_fraction,
    positive_integer,
    type_or_word,
)
from utils.options.option import Condition, OptionGroup, OptionValues, option

DIFFUSION_SOLVER = "diffusion"
LABELED_BATCH_SIZES = {64: 10, 128: 50}  # batch size -> default number of labeled images in it


def _fitting_labeled_batch_size(options: OptionValues, data: Any) -> int:
    """The default, or the same share of a smaller batch, where there are fewer images."""
    labeled: int = options.labeled_batch_size
    if labeled <= data.images:
        return labeled
    share = max(LABELED_BATCH_SIZES.values()) / max(LABELED_BATCH_SIZES)
    return max(int(min(options.batch_size, data.images) * share), 1)


@dataclass(frozen=True)
class LpOptions(OptionGroup):
    """Which propagated labels are trained on, and how."""

    section = "label propagation"
    add_lp: bool = option(
        False,
        "Also train on pseudo-labels from label propagation on the graph (batches of 128).",
    )
    lp_balance: str = option(
        "none",
        "Rescale the propagated labels so that the classes have given masses. uniform: equal "
        "masses. labels: proportional to the labels. auto: none or uniform, whichever leaves more "
        "of the graph's weight within classes; often wrong, see docs/rivals.md.",
        type=type_or_word(one_of(BALANCE_MODES), true="uniform", false="none"),
    )
    lp_solver: str = option(
        "diffusion",
        "How labels spread over the graph. diffusion: with restarts, weight --lp-alpha. poisson: "
        "Poisson learning, for few labels. poisson_mbo: the same with class sizes, those of "
        "--lp-balance, or those of the labels.",
        type=one_of(SOLVERS),
    )
    labeled_batch_size: int | None = option(
        None,
        "Number of labeled images per batch.",
        type=positive_integer,
        metavar="N",
        default_text=", ".join(
            f"{labeled} at --batch-size {size}" for size, labeled in LABELED_BATCH_SIZES.items()
        ),
        default_from=lambda options: LABELED_BATCH_SIZES.get(options.batch_size),
        default_for_data=_fitting_labeled_batch_size,
    )
    lp_mode: str = option(
        "prob",
        "Which unlabeled images are used. full: all. certain: those with the largest weight. prob: "
        "drawn in proportion to the weight. uniform: drawn uniformly.",
        type=one_of(PSEUDO_LABEL_MODES),
    )
    lp_percent: float = option(
        0.5,
        "Fraction of the unlabeled images that is used.",
        type=positive_fraction,
        read_if=Condition(
            lambda options: options.lp_mode != "full", "--lp-mode certain, prob or uniform"
        ),
    )
    lp_step: int = option(
        1, "Number of epochs between propagations.", type=positive_integer, metavar="N"
    )
    tau: float = option(
        0.0,
        "Smallest weight at which a pseudo-label is used.",
        type=make_number_type(float, at_least=0, at_most=1),
    )
    loss_type: str = option(
        "ce",
        "Loss on pseudo-labels. ce: cross-entropy with the class. kl: divergence from the "
        "propagated distribution.",
        type=one_of(("ce", "kl")),
    )
    is_pW: bool = option(True, "Weight the pseudo-labels by their certainty.")
    is_cW: bool = option(False, "Weight the classes inversely to their number of images.")
    weighted_unlabeled_batch: bool = option(
        False,
        "Draw pseudo-labeled images in proportion to their certainty.",
        read_if=Condition(lambda options: options.lp_mode == "full", "--lp-mode full"),
    )

    def check(self, options: OptionValues) -> None:
        batch_size = options.of(BatchOptions).batch_size
        if self.labeled_batch_size is None:
            sizes = " and ".join(map(str, LABELED_BATCH_SIZES))
            raise UserError(
                f"--labeled-batch-size has no default for --batch-size {batch_size}, only for "
                f"{sizes}: set it"
            )
        if self.labeled_batch_size >= batch_size:
            raise UserError(
                f"--labeled-batch-size {self.labeled_batch_size} leaves no room for pseudo-labeled "
                f"images in --batch-size {batch_size}: use a smaller one"
            )

    def check_data(self, options: OptionValues, dataset: Any) -> None:
        batch, images = options.of(BatchOptions), len(dataset.images)
        labeled = self.labeled_batch_size or 0  # `check` refuses None
        if labeled > images:
            raise UserError(
                f"--labeled-batch-size {labeled} is more than the {images} training images of "
                f"--dataset {options.dataset}: use a smaller one"
            )
        room = batch.batch_size - labeled
        batches = batch.steps_per_epoch or -(-images // room)
        words = f"--labeled-batch-size {labeled} of --batch-size {batch.batch_size}"
        check_batch_list_size(batches, labeled + min(room, images), words)


def update_due(cycle: int, epoch: int, *, lp: LpOptions) -> bool:
    """Before every --lp-step-th epoch, from the first."""
    return epoch % lp.lp_step == 0


def update_targets(
    *,
    pool: Pool,
    num_classes: int,
    rng: np.random.Generator,
    cycle: int,
    views: GraphViewOptions,
    graph: GraphOptions,
    lp: LpOptions,
    **outputs: torch.Tensor,
) -> Targets:
    """Propagate the labels, then choose the images to train on.

    outputs: the inputs that `graph_needs` names, (N, d) each."""
    propagation = propagate(
        labels=pool.labels,
        num_classes=num_classes,
        alpha=graph.lp_alpha,
        solver=lp.lp_solver,
        balance=lp.lp_balance,
        **graph_inputs(outputs, views),
        **affinity_settings(graph),
    )
    targets = targets_from_propagation(
        propagation,
        pool,
        rng,
        mode=lp.lp_mode,
        percent=lp.lp_percent,
        tau=lp.tau,
        weighted=lp.is_pW,
        class_weighted=lp.is_cW,
        loss_type=lp.loss_type,
        by_weight=lp.weighted_unlabeled_batch,
    )
    if lp.lp_balance == "auto":
        log_once(pool, f"--lp-balance auto: {propagation.balance}")
    if propagation.balance_failed:
        log_once(pool, "--lp-balance is impossible with these labels; classes are not rescaled")
    log_if_no_pseudo_labels(pool, targets, "the labels reach no image that could be used")
    return targets


def epoch_batches(
    targets: Targets,
    pool: Pool,
    rng: np.random.Generator,
    *,
    batch: BatchOptions,
    lp: LpOptions,
) -> list[np.ndarray]:
    """Index arrays of --batch-size images: --labeled-batch-size labeled ones, cycled, and the rest
    pseudo-labeled.

    An epoch is one pass over the pseudo-labeled images, or --steps-per-epoch batches.  Where the
    targets have sampling weights, pseudo-labeled images are drawn with replacement."""
    used = np.flatnonzero(targets.labels >= 0)
    pseudo = used[pool.labels[used] < 0]
    steps, labeled_size = batch.steps_per_epoch, lp.labeled_batch_size or 0
    if not len(pseudo):
        return make_shuffled_batches(used, batch.batch_size, rng, steps)
    size = batch.batch_size - labeled_size
    if targets.sampling_weights is None:
        parts = make_shuffled_batches(pseudo, size, rng, steps)
    else:
        weights = targets.sampling_weights[pseudo].astype(np.float64)
        count = steps * min(size, len(pseudo)) or len(pseudo)
        drawn = rng.choice(pseudo, size=count, p=weights / weights.sum())
        parts = np.array_split(drawn, steps or -(-count // size))
    indices = cycle_indices(pool.labeled_indices, labeled_size * len(parts), rng)
    labeled = np.split(indices, len(parts))
    return [np.concatenate(pair) for pair in zip(labeled, parts, strict=True)]


def leave_labels_out(
    *,
    pool: Pool,
    num_classes: int,
    images: np.ndarray,
    views: GraphViewOptions,
    graph: GraphOptions,
    lp: LpOptions,
    **outputs: torch.Tensor,
) -> tuple[LeaveOneOut, np.ndarray]:
    """The diffusion without the label of each of these labeled images (M,), and the labels (N,)
    that --lp-solver gives.

    outputs: the inputs that `graph_needs` names, (N, d) each."""
    inputs = graph_inputs(outputs, views) | affinity_settings(graph)
    W, alpha, balance = affinity(**inputs), graph.lp_alpha, lp.lp_balance
    diffusion = leave_one_out(W, pool.labels, num_classes, images, alpha=alpha, balance=balance)
    if lp.lp_solver == DIFFUSION_SOLVER:
        return diffusion, diffusion.labels
    found = propagate(
        labels=pool.labels,
        num_classes=num_classes,
        alpha=alpha,
        solver=lp.lp_solver,
        balance=balance,
        **inputs,
    )
    return diffusion, found.labels


# Features that were pre-trained to have neighbours of the same class are good before any label.
# These values were chosen on splits 10 to 19 of digits and of 5,000 MNIST digits, and are the same
# for both.
CONTRASTIVE_DEFAULTS = {
    "lp_views": "pretrained_features,pixels",
    "lp_view_weights": "agreement",
    "lp_k": "auto",
    "lp_balance": "uniform",
    "lp_mode": "full",
}

ALGORITHM = Algorithm(
    defaults={"batch_size": 128},
    defaults_with=dict.fromkeys(("simclr", "neighbor_simclr"), CONTRASTIVE_DEFAULTS),
    update_due=update_due,
    update_targets=update_targets,
    needs=graph_needs,
    epoch_batches=epoch_batches,
    leave_one_out=leave_labels_out,
    rng_purpose="propagation",
)
