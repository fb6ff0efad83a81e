"""Label propagation as an algorithm: when, with which options, and in which batches.

Source: Iscen et al., CVPR 2019, section 4; the maths is in semisup.label_propagation.
"""

import numpy as np

from data.batches import check_batch_list_size, cycle_indices, make_shuffled_batches
from data.pool import Pool, Targets
from semisup.label_propagation import (
    BALANCE_MODES,
    PSEUDO_LABEL_MODES,
    propagate,
    targets_from_propagation,
)
from semisup.log_once import log_if_no_pseudo_labels, log_once
from semisup.spec import Algorithm
from utils.errors import UserError
from utils.graph.graph_options import GRAPH, VIEWS, check_knn_device, graph_inputs, graph_needs
from utils.options.converters import (
    make_number_type,
    one_of,
    positive_fraction,
    positive_integer,
    type_or_word,
)
from utils.options.option import Option

LABELED_BATCH_SIZES = {64: 10, 128: 50}  # batch size: labeled images of it, where none is given


def update_due(cycle: int, epoch: int, *, step: int = 1) -> bool:
    """Every `step` epochs."""
    return epoch % step == 0


def update_targets(
    *,
    pool: Pool,
    num_classes: int,
    rng: np.random.Generator,
    cycle: int,
    graph_views: str = "features",
    k: int | str = 50,
    gamma: float = 3,
    alpha: float = 0.99,
    search: str = "auto",
    kernel: str = "cosine",
    balance: str = "none",
    mode: str = "prob",
    percent: float = 0.5,
    tau: float = 0.0,
    weighted: bool = True,
    class_weighted: bool = False,
    loss_type: str = "ce",
    by_weight: bool = False,
    **outputs,
) -> Targets:
    """Propagate, and choose what to train on: `propagate` and `propagated_targets`.

    seen: what graph_needs asks for, by name."""
    graph = {"k": k, "gamma": gamma, "search": search, "kernel": kernel}
    graph |= graph_inputs(outputs, graph_views)
    found = propagate(
        labels=pool.labels, num_classes=num_classes, alpha=alpha, balance=balance, **graph
    )
    targets = targets_from_propagation(
        found,
        pool,
        rng,
        mode=mode,
        percent=percent,
        tau=tau,
        weighted=weighted,
        class_weighted=class_weighted,
        loss_type=loss_type,
        by_weight=by_weight,
    )
    if found.balance_failed:
        log_once(pool, "the classes cannot have the masses of --lp-balance: left as they are")
    log_if_no_pseudo_labels(pool, targets, "the labels reach none that could be used")
    return targets


def epoch_batches(
    targets: Targets,
    pool: Pool,
    rng: np.random.Generator,
    *,
    batch_size: int = 32,
    labeled_batch_size: int | None = None,
    steps: int = 0,
) -> list[np.ndarray]:
    """Every batch is `labeled_batch_size` labeled images, cycled, and the rest pseudo-labeled; an
    epoch is one pass over the pseudo-labeled ones, or `steps` batches.

    Where the targets have odds, pseudo-labeled images are drawn by them, with replacement."""
    used = np.flatnonzero(targets.labels >= 0)
    pseudo = used[pool.labels[used] < 0]
    if not len(pseudo):
        return make_shuffled_batches(used, batch_size, rng, steps)
    size = batch_size - labeled_batch_size
    if targets.sampling_weights is None:
        parts = make_shuffled_batches(pseudo, size, rng, steps)
    else:
        odds = targets.sampling_weights[pseudo].astype(np.float64)
        count = steps * min(size, len(pseudo)) or len(pseudo)
        drawn = rng.choice(pseudo, size=count, p=odds / odds.sum())
        parts = np.array_split(drawn, steps or -(-count // size))
    labeled = np.split(
        cycle_indices(pool.labeled_indices, labeled_batch_size * len(parts), rng), len(parts)
    )
    return [np.concatenate(pair) for pair in zip(labeled, parts, strict=True)]


def _check(args) -> None:
    if args.labeled_batch_size is None:
        raise UserError(
            f"--labeled-batch-size is needed at --batch-size {args.batch_size} "
            f"(known: {', '.join(f'{v} at {k}' for k, v in LABELED_BATCH_SIZES.items())})"
        )
    if args.labeled_batch_size >= args.batch_size:
        raise UserError(
            f"--labeled-batch-size {args.labeled_batch_size} leaves no room in --batch-size "
            f"{args.batch_size}: give less"
        )


def _fits(args, problem) -> None:
    check_knn_device(args, problem)
    images = len(problem.images)
    if args.labeled_batch_size > images:
        raise UserError(
            f"--labeled-batch-size {args.labeled_batch_size} is more than the {images} training "
            f"images of {args.dataset}: give fewer"
        )
    room = args.batch_size - args.labeled_batch_size
    batches = args.steps_per_epoch or -(-images // room)
    size = args.labeled_batch_size + min(room, images)
    words = f"--labeled-batch-size {args.labeled_batch_size} of --batch-size {args.batch_size}"
    check_batch_list_size(batches, size, words)


OPTIONS = (
    *VIEWS,
    Option(
        "lp_balance",
        "none",
        "class masses that the propagated labels are rescaled to: all the same, or the labels'",
        kind=type_or_word(one_of(BALANCE_MODES), true="uniform", false="none"),
        keyword="balance",
        added=True,
    ),
    Option(
        "labeled_batch_size",
        None,
        "labeled images in a batch",
        kind=positive_integer,
        metavar="N",
        shown=", ".join(f"{few} at batch {size}" for size, few in LABELED_BATCH_SIZES.items()),
        derive=lambda args: LABELED_BATCH_SIZES.get(args.batch_size),
    ),
    Option(
        "lp_mode",
        "prob",
        "which pseudo-labels are used",
        kind=one_of(PSEUDO_LABEL_MODES),
        keyword="mode",
    ),
    Option(
        "lp_percent",
        0.5,
        "part of the unlabeled images used",
        kind=positive_fraction,
        keyword="percent",
        when=(lambda args: args.lp_mode != "full", "--lp-mode certain, prob or uniform"),
    ),
    Option(
        "lp_step",
        1,
        "epochs between propagations",
        kind=positive_integer,
        keyword="step",
        metavar="N",
    ),
    Option("tau", 0.0, "least weight used", kind=make_number_type(float, at_least=0, at_most=1)),
    Option(
        "loss_type",
        "ce",
        "kl: the propagated distribution is the target",
        kind=one_of(("ce", "kl")),
    ),
    Option(
        "is_pW", True, "weight the pseudo-labels by their certainty", kind=bool, keyword="weighted"
    ),
    Option("is_cW", False, "class weights", kind=bool, keyword="class_weighted"),
    Option(
        "weighted_unlabeled_batch",
        False,
        "draw pseudo-labeled images by their certainty",
        kind=bool,
        keyword="by_weight",
        when=(lambda args: args.lp_mode == "full", "--lp-mode full"),
    ),
)

ALGORITHM = Algorithm(
    title="label propagation",
    summary="train on pseudo-labels of the graph too, in batches of 128",
    options=(*GRAPH, *OPTIONS),
    defaults={"batch_size": 128},
    # The features before any label are good from the start: chosen on splits 10 to 19 of digits and
    # of 5,000 MNIST digits, with the same for both.
    beside={
        "simclr": {
            "lp_views": "pretrained_features,pixels",
            "lp_view_weights": "agreement",
            "lp_k": "auto",
            "lp_balance": "uniform",
            "lp_mode": "full",
        }
    },
    check=_check,
    fits=_fits,
    update_due=update_due,
    update_targets=update_targets,
    needs=graph_needs,
    epoch_batches=epoch_batches,
    rng_purpose="propagation",
)
